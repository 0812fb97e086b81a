package tiers

import (
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

func TestCovering(t *testing.T) {
	for name, c := range map[string]struct {
		probabilities []float64
		share         float64
		limit         int
		want          int
	}{
		"one stands out":                 {[]float64{0.9, 0.1, 0.1, 0.1}, 0.7, 10, 1},
		"the line that crosses":          {[]float64{0.5, 0.3, 0.2}, 0.7, 10, 2},
		"all alike":                      {[]float64{0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1}, 0.75, 10, 8},
		"at most the limit":              {[]float64{0.1, 0.1, 0.1, 0.1}, 1, 2, 2},
		"everything":                     {[]float64{0.4, 0.1}, 1, 10, 2},
		"at least one":                   {[]float64{0.4, 0.1}, 0.001, 10, 1},
		"nothing known of probabilities": {[]float64{0, 0, 0}, 0.7, 2, 2},
		"no lines":                       {nil, 0.7, 2, 0},
		"fewer than the limit known":     {[]float64{0, 0}, 0.7, 5, 2},
	} {
		lines := make([]turnRef, len(c.probabilities))
		for i, p := range c.probabilities {
			lines[i].probability = p
		}
		if got := len(covering(lines, c.share, c.limit)); got != c.want {
			t.Errorf("%s: %d lines, want %d", name, got, c.want)
		}
	}
}

// TestLikeliestTurnStandsLast: in the summaries that quote, the turn that matters most is next to the question, whatever
// the time it was said at, and turns that hardly can be evidence are not in it.
func TestLikeliestTurnStandsLast(t *testing.T) {
	turn := func(id, text string) chunk.Turn { return chunk.Turn{ID: id, Session: "1", Speaker: "Ann", Text: text} }
	in := Input{Query: "Where does Ann live?", TopK: 2, Items: []Item{
		{Chunk: chunk.Chunk{ID: "a", Time: "1 May 2023", Turns: []chunk.Turn{turn("1", "I live in Bern."), turn("2", "I like tea.")}}, TurnScores: []float64{0.6, 0.001}},
		{Chunk: chunk.Chunk{ID: "b", Time: "2 June 2023", Turns: []chunk.Turn{turn("3", "My flat is small.")}}, TurnScores: []float64{0.3}},
	}}
	set := newSet(t, &llmtest.Client{})
	out, err := set[Summary][1].Run(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if want := "[2 June 2023] Ann said, \"My flat is small.\"\n[1 May 2023] Ann said, \"I live in Bern.\""; !strings.HasSuffix(out.Text, want) {
		t.Errorf("got\n%s\nwant at its end\n%s", out.Text, want)
	}
	if strings.Contains(out.Text, "tea") {
		t.Errorf("quotes what cannot be evidence:\n%s", out.Text)
	}
}
