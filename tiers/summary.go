package tiers

import (
	"context"
	"strings"

	"github.com/budgetmem/budgetmem/tiers/lingua"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// The summary module returns one text: what is known, with dates and speakers. It does not answer.
//
//	Low   the kept chunks as they are, each with its date, then the three lists
//	Mid   under headings, with a line of guidance, within a budget: the turns that score best by retrieval, the facts
//	High  a language model picks the few turns that matter; they are quoted whole in order of time, each with the turn it
//	      replies to when that is needed to read it, relative dates worked out, and the most relevant dated facts
//
// What decides whether a small model answers well is that the summary holds the right few sentences and little else;
// that is why High quotes and does not rephrase. If the model fails, the raw text of Low serves, with the cause.

func (k *kit) summaryLow(_ context.Context, in Input, step *Step) (Output, error) {
	step.Method = "concatenation"
	b := budget{count: k.CountTokens, left: k.Options.LowTokens}
	for _, it := range in.Items {
		text := it.Text()
		if p := place(it.Chunk); p != "" {
			text = p + "\n" + text
		}
		b.add(text + "\n")
	}
	for _, list := range [][]string{in.Entity, in.Temporal, in.Topic} {
		for _, fact := range list {
			b.add(fact)
		}
	}
	b.report(step)
	return Output{Text: b.text()}, nil
}

// Shares of the Mid budget that the lists may take.
const (
	midTemporalFacts = 5
	midEntityFacts   = 5
	midTopics        = 3
)

func (k *kit) summaryMid(ctx context.Context, in Input, step *Step) (Output, error) {
	step.Method = "headings"
	lines, err := k.turnsByRetrieval(ctx, in)
	if err != nil {
		return Output{}, err
	}
	b := budget{count: k.CountTokens, left: k.Options.MidTokens}
	b.add(guidance(in.Items))
	// The lists are short and come out of the same budget first; they are shown after the turns.
	lists := budget{count: k.CountTokens, left: k.Options.MidTokens / 2}
	lists.section("Dates", in.Temporal, midTemporalFacts)
	lists.section("Facts", in.Entity, midEntityFacts)
	lists.section("Themes", in.Topic, midTopics)
	b.left -= k.Options.MidTokens/2 - lists.left
	chosen := fitting(shorten(lines, in.Query, k.CountTokens, k.Options.TurnTokens), k.CountTokens, b.left)
	b.add("\n# What was said")
	b.lines = append(b.lines, quote(chosen)...)
	b.lines = append(b.lines, lists.lines...)
	lists.report(step)
	if dropped := len(lines) - len(chosen); dropped > 0 {
		step.note("%d turns left out", dropped)
	}
	return Output{Text: b.text()}, nil
}

// guidance is the line that says how to use the notes.
func guidance(items []Item) string {
	for _, it := range items {
		if _, ok := lingua.ParseTime(it.Time); ok {
			return "Notes from memory. Dates in brackets say when a thing was said; what happened \"yesterday\" happened a day earlier."
		}
	}
	return "Notes from documents. Brackets name the document that the lines after them are from."
}

func (k *kit) summaryHigh(ctx context.Context, in Input, step *Step) (Output, error) {
	if len(in.Items) == 0 {
		return k.summaryLow(ctx, in, step)
	}
	lines, err := k.pickLines(ctx, in, step)
	if err != nil {
		if err := step.stepDown(ctx, Low, err); err != nil {
			return Output{}, err
		}
		return k.summaryLow(ctx, in, step)
	}
	lines = shorten(lines[:min(len(lines), k.Options.HighTurns)], in.Query, k.CountTokens, k.Options.TurnTokens)
	chosen := fitting(lines, k.CountTokens, k.Options.HighTokens)
	b := budget{count: k.CountTokens, left: k.Options.HighTokens}
	b.lines = quote(withContext(chosen, in.Items))
	b.left -= k.CountTokens(b.text())
	b.section("Dates", relevant(in.Query, in.Temporal, highTemporalFacts), highTemporalFacts)
	return Output{Text: b.text()}, nil
}

const highTemporalFacts = 3

// pickLines returns the turns that the model finds useful, best first.
func (k *kit) pickLines(ctx context.Context, in Input, step *Step) ([]line, error) {
	if scorer, ok := llm.AsScorer(k.Client); ok {
		step.Method = "llm likelihood + retrieval score of turns"
		lines, err := k.turnsByRetrieval(ctx, in)
		if err != nil {
			return nil, err
		}
		return k.rankTurns(ctx, scorer, lines[:min(len(lines), k.Options.ScoredTurns)], in, step)
	}
	step.Method = "llm line numbers"
	reply, err := k.generate(ctx, Summary.String(), promptFor(in, k.Options.HighTurns), step)
	if err != nil {
		return nil, err
	}
	all := allLines(in.Items)
	numbers, notes, err := parseNumbers(reply, len(all))
	step.Notes = append(step.Notes, notes...)
	if err != nil {
		return nil, err
	}
	lines := make([]line, len(numbers))
	for i, n := range numbers {
		lines[i] = all[n-1]
	}
	return lines, nil
}

// budget collects lines until its tokens are used up.
type budget struct {
	count   func(string) int
	left    int // tokens
	lines   []string
	dropped int
}

// add takes a line if it fits.
func (b *budget) add(line string) bool {
	n := b.count(line) + 1
	if n > b.left {
		b.dropped++
		return false
	}
	b.left -= n
	b.lines = append(b.lines, line)
	return true
}

// section adds a heading and the first facts of a list, if at least one fits.
func (b *budget) section(heading string, facts []string, limit int) {
	before := *b
	b.add("\n# " + heading)
	some := false
	for _, f := range facts[:min(len(facts), limit)] {
		some = b.add("- "+f) || some
	}
	if !some {
		*b = budget{count: before.count, left: before.left, lines: before.lines, dropped: b.dropped}
	}
}

func (b *budget) report(step *Step) {
	if b.dropped > 0 {
		step.note("%d pieces left out: token budget", b.dropped)
	}
}

func (b *budget) text() string { return strings.TrimSpace(strings.Join(b.lines, "\n")) }
