package tiers

import (
	"context"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// The summary module returns one text: what is known, with dates and speakers. It does not answer.
//
//	plain       the kept chunks as they are, each with its date, then the three lists
//	headings    under headings, with a line of guidance, within a budget: some facts, then the turns that retrieval finds
//	            likeliest to be evidence, the likeliest last
//	quotes      the turns of headings alone, without guidance and lists: what a model tuned to read them needs
//	brief       the first few of these
//	wide        the likeliest turns, as many as there may be and as fit: where facts have to be joined, the second is seldom likely by itself
//	likelihood  the most relevant dated facts, then the few turns that a language model's likelihoods find to matter, quoted
//	            whole with their dates, what matters most last; llm, if it gives none
//	llm         the same, where what a language model finds is the numbers of lines that it writes
//	prose       a language model writes the text
//
// What decides whether a small model answers well is that the summary holds the right few sentences and little else; that
// is why the middle ones quote and do not rephrase. If the model fails, the text of plain serves, with the cause.

func (tb *toolbox) summaryPlain(_ context.Context, in Input, step *Step) (Output, error) {
	step.Method = "concatenation"
	b := budget{count: tb.CountTokens, left: tb.Options.LowTokens}
	var quoted []string
	for _, it := range in.Items {
		text := it.String()
		if p := place(it.Chunk); p != "" {
			text = p + "\n" + text
		}
		if b.add(text + "\n") {
			quoted = append(quoted, it.TurnIDs()...)
		}
	}
	for _, list := range [][]string{in.Entity, in.Temporal, in.Topic} {
		for _, fact := range list {
			b.add(fact)
		}
	}
	b.report(step)
	return Output{Text: b.text(), Quoted: quoted}, nil
}

// Shares of the Mid budget that the lists may take.
const (
	midTemporalFacts = 5
	midEntityFacts   = 5
	midTopics        = 3
)

func (tb *toolbox) summaryHeadings(ctx context.Context, in Input, step *Step) (Output, error) {
	step.Method = "headings"
	lines, err := tb.turnsByRetrieval(ctx, in)
	if err != nil {
		return Output{}, err
	}
	b := budget{count: tb.CountTokens, left: tb.Options.MidTokens / 2}
	b.add(guidance(in.Items))
	b.section("Themes", in.Topic, midTopics)
	b.section("Facts", in.Entity, midEntityFacts)
	b.section("Dates", in.Temporal, midTemporalFacts)
	b.report(step)
	b.left += tb.Options.MidTokens - tb.Options.MidTokens/2
	b.add("\n# What was said")
	chosen := tb.likeliest(lines, in, b.left, step)
	b.lines = append(b.lines, quote(bestLast(chosen))...)
	return Output{Text: b.text(), Quoted: turnIDs(chosen)}, nil
}

// quoting is a method that quotes the likeliest turns and nothing else, as many as the options say.
func (tb *toolbox) quoting(method string, o Options) runFunc {
	with := *tb
	with.Options = o
	return func(ctx context.Context, in Input, step *Step) (Output, error) {
		step.Method = method
		lines, err := with.turnsByRetrieval(ctx, in)
		if err != nil {
			return Output{}, err
		}
		chosen := with.likeliest(lines, in, o.MidTokens, step)
		return Output{Text: strings.Join(quote(bestLast(chosen)), "\n"), Quoted: turnIDs(chosen)}, nil
	}
}

// briefTurns is the most turns that a brief summary quotes.
const briefTurns = 3

// brief are options for a few turns, wide ones for as many as there may be.
func (o Options) brief() Options { o.Turns = min(briefTurns, o.Turns); return o }
func (o Options) wide() Options  { o.Coverage = 1; return o }

// likeliest returns the best lines that fit into the tokens, best first.
func (tb *toolbox) likeliest(lines []turnRef, in Input, tokens int, step *Step) []turnRef {
	best := covering(lines, tb.Options.Coverage, tb.Options.Turns)
	chosen := fitting(shorten(best, in, tb.CountTokens, tb.Options.TurnTokens), tb.CountTokens, tokens)
	if dropped := len(lines) - len(chosen); dropped > 0 {
		step.note("%d turns left out", dropped)
	}
	return chosen
}

// turnIDs lists the lines' turns, each once.
func turnIDs(lines []turnRef) []string {
	var ids []string
	for _, l := range lines {
		if !slices.Contains(ids, l.turn.ID) {
			ids = append(ids, l.turn.ID)
		}
	}
	return ids
}

// guidance is the line that says how to use the notes.
func guidance(items []Item) string {
	for _, it := range items {
		if _, ok := text.ParseTime(it.Time); ok {
			return "Notes from memory. Dates in brackets say when a thing was said; what happened \"yesterday\" happened a day earlier."
		}
	}
	for _, it := range items {
		if it.Time != "" || slices.ContainsFunc(it.Turns, func(t chunk.Turn) bool { return t.Speaker != "" }) {
			return "Notes from a conversation. Brackets say in which session, or when, the lines after them were said."
		}
	}
	return "Notes from documents. Brackets name the document that the lines after them are from."
}

// picker returns the turns that a model finds useful, best first.
type picker func(ctx context.Context, in Input, step *Step) ([]turnRef, error)

func (tb *toolbox) summaryQuoted(pick picker) runFunc {
	return tb.summaryAsked(func(ctx context.Context, in Input, step *Step) (Output, error) {
		lines, err := pick(ctx, in, step)
		if err != nil {
			return Output{}, err
		}
		best := covering(lines, tb.Options.Coverage, tb.Options.Turns)
		chosen := fitting(shorten(best, in, tb.CountTokens, tb.Options.TurnTokens), tb.CountTokens, tb.Options.HighTokens)
		said := quote(bestLast(chosen))
		b := budget{count: tb.CountTokens, left: tb.Options.HighTokens - tb.CountTokens(strings.Join(said, "\n"))}
		if b.section("Dates", relevant(in, in.Temporal, quotedTemporalFacts), quotedTemporalFacts); len(b.lines) > 0 {
			b.lines = append(b.lines, "\n# What was said")
		}
		b.lines = append(b.lines, said...)
		return Output{Text: b.text(), Quoted: turnIDs(chosen)}, nil
	})
}

const quotedTemporalFacts = 3

func (tb *toolbox) summaryProse(ctx context.Context, in Input, step *Step) (Output, error) {
	return tb.summaryAsked(func(ctx context.Context, in Input, step *Step) (Output, error) {
		step.Method = "llm text"
		req, err := tb.proseRequest(in)
		reply, err := tb.generate(ctx, req, err, step)
		if err != nil {
			return Output{}, err
		}
		text, notes := payloadOf(reply)
		step.Notes = append(step.Notes, notes...)
		if text == "" {
			return Output{}, errPayload
		}
		return Output{Text: text}, nil
	})(ctx, in, step)
}

func (tb *toolbox) proseRequest(in Input) (llm.Request, error) {
	in.Items = asSaid(in.Items)
	d := tb.promptFor(in, tb.Options.HighTokens)
	d.Entity, d.Temporal, d.Topic = oneLines(in.Entity), oneLines(in.Temporal), oneLines(in.Topic)
	return tb.request("prose", d, tb.Options.HighTokens)
}

// summaryAsked is a summary by a model. If it fails, the plain one serves.
func (tb *toolbox) summaryAsked(write runFunc) runFunc {
	return func(ctx context.Context, in Input, step *Step) (Output, error) {
		if len(in.Items) == 0 {
			return tb.summaryPlain(ctx, in, step)
		}
		out, err := write(ctx, in, step)
		if err == nil {
			return out, nil
		}
		if err := step.stepDown(ctx, tb.served(plainMethod), err); err != nil {
			return Output{}, err
		}
		return tb.summaryPlain(ctx, in, step)
	}
}

func (tb *toolbox) linesByLikelihood(ctx context.Context, in Input, step *Step) ([]turnRef, error) {
	scorer, ok := llm.AsScorer(tb.Client)
	if !ok {
		return tb.linesChosen(ctx, in, step)
	}
	step.Method = "llm likelihood + retrieval probability of turns"
	lines, err := tb.scoredTurns(ctx, in)
	if err != nil {
		return nil, err
	}
	return tb.rankTurns(ctx, scorer, lines, in, step)
}

// scoredTurns returns the turns that likelihoods are asked for: those that retrieval likes best.
func (tb *toolbox) scoredTurns(ctx context.Context, in Input) ([]turnRef, error) {
	lines, err := tb.turnsByRetrieval(ctx, in)
	return lines[:min(len(lines), tb.Options.ScoredTurns)], err
}

// summaryScoring plans linesByLikelihood.
func (tb *toolbox) summaryScoring(ctx context.Context, in Input) (plan, error) {
	return tb.scoring(ctx, in, tb.scoredTurns, tb.linesRequest)
}

func (tb *toolbox) linesRequest(in Input) (llm.Request, error) {
	in.Items = asSaid(in.Items)
	return tb.request(Summary.String(), tb.promptFor(in, tb.Options.Turns), tb.Options.ReplyTokens)
}

// linesChosen ranks the lines by what retrieval found of them and by whether the model writes their number.
func (tb *toolbox) linesChosen(ctx context.Context, in Input, step *Step) ([]turnRef, error) {
	step.Method = "llm line numbers + retrieval probability of turns"
	in.Items = asSaid(in.Items) // as the request numbers the lines
	lines, err := tb.turnsByRetrieval(ctx, in)
	if err != nil {
		return nil, err
	}
	req, err := tb.linesRequest(in)
	reply, err := tb.generate(ctx, req, err, step)
	if err != nil {
		return nil, err
	}
	numbers, notes, err := parseNumbers(reply, len(lines))
	step.Notes = append(step.Notes, notes...)
	if err != nil {
		return nil, err
	}
	votes := make([]float64, len(lines))
	for i, l := range lines {
		if slices.Contains(numbers, l.number) {
			votes[i] = verdict
		}
	}
	weigh(lines, votes)
	return bestFirst(lines), nil
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
