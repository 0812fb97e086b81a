package tiers

import (
	"sort"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// The topic module returns strings that name a theme and how it connects or shifts.
//
//	rules    the content words that a chunk repeats
//	grammar  key phrases (noun phrases weighed by RAKE), linked over the kept chunks: who came back to a theme and when, and
//	         what the talk turned to
//	llm      a language model reads the chunks

type topicRules struct{}

func (topicRules) method() string { return "frequent words@1" }

const wordsPerChunk = 4

func (topicRules) extract(c chunk.Chunk, _ map[string]string) []string {
	count, order := map[string]int{}, []string{}
	for _, t := range c.Turns {
		for _, w := range text.English.ContentWords(t.Text) {
			if len(w) > 3 {
				if count[w] == 0 {
					order = append(order, w)
				}
				count[w]++
			}
		}
	}
	sort.SliceStable(order, func(i, j int) bool { return count[order[i]] > count[order[j]] })
	order = order[:min(wordsPerChunk, len(order))]
	if len(order) == 0 {
		return nil
	}
	fact := "Words of " + place(c) + ": " + strings.Join(order, ", ")
	return []string{fact}
}

// place names where a chunk is from: its day, else its document.
func place(c chunk.Chunk) string {
	if d := day(c.Time); d != "" {
		return d
	}
	return c.Session
}

type topicGrammar struct{ tagger *text.Tagger }

func (topicGrammar) method() string { return "key phrases@2" }

const phrasesPerChunk = 6

// extract returns lines of "phrase \t speaker", the chunk's weightiest phrases first.
func (e topicGrammar) extract(c chunk.Chunk, _ map[string]string) []string {
	skip := map[string]bool{}
	text := make([]string, len(c.Turns))
	for i, t := range c.Turns {
		skip[t.Speaker] = true
		text[i], _ = spoken(t.Text)
	}
	var out []string
	for _, p := range e.tagger.KeyPhrases(strings.Join(text, "\n"), skip, phrasesPerChunk) {
		out = append(out, p+"\t"+speakerOf(c, p))
	}
	return out
}

func speakerOf(c chunk.Chunk, phrase string) string {
	for _, t := range c.Turns {
		if strings.Contains(strings.ToLower(t.Text), strings.ToLower(phrase)) {
			return t.Speaker
		}
	}
	return ""
}

// mention is a theme in one chunk.
type mention struct {
	phrase, speaker, place string
	when                   time.Time
	chunk                  int
}

// arrange links the phrases of the kept chunks: a theme with all its mentions in order of time, and what it came up with.
func (topicGrammar) arrange(found [][]string, items []Item) []string {
	themes, order := map[string][]mention{}, []string{}
	heads := make([][]string, len(items))
	for i, lines := range found {
		when, _ := text.ParseTime(items[i].Time)
		for _, line := range lines {
			phrase, speaker, _ := strings.Cut(line, "\t")
			key := headKey(phrase)
			if _, ok := themes[key]; !ok {
				order = append(order, key)
			}
			themes[key] = append(themes[key], mention{phrase, speaker, place(items[i].Chunk), when, i})
			heads[i] = append(heads[i], phrase)
		}
	}
	var facts []string
	for _, key := range order {
		facts = append(facts, theme(themes[key], heads))
	}
	return facts
}

// headKey is the stem of a phrase's last word: "pottery class" and "art class" meet in "class", "my painting" in "paint".
func headKey(phrase string) string {
	words := text.Words(phrase)
	if len(words) == 0 {
		return phrase
	}
	return text.English.Stem(words[len(words)-1])
}

func theme(ms []mention, heads [][]string) string {
	sort.SliceStable(ms, func(i, j int) bool { return ms[i].when.Before(ms[j].when) })
	longest := ms[0]
	var said []string
	for _, m := range ms {
		if len(m.phrase) > len(longest.phrase) {
			longest = m
		}
		at := m.place
		if m.speaker != "" {
			at = m.speaker + ", " + m.place
		}
		said = append(said, at)
	}
	said = distinct(said)
	fact := longest.phrase + " (" + strings.Join(said, "; then ") + ")"
	var beside []string
	for _, h := range heads[longest.chunk] {
		if headKey(h) != headKey(longest.phrase) && len(beside) < 2 {
			beside = append(beside, h)
		}
	}
	if len(beside) > 0 {
		fact += ", together with " + strings.Join(beside, " and ")
	}
	return fact
}
