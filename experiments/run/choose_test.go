package run

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/budgetmem/budgetmem/datasets"
)

func TestChoose(t *testing.T) {
	var all []datasets.Question
	for category, n := range map[string]int{"single-hop": 40, "multi-hop": 9, "temporal": 2} {
		for i := range n {
			all = append(all, datasets.Question{ID: fmt.Sprintf("%s-%d", category, i), Category: category})
		}
	}
	got := Choose(all, 12, 1)
	count := map[string]int{}
	for _, q := range got {
		count[q.Category]++
	}
	if want := map[string]int{"single-hop": 5, "multi-hop": 5, "temporal": 2}; !reflect.DeepEqual(count, want) {
		t.Errorf("categories %v, want %v", count, want)
	}
	slices.Reverse(all)
	if !reflect.DeepEqual(Choose(all, 12, 1), got) {
		t.Error("the choice depends on the order of the questions")
	}
	if !reflect.DeepEqual(Choose(all, 20, 1)[:12], got) {
		t.Error("a larger choice does not begin with the smaller one")
	}
	if reflect.DeepEqual(Choose(all, 12, 2), got) {
		t.Error("another seed made the same choice")
	}
	for _, n := range []int{0, 51, 1000} {
		if whole := Choose(all, n, 1); len(whole) != 51 {
			t.Errorf("Choose(%d) took %d of 51", n, len(whole))
		}
	}
}
