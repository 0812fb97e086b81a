//go:build unix

package workers_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/experiments/workers"
)

// callsInARow is how many of a question's calls wait for another under the policy high: filter, the three relations side by side, summary
// and answer.
const callsInARow = 4

// BenchmarkWorkers compares runs at an endpoint that answers after a fixed time with the critical path of their calls, which is how long they
// would take if nothing else took time. Every worker, the server and the endpoint are processes of their own. Processor time is that of
// workers, server and coordinator from their start on, the endpoint's is left out; local is a run without workers, in one process. On a busy
// machine the shortest wall time says most, and so the metrics are of that run.
//
//	make bench-workers
func BenchmarkWorkers(b *testing.B) {
	for _, s := range []fleet{
		{workers: 0, capacity: 32, rounds: 10, latency: 500 * time.Millisecond, servers: 1},
		{workers: 4, capacity: 8, rounds: 10, latency: 500 * time.Millisecond, servers: 1},
		{workers: 4, capacity: 8, rounds: 10, latency: 500 * time.Millisecond, servers: 3},
		{workers: 10, capacity: 32, rounds: 3, latency: 4 * time.Second, servers: 1},
	} {
		b.Run(s.String(), func(b *testing.B) {
			var all []measured
			for b.Loop() {
				m := s.run(b)
				b.Logf("wall %.2fs, path %.2fs, ratio %.3f, wall beyond it %.2f ms a task, processors %.2f ms a task", m.wall.Seconds(), m.path.Seconds(), m.ratio(), m.perTask(m.wall-m.path), m.perTask(m.cpu))
				all = append(all, m)
			}
			best := slices.MinFunc(all, func(a, b measured) int { return int(a.wall - b.wall) })
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(best.wall.Seconds(), "wall-s")
			b.ReportMetric(best.path.Seconds(), "path-s")
			b.ReportMetric(best.ratio(), "wall/path")
			b.ReportMetric(best.perTask(best.wall-best.path), "wall-ms/task")
			b.ReportMetric(best.perTask(best.cpu), "cpu-ms/task")
			b.ReportMetric(float64(best.tasks)/best.wall.Seconds(), "tasks/s")
		})
	}
}

// fleet is a run over workers of one capacity each; without any the coordinator answers by itself.
type fleet struct {
	workers, capacity, rounds, servers int
	latency                            time.Duration
}

func (s fleet) inFlight() int { return max(1, s.workers) * s.capacity }

func (s fleet) String() string {
	if s.workers == 0 {
		return fmt.Sprintf("local,inflight=%d", s.inFlight())
	}
	return fmt.Sprintf("workers=%d,inflight=%d,servers=%d", s.workers, s.inFlight(), s.servers)
}

// measured is what a run took.
type measured struct {
	wall, path, cpu time.Duration
	tasks           int
}

func (m measured) ratio() float64 { return m.wall.Seconds() / m.path.Seconds() }

// perTask is a time in milliseconds for each task.
func (m measured) perTask(d time.Duration) float64 {
	return d.Seconds() * 1000 / float64(m.tasks)
}

func (s fleet) run(b *testing.B) measured {
	dir := b.TempDir()
	endpoint := child{Kind: "endpoint", Addr: freeAddr(b), Latency: s.latency}.start(b)
	endpoint.await()
	base := child{Endpoint: "http://" + endpoint.Addr + "/v1", Lease: workers.DefaultLease, Capacity: s.capacity, Histories: 10, Each: s.rounds * s.inFlight() / 10}
	var nats servers
	var crew []*process
	if s.workers > 0 {
		nats = startServers(b, s.servers, dir)
		for _, n := range nats {
			n.await()
		}
		base.NATS = nats.urls()
		connect(b, base.NATS, "warm-up", base.Lease).Close() // makes the streams
		for i := range s.workers {
			c := base
			c.Kind, c.Name, c.Dir = "worker", "w"+strconv.Itoa(i), filepath.Join(dir, "w"+strconv.Itoa(i))
			crew = append(crew, c.start(b))
		}
	}
	m, _, closeAll, err := runtest.Open(runtest.Rig{URL: base.Endpoint, Dir: dir, Timeout: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	defer closeAll()
	cfg := runtest.Config(filepath.Join(dir, "run"), m)
	cfg.Dataset, cfg.Policies, cfg.InFlight = base.dataset(), []string{"high"}, s.inFlight()
	var start, end time.Time
	cfg.Progress = func(p run.Progress) {
		if p.Last == nil {
			start = time.Now()
		}
		end = time.Now()
	}
	if s.workers > 0 {
		if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
			b.Fatal(err)
		}
		folder, err := workers.OpenFolder(cfg.Dir)
		if err != nil {
			b.Fatal(err)
		}
		co := &workers.Coordinator{Conn: connect(b, base.NATS, "coordinator", base.Lease), Folder: folder}
		nats.awaitWorkers(b, s.workers)
		cfg.Executor = co
	}
	used := processorTime(b)
	o, err := run.Run(b.Context(), cfg)
	if err != nil || o.Failed > 0 || o.Done != s.rounds*s.inFlight() {
		b.Fatalf("%v, %+v", err, o.Progress)
	}
	out := measured{wall: end.Sub(start), path: time.Duration(s.rounds*callsInARow) * s.latency, cpu: processorTime(b) - used, tasks: o.Done}
	for _, p := range append(crew, nats...) {
		p.kill()
		out.cpu += p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	}
	endpoint.kill()
	return out
}

// awaitWorkers waits until n workers are at the servers.
func (s servers) awaitWorkers(b *testing.B, n int) {
	b.Helper()
	js := s.connect(b)
	for {
		there, err := js.Stream(b.Context(), "KV_bmem_workers")
		if err != nil {
			b.Fatal(err)
		}
		if int(there.CachedInfo().State.Msgs) >= n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
