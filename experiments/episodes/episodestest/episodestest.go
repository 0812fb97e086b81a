// Package episodestest makes up traces whose best choices are known, for tests.
package episodestest

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
)

// Dim is the width of the made-up embeddings.
const Dim = 16

// Space is that of five modules with three tiers each.
func Space() router.Space {
	var s router.Space
	for _, name := range []string{"filter", "entity", "temporal", "topic", "summary"} {
		s = append(s, router.Module{Name: name, Tiers: []string{"low", "mid", "high"}})
	}
	return s
}

// Task is a made-up task: a question is of one of two kinds, which its embedding shows. Of each module, questions of one kind
// gain 0.2 by the tier high, those of the other by any tier that is not high, and dearer tiers cost four times as much each.
type Task struct {
	Split     string
	Questions int
	Seed      uint64
}

// Kind is the kind of question i for module m.
func (t Task) Kind(i, m int) int { return (i + i/2*m) % 2 }

// ID is the name of question i.
func (t Task) ID(i int) string { return fmt.Sprintf("%s-%d", t.Split, i) }

// Trace is the outcome of a combination for question i. The memory that the summary sees depends on the filter's tier.
func (t Task) Trace(i int, choices []int) router.Episode {
	space := Space()
	tr := router.Episode{ID: t.ID(i), Category: fmt.Sprint("kind ", i%2), Question: fmt.Sprintf("When did number %d happen?", i), Choices: choices,
		AnswerDollars: 1e-4, In: 100, Out: 10, MS: 5, Query: t.vector(i, 0), Memory: [][]float32{t.vector(i, 1), t.vector(i, 2), t.vector(i, 3+choices[0])}}
	for m, c := range choices {
		tr.Served = append(tr.Served, space[m].Tiers[c])
		if high := c == 2; high == (t.Kind(i, m) == 1) {
			tr.Score += 0.2
		}
		tr.ModulesDollars += []float64{1e-4, 4e-4, 16e-4}[c]
	}
	tr.Score = min(tr.Score, 1)
	return tr
}

func (t Task) vector(i, n int) []float32 {
	h := fnv.New64a()
	fmt.Fprint(h, t.Seed, t.ID(i))
	rng := rand.New(rand.NewPCG(h.Sum64(), uint64(n)))
	v := make([]float32, Dim)
	norm := 0.0
	for d := range v {
		v[d] = 0.2 * float32(rng.NormFloat64())
		if m := d - 1; m >= 0 && m < 5 {
			v[d] += float32(2*t.Kind(i, m) - 1)
		}
		norm += float64(v[d]) * float64(v[d])
	}
	for d := range v {
		v[d] /= float32(math.Sqrt(norm))
	}
	return v
}

// Header is the header of the task's traces.
func (t Task) Header() episodes.Header {
	return episodes.Header{Format: episodes.Format, Version: 1, Dataset: "made up", DataHash: fmt.Sprint(t.Seed), Split: t.Split, Metric: "f1",
		Space: Space(), MemoryIndex: []int{0, 1, 1, 1, 2}, Embedder: "made-up@1", Dim: Dim}
}

// File has n combinations of each question, drawn as router.RandomCombination draws them; with 243 all there are.
func (t Task) File(n int) *episodes.File {
	f := &episodes.File{Header: t.Header()}
	all, err := f.Space.Combinations()
	if err != nil {
		panic(err) // the space is small
	}
	for i := range t.Questions {
		rng := rand.New(rand.NewPCG(t.Seed+uint64(i), 99))
		for _, c := range rng.Perm(len(all))[:n] {
			f.Episodes = append(f.Episodes, t.Trace(i, all[c]))
		}
	}
	return f
}
