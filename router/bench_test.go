package router

import (
	"context"
	"testing"

	"github.com/budgetmem/budgetmem/internal/backend"
)

// BenchmarkUpdate times what follows once 32 questions were played: returns, values, and 4 passes over the batch.
func BenchmarkUpdate(b *testing.B) {
	for _, spec := range []string{"go", "xla:cpu"} {
		b.Run(spec, func(b *testing.B) {
			be, err := backend.Open(spec, nil)
			if err != nil {
				b.Skip(err)
			}
			defer be.Finalize()
			env := newClusters(384, 32, 1)
			tr, err := NewTrainer(be, env, env.shape, Default(), nil)
			if err != nil {
				b.Fatal(err)
			}
			defer tr.Close()
			episodes, _, err := tr.collect(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			if err := tr.learn(episodes, &Metrics{}); err != nil { // compiles
				b.Fatal(err)
			}
			for b.Loop() {
				if err := tr.learn(episodes, &Metrics{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
