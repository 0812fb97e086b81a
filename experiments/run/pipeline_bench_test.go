package run_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// Orchestration must not be the bottleneck. The pipeline runs against a fake endpoint that takes 50 ms for every call, with
// the layers that a real run has: retries, spend limit, a cache on disk, a journal flushed after every question. The time
// is compared with the critical path of the calls themselves: of every question filter, the three relations side by side,
// summary and answer, four calls one after another, with so many questions in flight.
//
//	make bench-pipeline
const (
	callLatency    = 50 * time.Millisecond
	callsInARow    = 4
	callsAQuestion = 6
)

// maxMemory is what a process with 1,000 questions in flight may use, the fake endpoint included, in bytes.
const maxMemory = 1 << 30

func BenchmarkPipeline(b *testing.B) {
	for _, inFlight := range []int{32, 1000} {
		b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) {
			for range b.N {
				r := runPipeline(b, inFlight, max(2, 640/inFlight))
				b.ReportMetric(r.wall.Seconds()/r.path.Seconds(), "wall/path")
				b.ReportMetric(float64(r.memory)/(1<<20), "peak-MiB")
				if inFlight == 32 && r.wall > r.path*115/100 {
					b.Errorf("%s for a critical path of %s: more than 1.15 times as long", r.wall, r.path)
				}
				if r.memory > maxMemory {
					b.Errorf("%d MiB in use", r.memory>>20)
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

type pipelineResult struct {
	wall, path time.Duration
	memory     int64 // most memory resident, in bytes; 0 where the system does not say
}

// runPipeline asks rounds times as many questions as are in flight. The time is that from the first question to the last,
// without opening the run and writing its tables.
func runPipeline(b *testing.B, inFlight, rounds int) pipelineResult {
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply, Latency: callLatency})
	defer server.Close()
	m, _, closeAll, err := runtest.Open(runtest.Rig{URL: server.URL(), Dir: b.TempDir(), Timeout: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	defer closeAll()
	c := runtest.Config(b.TempDir(), m)
	c.Dataset, c.Policies, c.InFlight = runtest.Tiny{Histories: 10, Each: rounds * inFlight / 10, NoEvidence: true}, []string{"high"}, inFlight
	var start, end time.Time
	out := pipelineResult{path: time.Duration(rounds*callsInARow) * callLatency}
	c.Progress = func(p run.Progress) {
		if p.Last == nil {
			start = time.Now()
		}
		end = time.Now()
		if p.Done%16 == 0 {
			out.memory = max(out.memory, resident())
		}
	}
	s, err := run.Run(context.Background(), c)
	if err != nil || s.Failed > 0 || s.Done != rounds*inFlight || server.Count() != callsAQuestion*s.Done {
		b.Fatalf("%v: %d of %d answered, %d failed, by %d calls", err, s.Done, rounds*inFlight, s.Failed, server.Count())
	}
	out.wall = end.Sub(start)
	return out
}

// resident is the memory that this process has in use, in bytes; 0 where the system does not say.
func resident() int64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var total, pages int64
	if _, err := fmt.Sscan(string(data), &total, &pages); err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
