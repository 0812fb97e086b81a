package router

import (
	"fmt"
	"strings"
	"testing"
)

// The policies random:1 … random:n ask each question every combination once, in an order of the question's own.
func TestRandomCombinationAsksEachCombinationOnce(t *testing.T) {
	const all = 3 * 3 * 2
	orders := map[string]bool{}
	first := map[string]int{}
	for q := range 300 {
		question, seen, order := fmt.Sprint("q", q), map[string]bool{}, ""
		for k := 1; k <= all; k++ {
			p, err := Parse(fmt.Sprintf("random:%d", k), space, 7)
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("random:%d", k); p.Name() != want {
				t.Fatalf("name %q, want %q", p.Name(), want)
			}
			c := fmt.Sprint(decide(t, p, question))
			seen[c] = true
			order += c
			if k == 1 {
				first[c]++
			}
		}
		if len(seen) != all {
			t.Fatalf("%s: %d different combinations of %d", question, len(seen), all)
		}
		orders[order] = true
	}
	if len(orders) != 300 || len(first) != all {
		t.Errorf("%d orders of 300 questions, which start with %d of %d combinations", len(orders), len(first), all)
	}
	for _, spec := range []string{"random:0", "random:19", "random:x"} {
		if _, err := Parse(spec, space, 7); err == nil || !strings.Contains(err.Error(), spec) {
			t.Errorf("%s: error %v", spec, err)
		}
	}
}
