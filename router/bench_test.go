package router

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/router/internal/routertest"
)

// BenchmarkUpdate times 4 passes over a batch of 32 questions.
func BenchmarkUpdate(b *testing.B) {
	for _, spec := range []string{"go", "xla:cpu"} {
		b.Run(spec, func(b *testing.B) {
			be, err := backend.Open(spec, nil)
			if err != nil {
				testenv.Missing(b, err)
			}
			defer be.Finalize()
			env := newClusters(384, 32, 1)
			tr, err := NewTrainer(be, env, env.shape, Default())
			if err != nil {
				b.Fatal(err)
			}
			defer tr.Close()
			episodes, _, err := tr.collect(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			all := tr.batch(episodes)
			if err := tr.update(all, &Metrics{LearningRate: tr.rate()}); err != nil { // compiles
				b.Fatal(err)
			}
			for b.Loop() {
				if err := tr.update(all, &Metrics{LearningRate: tr.rate()}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAdam times a step over as many weights as the router has at width 384, on one core.
func BenchmarkAdam(b *testing.B) {
	const n = 460_000
	rng := rand.New(rand.NewPCG(1, 1))
	w, g, first, second := routertest.Vector(rng, n), routertest.Vector(rng, n), routertest.Vector(rng, n), make([]float32, n)
	step := adamStep{scale: 0.7, rate: 1e-6, debias: 1.3, epsilon: 1e-5}
	for b.Loop() {
		squares(g)
		step.apply(w, g, first, second)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/weight")
}
