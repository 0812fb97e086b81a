package tiers

import (
	"context"
	"math"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

func TestMinimumRisk(t *testing.T) {
	rated := func(probabilities ...float64) []llm.Choice {
		out := make([]llm.Choice, len(probabilities))
		for i, p := range probabilities {
			out[i].LogProbs = []llm.TokenLogProb{{LogProb: math.Log(p) / 2}, {LogProb: math.Log(p) / 2}}
		}
		return out
	}
	for name, tt := range map[string]struct {
		answers []string
		choices []llm.Choice
		want    int
	}{
		"one":                      {[]string{"a"}, make([]llm.Choice, 1), 0},
		"the first of equals":      {[]string{"a", "b"}, make([]llm.Choice, 2), 0},
		"the most frequent":        {[]string{"a", "b", "b"}, make([]llm.Choice, 3), 1},
		"what others agree with":   {[]string{"red", "a blue car", "blue car", "the blue car"}, make([]llm.Choice, 4), 2},
		"the likeliest":            {[]string{"a", "b", "b"}, rated(0.6, 0.1, 0.1), 0},
		"not twice for two draws":  {[]string{"a", "b", "b"}, rated(0.3, 0.2, 0.2), 0},
		"none rated if one is not": {[]string{"a", "b", "b"}, append(rated(0.6, 0.1), llm.Choice{}), 1},
		"empty answers":            {[]string{"", "", "a"}, make([]llm.Choice, 3), 0},
		"words of any case":        {[]string{"x", "Blue", "blue"}, make([]llm.Choice, 3), 1},
	} {
		if got := minimumRisk(tt.answers, tt.choices); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

// several is a model that gives several replies to a request.
type several struct {
	llmtest.Client
	replies []string
	asked   llm.Request
}

func (s *several) Chat(_ context.Context, req llm.Request) (llm.Response, error) {
	s.asked = req
	out := llm.Response{Text: s.replies[0], Finish: "stop", Usage: llm.Usage{Calls: 1, In: 5, Out: 6}}
	for _, r := range s.replies[1:] {
		out.Others = append(out.Others, llm.Choice{Text: r, Finish: "stop"})
	}
	return out, nil
}

// An answerer with samples asks once, for several replies, and its worst case covers them.
func TestAnswerBySamples(t *testing.T) {
	model := &several{replies: []string{"red", "Answer: blue.", "blue"}}
	client, err := llm.Stack(model, llm.StackOptions{Prices: llm.Prices{}.Set(map[string]llm.Price{"test-model": {In: 1, Out: 1}})})
	if err != nil {
		t.Fatal(err)
	}
	in := Input{Notes: "notes", Query: "q"}
	one, err := Answerer{Client: client}.Tier("one").WorstCase(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	a := Answerer{Client: client, Samples: 3}
	most, err := a.Tier("mbr").WorstCase(t.Context(), in)
	if err != nil || math.Abs((most-one)-2*40*1e-6) > 1e-12 {
		t.Errorf("at most $%g, one reply $%g, %v; want 80 tokens more", most, one, err)
	}
	got, err := a.Answer(t.Context(), "notes", "q", "")
	if err != nil || got.Text != "blue" || got.Usage.Calls != 1 || got.Usage.Dollars > most {
		t.Errorf("%+v, %v", got, err)
	}
	if asked := model.asked; asked.N != 3 || !asked.LogProbs || asked.Temperature <= 0 {
		t.Errorf("asked %+v", asked)
	}
}
