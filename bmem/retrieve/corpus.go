package retrieve

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// corpus is a memory prepared for ranking: all that can be known of its turns before there is a question. A part of a long turn counts as
// a turn.
type corpus struct {
	turns   []turnFacts
	vectors [][]float32 // of the turns
	first   []int       // number of each chunk's first turn, and the number of turns at the end

	vocabulary *vocabulary
	inTurns    *invertedIndex
	inChunks   *invertedIndex
	inSessions *invertedIndex // names of sessions included: documents have titles

	speakers []map[int32]bool // stems of each speaker's name; the first is nobody
	dates    []map[string]bool
}

// turnFacts is what is known of one turn.
type turnFacts struct {
	chunk, session int
	prev, next     int     // neighbours in the session, -1 at its ends
	pairNorm       float64 // length of the sum of this turn's vector and the previous one's
	speaker        int     // in corpus.speakers
	date           int     // of the session, in corpus.dates

	time     float64 // 1 if it names a time, such as "yesterday" or "2022"
	number   float64 // 1 if it holds a number
	name     float64 // 1 if a word inside a sentence begins with a capital
	question float64 // 1 if it ends in a question mark
	size     float64 // ln(1 + words)
}

// newCorpus prepares the turns of the index, whose TurnVectors must be there. The only error is that of the context.
func newCorpus(ctx context.Context, ix Index) (*corpus, error) {
	c := &corpus{vectors: ix.TurnVectors, vocabulary: newVocabulary(ix.Language), speakers: []map[int32]bool{{}}}
	var inTurns, inChunks, inSessions [][]int32
	sessionOf, speakerOf, dateOf := map[string]int{}, map[string]int{"": 0}, map[string]int{}
	var last []int // last turn of each session so far
	for i, ch := range ix.Chunks {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("index chunk %d of %d: %w", i+1, len(ix.Chunks), err)
		}
		c.first = append(c.first, len(c.turns))
		inChunks = append(inChunks, nil)
		session, known := sessionOf[ch.Session]
		if !known {
			session = len(inSessions)
			sessionOf[ch.Session] = session
			inSessions = append(inSessions, c.vocabulary.addAll(text.Tokens(ch.Session)))
			last = append(last, -1)
		}
		for _, t := range ch.Turns {
			ws := text.Tokens(t.Text)
			f := describe(t, ws)
			f.chunk, f.session, f.prev, f.next = i, session, last[session], -1
			f.speaker = intern(speakerOf, t.Speaker, &c.speakers, func() map[int32]bool { return c.nameStems(t.Speaker) })
			f.date = intern(dateOf, t.Time, &c.dates, func() map[string]bool { return dateParts(t.Time) })
			u := len(c.turns)
			if f.prev >= 0 {
				c.turns[f.prev].next = u
				// |a + b|² = 2 + 2 a·b for unit vectors.
				f.pairNorm = math.Sqrt(max(1e-6, 2+2*dot(c.vectors[f.prev], c.vectors[u])))
			}
			last[session] = u
			c.turns = append(c.turns, f)
			stems := c.vocabulary.addAll(ws)
			inTurns = append(inTurns, stems)
			inChunks[i] = append(inChunks[i], stems...)
			inSessions[session] = append(inSessions[session], stems...)
		}
	}
	c.first = append(c.first, len(c.turns))
	size := len(c.vocabulary.ofStem)
	c.inTurns, c.inChunks, c.inSessions = newInvertedIndex(inTurns, size), newInvertedIndex(inChunks, size), newInvertedIndex(inSessions, size)
	return c, nil
}

// intern returns the number of a key in list, which is made and appended when the key is new.
func intern[T any](numbers map[string]int, key string, list *[]T, value func() T) int {
	n, ok := numbers[key]
	if !ok {
		n = len(*list)
		numbers[key] = n
		*list = append(*list, value())
	}
	return n
}

func (c *corpus) nameStems(name string) map[int32]bool {
	set := map[int32]bool{}
	for _, s := range c.vocabulary.addAll(text.Tokens(name)) {
		set[s] = true
	}
	return set
}

// describe finds what the words of a turn show.
func describe(t chunk.Turn, ws []string) turnFacts {
	f := turnFacts{
		name:     indicator(nameRE.MatchString(t.Text)),
		question: indicator(endsInQuestion(t.Text)),
		size:     math.Log1p(float64(len(ws))),
	}
	for _, w := range ws {
		digits := strings.Trim(w, "0123456789") == ""
		if digits || numberWords[strings.ToLower(w)] {
			f.number = 1
		}
		if digits && len(w) == 4 && w > "1500" && w < "2100" || w == "May" || timeWords[strings.ToLower(w)] {
			f.time = 1
		}
	}
	return f
}

func endsInQuestion(s string) bool {
	s = strings.TrimSpace(s)
	return strings.HasSuffix(s, "?") || strings.HasSuffix(s, "？")
}

// nameRE finds a capitalised word that does not begin a sentence.
var nameRE = regexp.MustCompile(`[\p{Ll},] +\p{Lu}\p{Ll}`)

var timeWords = set(`yesterday today tonight tomorrow ago last next just since recently week weeks weekend month months year years days
	monday tuesday wednesday thursday friday saturday sunday january february march april june july august september october november
	december spring summer autumn fall winter morning evening night`)

var numberWords = set(`two three four five six seven eight nine ten eleven twelve once twice couple dozen hundred thousand million`)

func set(list string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(list) {
		m[w] = true
	}
	return m
}

// indicator is 1 for true and 0 for false.
func indicator(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
