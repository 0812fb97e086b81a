//go:build unix

package workers_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/experiments/workers"
	"github.com/budgetmem/budgetmem/internal/money"
	"github.com/budgetmem/budgetmem/internal/testenv"
)

// callsInARow is how many of a question's calls wait for another under the policy high: filter, the three relations side by side, summary
// and answer.
const callsInARow = 4

// BenchmarkWorkers compares runs at an endpoint that answers after a fixed time with the critical path of their calls, which is how long they
// would take if nothing else took time. Every worker, the server and the endpoint are processes of their own. Processor time is that of
// workers, servers and coordinator without their start, and without the endpoint's; local is a run without workers, in one process. On a busy
// machine the shortest wall time says most, and so the metrics are those of that run.
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
				b.Log(m)
				all = append(all, m)
			}
			best := slices.MinFunc(all, func(a, b measured) int { return int(a.wall - b.wall) })
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(best.wall.Seconds(), "wall-s")
			b.ReportMetric(best.path.Seconds(), "path-s")
			b.ReportMetric(best.ratio(), "wall/path")
			b.ReportMetric(best.perTask(best.wall-best.path), "wall-ms/task")
			b.ReportMetric(best.perTask(best.workers+best.servers+best.coordinator), "cpu-ms/task")
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
	wall, path time.Duration
	// Processor time; without workers the coordinator answers.
	workers, servers, coordinator time.Duration
	tasks                         int
}

func (m measured) ratio() float64 { return m.wall.Seconds() / m.path.Seconds() }

func (m measured) String() string {
	return fmt.Sprintf("wall %.2f s, path %.2f s, ratio %.3f, wall beyond it %.2f ms a task; processors, ms a task: workers %.2f, servers %.2f, coordinator %.2f",
		m.wall.Seconds(), m.path.Seconds(), m.ratio(), m.perTask(m.wall-m.path), m.perTask(m.workers), m.perTask(m.servers), m.perTask(m.coordinator))
}

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
	usedHere, usedThere := testenv.ProcessorTime(b), map[*process]time.Duration{}
	for _, p := range append(crew, nats...) {
		usedThere[p] = p.processorTime()
	}
	o, err := run.Run(b.Context(), cfg)
	if err != nil || o.Failed > 0 || o.Done != s.rounds*s.inFlight() {
		b.Fatalf("%v, %+v", err, o.Progress)
	}
	out := measured{wall: end.Sub(start), path: time.Duration(s.rounds*callsInARow) * s.latency, tasks: o.Done, coordinator: testenv.ProcessorTime(b) - usedHere}
	for p, used := range usedThere {
		p.kill()
		used = p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime() - used
		if p.Kind == "server" {
			out.servers += used
		} else {
			out.workers += used
		}
	}
	endpoint.kill()
	return out
}

// awaitWorkers waits until n workers are at the servers.
func (s servers) awaitWorkers(b *testing.B, n int) {
	b.Helper()
	js := dial(b, s.urls())
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

// processorTime is what a process has used so far, rounded down to a hundredth of a second; 0 where the system does not say.
func (p *process) processorTime() time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:])) // from the third on: the name before may hold blanks
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// BenchmarkServers measures what one server and a cluster of three store for 32 that wait for it at the same time: replies of 2 kB, and
// changes of the spend limit, each by another holder. Servers are processes of their own.
func BenchmarkServers(b *testing.B) {
	for _, n := range []int{1, 3} {
		nats := startServers(b, n, b.TempDir())
		for _, s := range nats {
			s.await()
		}
		conn := connect(b, nats.urls(), "bench", workers.DefaultLease)
		if err := conn.OpenLimit(b.Context(), "r", 1000, workers.Books{}); err != nil {
			b.Fatal(err)
		}
		reply := bytes.Repeat([]byte("reply "), 333)
		var count atomic.Int64
		for _, c := range []struct {
			name string
			call func(context.Context, int64) error
		}{
			{"replies", func(ctx context.Context, i int64) error {
				_, err := conn.Replies().Store(ctx, strconv.FormatInt(i, 10), reply)
				return err
			}},
			{"limit", func(ctx context.Context, i int64) error {
				_, _, err := conn.Allowance("r", strconv.FormatInt(i%32, 10)).Hold(ctx, 0, 0, money.Picodollars(i))
				return err
			}},
		} {
			b.Run(fmt.Sprintf("%s,servers=%d", c.name, n), func(b *testing.B) {
				b.SetParallelism(32 / runtime.GOMAXPROCS(0))
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := c.call(b.Context(), count.Add(1)); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "/s")
			})
		}
	}
}
