package tiers

import (
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// The temporal module returns strings that each state one dated fact.
//
//	rules    sentences with a date expression, as said, with the session's date
//	grammar  the clause with the expression resolved against the session's date, at the precision it has
//	llm      a language model reads the chunks
//
// On `I went to a LGBTQ support group yesterday` said on 8 May 2023, rules return the sentence and "yesterday"; grammar returns
// `Caroline went to a LGBTQ support group: 7 May 2023 (said on 8 May 2023: yesterday)`.

type temporalRules struct{}

func (temporalRules) method() string { return "date expressions@1" }

func (temporalRules) extract(c chunk.Chunk, _ map[string]string) []string {
	var facts []string
	for _, t := range c.Turns {
		for _, s := range text.Sentences(t.Text) {
			for _, e := range text.FindDates(s) {
				fact := e.Text + ": " + chunk.Turn{Speaker: t.Speaker, Text: s}.String()
				if d := day(c.Time); d != "" {
					fact += " (" + d + ")"
				}
				facts = append(facts, fact)
			}
		}
	}
	return distinct(facts)
}

type temporalGrammar struct{ tagger *text.Tagger }

func (temporalGrammar) method() string { return "resolved date expressions@3" }

func (e temporalGrammar) extract(c chunk.Chunk, others map[string]string) []string {
	said, _ := text.ParseTime(c.Time)
	var facts []string
	for _, t := range c.Turns {
		words, _ := spoken(t.Text)
		for _, s := range text.Sentences(words) {
			if strings.HasSuffix(s, "?") { // asks, states nothing
				continue
			}
			for _, d := range text.FindDates(s) {
				when := d.Resolve(said)
				if when == "" {
					continue
				}
				fact := e.event(s, d, t, others) + ": " + when
				if !said.IsZero() && !strings.EqualFold(when, d.Text) {
					fact += " (said on " + text.Day(said) + ": " + strings.ToLower(d.Text) + ")"
				}
				facts = append(facts, fact)
			}
		}
	}
	return distinct(facts)
}

// event says what happened at a date expression: the clause that holds it, pronouns resolved, else the whole sentence.
// A relative expression is taken out first.
func (e temporalGrammar) event(sentence string, d text.DateExpr, t chunk.Turn, others map[string]string) string {
	bare := sentence
	if d.Resolve(time.Time{}) == "" {
		bare = strings.TrimSpace(sentence[:d.Start]) + " " + strings.TrimSpace(sentence[d.End:])
	}
	clauses := e.tagger.Clauses(bare, setting(t, others))
	if c, ok := nearestClause(clauses, sentence, d); ok {
		return strings.TrimRight(c.Subject+" "+c.Relation+" "+c.Object, " ,")
	}
	bare = strings.Trim(strings.Join(strings.Fields(bare), " "), " .,!?-–—")
	return chunk.Turn{Speaker: t.Speaker, Text: bare}.String()
}

// nearestClause returns the clause that shares most words with the few around the expression.
func nearestClause(clauses []text.Clause, sentence string, d text.DateExpr) (text.Clause, bool) {
	around := map[string]bool{}
	before, after := text.Words(sentence[:d.Start]), text.Words(sentence[d.End:])
	for _, w := range before[max(0, len(before)-4):] {
		around[w] = true
	}
	for _, w := range after[:min(4, len(after))] {
		around[w] = true
	}
	best, most := text.Clause{}, 0
	for _, c := range clauses {
		n := 0
		for _, w := range text.Words(c.Relation + " " + c.Object) {
			if around[w] {
				n++
			}
		}
		if n > most {
			best, most = c, n
		}
	}
	return best, most > 0
}
