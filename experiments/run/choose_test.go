package run

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
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
	choose := func(n int, seed int64, sample Sample) []datasets.Question {
		t.Helper()
		chosen, err := Choose(all, n, seed, sample)
		if err != nil {
			t.Fatal(err)
		}
		return chosen
	}
	for sample, want := range map[Sample]map[string]int{
		Balanced: {"single-hop": 5, "multi-hop": 5, "temporal": 2},
		Natural:  {"single-hop": 10, "multi-hop": 2}, // of 40, 9 and 2
	} {
		got := choose(12, 1, sample)
		count := map[string]int{}
		for _, q := range got {
			count[q.Category]++
		}
		if !reflect.DeepEqual(count, want) {
			t.Errorf("%s: categories %v, want %v", sample, count, want)
		}
		slices.Reverse(all)
		if !reflect.DeepEqual(choose(12, 1, sample), got) {
			t.Errorf("%s: the choice depends on the order of the questions", sample)
		}
		if !reflect.DeepEqual(choose(20, 1, sample)[:12], got) {
			t.Errorf("%s: a larger choice does not begin with the smaller one", sample)
		}
		if reflect.DeepEqual(choose(12, 2, sample), got) {
			t.Errorf("%s: another seed made the same choice", sample)
		}
		for _, n := range []int{0, 51, 1000} {
			if whole := choose(n, 1, sample); len(whole) != 51 {
				t.Errorf("%s: Choose(%d) took %d of 51", sample, n, len(whole))
			}
		}
	}
	if !reflect.DeepEqual(choose(12, 1, ""), choose(12, 1, Natural)) {
		t.Error("Natural is not the default")
	}
	if _, err := Choose(all, 12, 1, "random"); err == nil || !strings.Contains(err.Error(), "want natural or balanced") {
		t.Errorf("an unknown sampling: %v", err)
	}
}

// Every prefix of a natural choice is within one question of the data's proportions.
func TestNaturalProportions(t *testing.T) {
	sizes := map[string]int{"a": 161, "b": 90, "c": 43, "d": 20}
	var all []datasets.Question
	for category, n := range sizes {
		for i := range n {
			all = append(all, datasets.Question{ID: fmt.Sprintf("%s-%d", category, i), Category: category})
		}
	}
	chosen, err := Choose(all, 0, 7, Natural)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for i, q := range chosen {
		count[q.Category]++
		for c, size := range sizes {
			if want := float64(size*(i+1)) / float64(len(all)); math.Abs(float64(count[c])-want) > 1.5 {
				t.Fatalf("of the first %d questions, %d are of %s, want %.1f", i+1, count[c], c, want)
			}
		}
	}
}
