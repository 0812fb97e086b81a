package router

import (
	"context"
	"testing"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/testenv"
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
