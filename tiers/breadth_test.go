package tiers

import (
	"fmt"
	"slices"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Each tier of the breadth set quotes the turns of the cheaper one and more, asks no model before the answer, and its high tiers keep all
// chunks and quote ten turns however unlikely.
func TestBreadth(t *testing.T) {
	spec, err := LoadSpec(BreadthSet)
	if err != nil {
		t.Fatal(err)
	}
	set, err := spec.Build(Deps{Client: unasked{}, Models: map[string]llm.Client{"large": unasked{}}})
	if err != nil {
		t.Fatal(err)
	}
	in := Input{Query: "Where does Ann live?", TopK: 3}
	for i := range 5 { // chunks of four turns, of which four turns hold nearly all of the probability
		c := chunk.Chunk{ID: fmt.Sprint(i), Time: fmt.Sprintf("%d May 2023", 1+i)}
		var scores []float64
		for j := range 4 {
			c.Turns = append(c.Turns, chunk.Turn{ID: fmt.Sprintf("%d.%d", i, j), Session: c.Time, Speaker: "Ann", Text: fmt.Sprintf("I live in place %d of street %d.", j, i)})
			scores = append(scores, map[bool]float64{true: 0.5, false: 0.001 * float64(5-i)}[i < 4 && j == 0])
		}
		in.Items = append(in.Items, Item{Chunk: c, TurnScores: scores})
	}
	var narrower []string
	for tier, want := range map[int][2]int{0: {3, 3}, 1: {3, 3}, 2: {5, 10}} { // chunks, turns
		kept, err := set[Filter][tier].Run(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if len(kept.Kept) != want[0] {
			t.Errorf("tier %d keeps %d chunks, want %d", tier, len(kept.Kept), want[0])
		}
		reading := in
		reading.Items = kept.Kept
		notes, err := set[Summary][tier].Run(t.Context(), reading)
		if err != nil {
			t.Fatal(err)
		}
		if len(notes.Quoted) != want[1] {
			t.Errorf("tier %d quotes %d turns, want %d: %v", tier, len(notes.Quoted), want[1], notes.Quoted)
		}
	}
	for tier := range 3 { // of the same chunks
		notes, err := set[Summary][tier].Run(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range narrower {
			if !slices.Contains(notes.Quoted, id) {
				t.Errorf("tier %d does not quote turn %s, which a cheaper one quotes", tier, id)
			}
		}
		if want := []int{3, 4, 10}[tier]; len(notes.Quoted) != want {
			t.Errorf("tier %d quotes %v, want %d turns", tier, notes.Quoted, want)
		}
		narrower = notes.Quoted
	}
}
