package tiers

import (
	"regexp"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// The entity module returns `Subject - relation - Object (context)`.
//
//	rules    names found by capitalisation, linked to their speaker, or to each other by occurring together
//	grammar  clauses: subject, verb group and object by part-of-speech tags, pronouns resolved to names
//	llm      a language model reads the chunks
//
// On `Caroline said, "I went to a LGBTQ support group yesterday and it was so powerful."` rules find that Caroline mentions
// LGBTQ; grammar finds `Caroline - went to - a LGBTQ support group yesterday`.

type entityRules struct{}

func (entityRules) method() string { return "names by capitalisation@2" }

func (entityRules) extract(c chunk.Chunk, others map[string]string) []string {
	var facts []string
	for _, t := range c.Turns {
		names := text.Names(t.Text)
		subject := t.Speaker
		if subject == "" && len(names) > 0 { // a document: what its sentences name first
			subject, names = names[0], names[1:]
		}
		for _, n := range names {
			if nameOf(n, subject) || nameOf(n, others[t.Speaker]) {
				continue
			}
			relation := "mentions"
			if t.Speaker == "" {
				relation = "appears with"
			}
			facts = append(facts, triple(subject, relation, n, day(c.Time)))
		}
	}
	return distinct(facts)
}

// nameOf reports whether a name stands for a person, in full or short ("Mel" for Melanie).
func nameOf(name, person string) bool {
	return name != "" && strings.HasPrefix(strings.ToLower(person), strings.ToLower(name))
}

type entityGrammar struct{ tagger *text.Tagger }

func (entityGrammar) method() string { return "clauses by part of speech@2" }

func (e entityGrammar) extract(c chunk.Chunk, others map[string]string) []string {
	var facts []string
	for _, t := range c.Turns {
		said, shown := spoken(t.Text)
		for _, cl := range e.tagger.Clauses(said, setting(t, others)) {
			facts = append(facts, triple(cl.Subject, cl.Relation, cl.Object, day(c.Time)))
		}
		if shown != "" {
			facts = append(facts, triple(t.Speaker, "shared", shown, day(c.Time)))
		}
	}
	return distinct(facts)
}

var shownRE = regexp.MustCompile(`\s*\[shared [^:\]]*:\s*([^\]]*)\]`)

// spoken parts a turn's words from the caption of a picture shared with it.
func spoken(text string) (said, shown string) {
	if m := shownRE.FindStringSubmatch(text); m != nil {
		shown = strings.TrimSpace(m[1])
	}
	return shownRE.ReplaceAllString(text, ""), shown
}

// setting is what pronouns of a turn stand for. The session of a turn that nobody speaks is the document it is from.
func setting(t chunk.Turn, others map[string]string) text.Setting {
	if t.Speaker == "" {
		return text.Setting{Title: t.Session}
	}
	return text.Setting{Speaker: t.Speaker, Listener: others[t.Speaker]}
}

func triple(subject, relation, object, context string) string {
	s := strings.Join([]string{subject, relation, object}, " - ")
	if context != "" {
		s += " (" + context + ")"
	}
	return s
}
