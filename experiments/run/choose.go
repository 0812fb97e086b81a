package run

import (
	"cmp"
	"hash/fnv"
	"math/rand/v2"
	"slices"

	"github.com/budgetmem/budgetmem/datasets"
)

// Choose takes n questions spread evenly over the categories: each category is shuffled by the seed, then the categories take
// turns, in the order of their names. The first n of a larger choice with the same seed are the smaller choice, so a run can
// be extended. n ≤ 0, or larger than the number of questions, takes all.
func Choose(questions []datasets.Question, n int, seed int64) []datasets.Question {
	piles := map[string][]datasets.Question{}
	for _, q := range questions {
		piles[q.Category] = append(piles[q.Category], q)
	}
	var names []string
	for name, pile := range piles {
		names = append(names, name)
		// Sorted first, so that the choice does not depend on the order of the questions.
		slices.SortFunc(pile, func(a, b datasets.Question) int { return cmp.Compare(a.ID, b.ID) })
		h := fnv.New64a()
		h.Write([]byte(name))
		rng := rand.New(rand.NewPCG(uint64(seed), h.Sum64()))
		rng.Shuffle(len(pile), func(i, j int) { pile[i], pile[j] = pile[j], pile[i] })
	}
	slices.Sort(names)
	if n <= 0 || n > len(questions) {
		n = len(questions)
	}
	chosen := make([]datasets.Question, 0, n)
	for i := 0; len(chosen) < n; i++ {
		for _, name := range names {
			if i < len(piles[name]) && len(chosen) < n {
				chosen = append(chosen, piles[name][i])
			}
		}
	}
	return chosen
}
