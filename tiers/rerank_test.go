package tiers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// likes is a reranker that likes turns with a word.
type likes struct {
	llmtest.Client
	word string
	err  error
	got  []llm.ScoreRequest
}

func (l *likes) Score(_ context.Context, reqs []llm.ScoreRequest) ([]llm.Score, llm.Usage, error) {
	l.got = reqs
	out := make([]llm.Score, len(reqs))
	for i, r := range reqs {
		out[i] = llm.Score{Tokens: 1}
		if strings.Contains(r.Messages[0].Content, l.word) {
			out[i].LogProb = 6
		}
	}
	return out, llm.Usage{Calls: 1, In: len(reqs)}, l.err
}

// The reranker reads what the summary would quote, and both the filter and the summary go by what it says.
func TestReranked(t *testing.T) {
	spec, err := LoadSpec(RerankedSet)
	if err != nil {
		t.Fatal(err)
	}
	in := Input{Query: "Where does Ann live?", TopK: 1, Items: []Item{
		{Chunk: chunk.Chunk{ID: "a", Time: "2 July 2023", Turns: []chunk.Turn{{ID: "1", Speaker: "Ann", Text: "I like cats."}, {ID: "2", Speaker: "Bob", Text: "Where do you live?"}}}, TurnScores: []float64{0.3, 0.5}},
		{Chunk: chunk.Chunk{ID: "b", Time: "2 July 2023", Turns: []chunk.Turn{{ID: "3", Speaker: "Ann", Text: "In Oslo."}, {ID: "4", Speaker: "Bob", Text: "Nice."}}}, TurnScores: []float64{0.2, 0.01}},
	}}
	before := slices.Clone(in.Items[1].TurnScores)
	model := &likes{word: "Oslo"}
	set, err := spec.Build(Deps{Client: model, Models: map[string]llm.Client{"reranker": model}})
	if err != nil {
		t.Fatal(err)
	}
	tier := set[Filter][2]
	out, err := tier.Run(t.Context(), in)
	if err != nil || out.Step.Served != High || out.Step.Usage.Calls != 1 {
		t.Fatalf("%v, %+v", err, out.Step)
	}
	if len(out.Kept) != 1 || out.Kept[0].ID != "b" || !(out.Kept[0].TurnScores[0] > 0.9) || !slices.Equal(before, in.Items[1].TurnScores) {
		t.Errorf("kept %+v; the input's own scores %v", out.Kept, in.Items[1].TurnScores)
	}
	if r := model.got[0]; r.Continuation != in.Query || !strings.HasPrefix(r.Messages[0].Content, "[2 July 2023] Bob said, ") {
		t.Errorf("the first request is %+v, want the likeliest turn, quoted", r)
	}
	in.Items = out.Kept
	if summary, err := set[Summary][0].Run(t.Context(), in); err != nil || !strings.HasSuffix(summary.Text, "\"In Oslo.\"") {
		t.Errorf("summary %q, %v: want what the reranker likes last", summary.Text, err)
	}

	model.err = errors.New("out of order")
	if out, err := tier.Run(t.Context(), in); err != nil || out.Step.Served != Mid || !errors.Is(out.Step.Cause, model.err) {
		t.Errorf("a reranker that fails: %v, %+v", err, out.Step)
	}
	in.Items[0].TurnScores, in.Items[0].Vector, in.QueryVector = nil, []float32{1}, []float32{1}
	if out, err := tier.Run(t.Context(), in); err != nil || out.Step.Served != Mid || !errors.Is(out.Step.Cause, errNoProbabilities) {
		t.Errorf("turns without probabilities: %v, %+v", err, out.Step)
	}
}
