package tiers

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// Chances that retrieval knows are updated as Bayes' rule has it, so that a near-certain turn stays ahead of one that only
// sounds like the question.
func TestWeighUpdatesChances(t *testing.T) {
	lines := []turnRef{{score: 0.95, probability: 0.95}, {score: 0.02, probability: 0.02}, {score: 0.5, probability: 0.5}}
	weigh(lines, []float64{-5, -2.5, -4.5}) // mean -4
	for i, want := range []float64{0.95 / 0.05 * math.Exp(-1), 0.02 / 0.98 * math.Exp(1.5), math.Exp(-0.5)} {
		if odds := lines[i].probability / (1 - lines[i].probability); math.Abs(odds-want) > 1e-9*want {
			t.Errorf("line %d: odds %g, want %g", i, odds, want)
		}
		if got := math.Exp(lines[i].score); math.Abs(got-want) > 1e-9*want {
			t.Errorf("line %d: score of odds %g, want %g", i, got, want)
		}
	}
}

func TestWeighWithoutChances(t *testing.T) {
	lines := []turnRef{{score: 1}, {score: 3, probability: 0.3}} // standardised -1 and 1, as the log-probabilities are 1 and -1
	weigh(lines, []float64{-2, -3})
	if lines[0].score != 0 || lines[1].score != 0 || lines[0].probability != 0 || lines[1].probability != 0.3 {
		t.Errorf("%+v", lines)
	}
}

func TestLogOddsOfCertainty(t *testing.T) {
	for _, p := range []float64{0, 1e-9, 0.5, 1} {
		if z := logOdds(p); math.IsInf(z, 0) || math.IsNaN(z) || math.Abs(logistic(z)-p) > 1e-5 {
			t.Errorf("p %g: %g", p, z)
		}
	}
}

// A model's written verdict decides where retrieval is unsure, and does not overrule it where it is sure.
func TestVerdictsWeighWithRetrieval(t *testing.T) {
	turn := func(id string) chunk.Turn { return chunk.Turn{ID: id, Text: "said in " + id} }
	items := func(first, second, third float64) []Item {
		return []Item{
			{Chunk: chunk.Chunk{ID: "a", Turns: []chunk.Turn{turn("a1"), turn("a2")}}, TurnScores: []float64{first, second}},
			{Chunk: chunk.Chunk{ID: "b", Turns: []chunk.Turn{turn("b1")}}, TurnScores: []float64{third}},
		}
	}
	for _, c := range []struct {
		name, reply, want string
		module            Module
		items             []Item
	}{
		{"unsure, line 2 chosen", "[2]", "a2", Summary, items(0.3, 0.2, 0.3)},
		{"unsure, line 3 chosen", "[3]", "b1", Summary, items(0.3, 0.3, 0.2)},
		{"sure of line 1, line 3 chosen", "[3]", "a1", Summary, items(0.97, 0.1, 0.1)},
		{"unsure, second passage marked up", "[0, 10]", "b", Filter, items(0.2, 0.2, 0.3)},
		{"sure of the first, second marked up", "[0, 10]", "a", Filter, items(0.97, 0.1, 0.1)},
	} {
		tb := newToolbox(Deps{Client: &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) {
			return "<answer>" + c.reply + "</answer>", nil
		}}})
		tb.served = func(method string) string { return method }
		out, err := tb.tier(c.module, High, methods[c.module]["llm"]).Run(t.Context(), Input{Query: "Which?", Items: c.items, TopK: 1})
		if err != nil {
			t.Fatal(err)
		}
		got := out.Text[strings.LastIndex(out.Text, " ")+1:] // the likeliest stands last
		if c.module == Filter {
			got = out.Kept[0].ID
		}
		if got != c.want {
			t.Errorf("%s: %q comes first, want %q", c.name, got, c.want)
		}
	}
}
