package tune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/internal/suggest"
	"github.com/budgetmem/budgetmem/tiers"
)

// The variants of a question's notes.
const (
	// Retrieved notes are what the product gives the answering model.
	Retrieved = "retrieved"
	// Shuffled notes are the lines of Retrieved in random order.
	Shuffled = "shuffled"
	// Distractors are the gold evidence among one to three lines that retrieval found beside it, in random order.
	Distractors = "distractors"
	// GoldOnly notes are the gold evidence alone, quoted as the product quotes turns.
	GoldOnly = "gold"
)

// Variants lists the variants of notes.
func Variants() []string { return []string{Retrieved, Shuffled, Distractors, GoldOnly} }

// maxDistractors is how many lines without evidence Distractors adds at most.
const maxDistractors = 3

// DataConfig says which examples to make.
type DataConfig struct {
	Dataset datasets.Dataset
	// Memory retrieves and writes notes; its tier set should quote turns alone (tiers.QuotesSet).
	Memory *bmem.Memory
	// Questions are those of the data set to make examples of.
	Questions []datasets.Question
	// Test says that they are the test questions; the examples are marked so.
	Test bool
	// Policy are the tiers that write the notes, as router.Parse reads them; "" means mid.
	Policy string
	// Variants are made of each question, in this order; nil means Retrieved alone.
	Variants []string
	// Unseen keeps retrieved notes that hold none of the gold evidence. Training on them teaches to guess, but a validation
	// set must have them.
	Unseen bool
	// Seed drives the random variants.
	Seed int64
	// Ask are options for each question, such as bmem.WithTopK.
	Ask []bmem.Option
	// InFlight is how many questions are retrieved at one time; 0 means 4.
	InFlight int
	// Progress, if not nil, is called after each question, by one goroutine at a time.
	Progress func(done, total int)
}

// Made counts what MakeExamples did.
type Made struct {
	Questions  int            `json:"questions"`
	Examples   map[string]int `json:"examples"`    // by variant
	NoEvidence int            `json:"no_evidence"` // questions whose data set names no evidence
	Unseen     int            `json:"unseen"`      // questions whose retrieved notes hold no gold evidence
	// Evidence has how much of it the examples hold, by variant, where the data set names any.
	Evidence map[string]EvidenceShares `json:"evidence,omitempty"`
}

// EvidenceShares are means over the examples whose evidence is known, from 0 to 1.
type EvidenceShares struct {
	Examples int `json:"examples"` // whose evidence is known
	Evidence
	Whole float64 `json:"whole"` // examples whose notes quote all of their question's evidence
}

// evidenceShares are the means of each variant's examples.
func evidenceShares(examples []Example) map[string]EvidenceShares {
	out := map[string]EvidenceShares{}
	for _, e := range examples {
		if e.Evidence == nil {
			continue
		}
		s := out[e.Variant]
		s.Retrieved += e.Evidence.Retrieved
		s.Quoted += e.Evidence.Quoted
		if e.Evidence.Quoted == 1 {
			s.Whole++
		}
		s.Examples++
		out[e.Variant] = s
	}
	for v, s := range out {
		n := float64(s.Examples)
		s.Retrieved, s.Quoted, s.Whole = s.Retrieved/n, s.Quoted/n, s.Whole/n
		out[v] = s
	}
	return out
}

// MakeExamples makes the examples: for each question all variants side by side, in the order of the questions.
func MakeExamples(ctx context.Context, c DataConfig) ([]Example, Made, error) {
	made := Made{Examples: map[string]int{}}
	if len(c.Variants) == 0 {
		c.Variants = []string{Retrieved}
	}
	for _, v := range c.Variants {
		if !slices.Contains(Variants(), v) {
			return nil, made, fmt.Errorf("make examples: unknown variant %q; did you mean %q? There are %s", v, suggest.Name(v, Variants()), strings.Join(Variants(), ", "))
		}
	}
	questions := c.Questions
	histories, err := c.addHistories(ctx, questions)
	if err != nil {
		return nil, made, fmt.Errorf("make examples: %w", err)
	}
	all := make([][]Example, len(questions))
	unseen := make([]bool, len(questions))
	done := make(chan struct{})
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(cmp.Or(c.InFlight, 4))
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		n := 0
		for range done {
			if n++; c.Progress != nil {
				c.Progress(n, len(questions))
			}
		}
	}()
	for i, q := range questions {
		if gctx.Err() != nil {
			break
		}
		group.Go(func() error {
			var err error
			all[i], unseen[i], err = c.question(gctx, q, histories[q.History])
			if err != nil {
				return fmt.Errorf("make examples: question %s: %w", q.ID, err)
			}
			done <- struct{}{}
			return nil
		})
	}
	err = errors.Join(group.Wait(), ctx.Err())
	close(done)
	<-counted
	if err != nil {
		return nil, made, err
	}
	made.Questions = len(questions)
	for i, q := range questions {
		if len(q.Evidence) == 0 {
			made.NoEvidence++
		} else if unseen[i] {
			made.Unseen++
		}
		for _, e := range all[i] {
			made.Examples[e.Variant]++
		}
	}
	examples := slices.Concat(all...)
	made.Evidence = evidenceShares(examples)
	return examples, made, nil
}

// history is a conversation that questions are about, in a memory that runs of experiments share.
type history struct {
	turns  []chunk.Turn
	memory *bmem.DatasetMemory
}

// addHistories puts the questions' histories into the memory and returns them by their ids.
func (c DataConfig) addHistories(ctx context.Context, questions []datasets.Question) (map[string]history, error) {
	out := map[string]history{}
	for _, q := range questions {
		if _, ok := out[q.History]; ok {
			continue
		}
		h, err := c.Dataset.History(ctx, q.History)
		if err != nil {
			return nil, err
		}
		memory, err := c.Memory.OpenDataset(ctx, bmem.DatasetConversation{Dataset: c.Dataset.Name(), ID: q.History, Hash: c.Dataset.Hash(), Turns: h.Turns})
		if err != nil {
			return nil, err
		}
		out[q.History] = history{h.Turns, memory}
	}
	return out, nil
}

// question makes one question's examples. unseen says that its retrieved notes hold no gold evidence.
func (c DataConfig) question(ctx context.Context, q datasets.Question, h history) (out []Example, unseen bool, err error) {
	opts := append([]bmem.Option{bmem.WithMemory(h.memory.Name), bmem.WithQuestionID(q.ID), bmem.WithQuestionDate(q.Date),
		bmem.WithTiers(cmp.Or(c.Policy, "mid"))}, c.Ask...)
	notes, retrieved, err := c.Memory.Notes(ctx, q.Text, opts...)
	if err := cmp.Or(h.memory.Check(ctx), err); err != nil {
		return nil, false, err
	}
	gold := goldLines(h.turns, q.Evidence)
	sum := fnv.New64a()
	sum.Write([]byte(q.ID))
	rng := rand.New(rand.NewPCG(uint64(c.Seed), sum.Sum64()))
	lines := strings.Split(notes, "\n")
	others := without(lines, gold)
	unseen = !slices.ContainsFunc(gold, func(g string) bool { return quotes(lines, g) })
	for _, v := range c.Variants {
		var text []string
		switch {
		case (v == Retrieved || v == Shuffled) && (!unseen || c.Unseen || len(gold) == 0):
			text = slices.Clone(lines)
		case (v == Distractors || v == GoldOnly) && len(gold) > 0:
			text = slices.Clone(gold)
		default:
			continue
		}
		if v == Distractors {
			rng.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
			text = append(text, others[:min(len(others), 1+rng.IntN(maxDistractors))]...)
		}
		if v == Distractors || v == Shuffled {
			rng.Shuffle(len(text), func(i, j int) { text[i], text[j] = text[j], text[i] })
		}
		out = append(out, Example{ID: q.ID, Variant: v, Notes: strings.Join(text, "\n"), Date: q.Date, Question: q.Text,
			Answer: q.Gold[0], Category: q.Category, Test: c.Test, Evidence: evidence(q.Evidence, gold, retrieved, text)})
	}
	return out, unseen, nil
}

// evidence tells how much of the turns with the ids was retrieved and is quoted in the notes. gold are the turns as quoted.
func evidence(ids, gold []string, retrieved []bmem.Found, notes []string) *Evidence {
	if len(gold) == 0 {
		return nil
	}
	quoted := 0
	for _, line := range gold {
		if quotes(notes, line) {
			quoted++
		}
	}
	return &Evidence{Retrieved: bmem.Recall(ids, retrieved), Quoted: float64(quoted) / float64(len(gold))}
}

// goldLines quotes each evidence turn, in the history's order.
func goldLines(history []chunk.Turn, evidence []string) []string {
	var out []string
	for _, t := range history {
		if slices.Contains(evidence, t.ID) {
			if line := tiers.Quote([]chunk.Turn{t}); line != "" {
				out = append(out, line)
			}
		}
	}
	return out
}

// without returns the lines of notes that are of none of the gold turns.
func without(lines, gold []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
		return slices.ContainsFunc(gold, func(g string) bool { return slices.Contains(strings.Split(g, "\n"), l) || shortens(l, g) })
	})
}

// quotes tells whether lines of notes quote a turn, which may itself have several lines.
func quotes(lines []string, turn string) bool {
	return strings.Contains("\n"+strings.Join(lines, "\n")+"\n", "\n"+turn+"\n") ||
		slices.ContainsFunc(lines, func(l string) bool { return shortens(l, turn) })
}

// shortens tells whether a line of notes is a part of a quoted turn: notes leave sentences of long turns out and put an ellipsis there.
func shortens(line, turn string) bool {
	parts := strings.Split(line, "…")
	rest, ok := strings.CutPrefix(spaced(turn), spaced(parts[0]))
	if !ok || len(parts) == 1 {
		return false
	}
	for _, p := range parts[1:] {
		if _, rest, ok = strings.Cut(rest, spaced(p)); !ok {
			return false
		}
	}
	return true
}

// spaced has one blank wherever s has blanks or a new line, with the mark of a turn that goes on or without.
func spaced(s string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(s, "\n>", "\n")), " ")
}
