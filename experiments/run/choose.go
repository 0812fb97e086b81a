package run

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"

	"github.com/budgetmem/budgetmem/datasets"
)

// Sample is a way to choose some of a split's questions.
type Sample string

// The ways to choose questions.
const (
	// Natural keeps the categories' proportions in the data, up to one question per category.
	Natural Sample = "natural"
	// Balanced takes equally many questions of each category, as far as there are enough.
	Balanced Sample = "balanced"
)

// Choose takes n questions by a sampling; "" means Natural. The seed shuffles each category. The first n of a larger choice
// with the same seed are the smaller choice, so a run can be extended. n ≤ 0, or larger than the number of questions, takes
// all. Any other sampling is an error.
func Choose(questions []datasets.Question, n int, seed int64, sample Sample) ([]datasets.Question, error) {
	if sample != "" && sample != Natural && sample != Balanced {
		return nil, fmt.Errorf("sample %q: want %s or %s", sample, Natural, Balanced)
	}
	categories := map[string][]datasets.Question{}
	for _, q := range questions {
		categories[q.Category] = append(categories[q.Category], q)
	}
	type ranked struct {
		datasets.Question
		rank float64
	}
	var all []ranked
	for name, category := range categories {
		// Sorted first, so that the choice does not depend on the order of the questions.
		slices.SortFunc(category, func(a, b datasets.Question) int { return cmp.Compare(a.ID, b.ID) })
		h := fnv.New64a()
		h.Write([]byte(name))
		rng := rand.New(rand.NewPCG(uint64(seed), h.Sum64()))
		rng.Shuffle(len(category), func(i, j int) { category[i], category[j] = category[j], category[i] })
		for i, q := range category {
			rank := float64(i)
			if sample != Balanced {
				rank = (rank + 0.5) / float64(len(category))
			}
			all = append(all, ranked{q, rank})
		}
	}
	slices.SortFunc(all, func(a, b ranked) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.Category, b.Category)) })
	if n <= 0 || n > len(all) {
		n = len(all)
	}
	chosen := make([]datasets.Question, n)
	for i := range chosen {
		chosen[i] = all[i].Question
	}
	return chosen, nil
}
