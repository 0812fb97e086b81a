package router

import (
	"context"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/internal/backend"
)

// BenchmarkUpdate times what follows once 32 questions were played: returns, values, and 4 passes over the batch. In pure
// Go, an update's many small operations gain from running side by side, which is not so for the models' large ones.
func BenchmarkUpdate(b *testing.B) {
	for _, spec := range []string{"go", "go,parallelism=-1,ops_parallel", "xla:cpu"} {
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
			var times []float64
			cpu0 := cpuMS()
			for b.Loop() {
				start := time.Now()
				if err := tr.learn(episodes, &Metrics{}); err != nil {
					b.Fatal(err)
				}
				times = append(times, time.Since(start).Seconds()*1e3)
			}
			slices.Sort(times)
			b.ReportMetric((cpuMS()-cpu0)/float64(len(times)), "cpu-ms")
			b.ReportMetric(times[len(times)/2], "median-ms")
		})
	}
}

func cpuMS() float64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
}
