//go:build unix

package workers_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/experiments/workers"
	"github.com/budgetmem/budgetmem/experiments/workers/natsserver"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/router"
)

// childEnv makes the test binary be one process of a test and nothing else; it holds a child in JSON.
const childEnv = "BUDGETMEM_TEST_WORKERS"

// child is a process of a test.
type child struct {
	Kind                string // server, endpoint, worker, coordinator or spender
	Addr, NATS          string
	Endpoint, Dir, Name string
	Capacity, Histories int
	Poison              string // history that kills whoever reads it
	Lease               time.Duration
	Calls               int    // of a spender
	Cluster             string // of a server
	Routes              []string
	Latency             time.Duration // of an endpoint
	Program             string        // that it runs, instead of this one
	Each                int           // questions of a history without evidence, so that there is no ceiling; 0 means 4 with it
}

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		var c child
		err := json.Unmarshal([]byte(spec), &c)
		if err == nil {
			go endWithParent()
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
			err = c.run(ctx)
			stop()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, c.Kind, c.Name, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// endWithParent ends this process when the test that started it is gone, as when its time ran out.
func endWithParent() {
	for parent := os.Getppid(); os.Getppid() == parent; {
		time.Sleep(200 * time.Millisecond)
	}
	os.Exit(1)
}

func (c child) run(ctx context.Context) error {
	switch c.Kind {
	case "server":
		s, err := natsserver.Start(natsserver.Config{Addr: c.Addr, Dir: c.Dir, Name: c.Name, Cluster: c.Cluster, Routes: c.Routes})
		if err != nil {
			return err
		}
		<-ctx.Done()
		s.Stop()
		return nil
	case "endpoint":
		return http.ListenAndServe(c.Addr, &endpoint{latency: c.Latency, answered: map[string]int{}})
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	switch c.Kind {
	case "worker":
		open := opener(conn, c.Endpoint, c.Dir, func(cfg *run.Config) { cfg.Dataset = c.dataset() })
		w := &workers.Worker{Conn: conn, Name: c.Name, Capacity: c.Capacity, Open: open}
		return w.Work(ctx)
	case "coordinator":
		m, _, closeAll, err := runtest.Open(runtest.Rig{URL: c.Endpoint, Dir: filepath.Join(c.Dir, "cache")})
		if err != nil {
			return err
		}
		defer closeAll()
		cfg := c.config(runtest.Config(filepath.Join(c.Dir, "run"), m))
		if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
			return err
		}
		folder, err := workers.OpenFolder(cfg.Dir)
		if err != nil {
			return err
		}
		cfg.Executor = &workers.Coordinator{Conn: conn, Folder: folder}
		_, err = run.Run(ctx, cfg)
		return err
	case "spender":
		return c.spend(ctx, conn)
	}
	return errors.New("no such kind of child")
}

// connect waits for a server that is just being started again.
func (c child) connect(ctx context.Context) (*workers.Conn, error) {
	for {
		conn, err := workers.Connect(ctx, c.NATS, c.Kind+" "+c.Name, c.Lease)
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// config is the run of the kill tests.
func (c child) config(cfg run.Config) run.Config {
	cfg.Dataset, cfg.Policies, cfg.InFlight = c.dataset(), []string{"low", "mid"}, 32
	return cfg
}

func (c child) dataset() datasets.Dataset {
	return poisoned{runtest.Tiny{Histories: c.Histories, Each: cmp.Or(c.Each, 4), NoEvidence: c.Each > 0}, c.Poison}
}

// poisoned is a data set with a history that kills the process that reads it.
type poisoned struct {
	runtest.Tiny
	poison string
}

func (p poisoned) History(ctx context.Context, id string) (datasets.History, error) {
	if id == p.poison {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return p.Tiny.History(ctx, id)
}

// process is a running child.
type process struct {
	child
	t      testing.TB
	cmd    *exec.Cmd
	output *bytes.Buffer
	ended  chan struct{} // closed when it has
	err    error
}

func (c child) start(t testing.TB) *process {
	t.Helper()
	spec, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{child: c, t: t, cmd: exec.Command(cmp.Or(c.Program, os.Args[0])), output: &bytes.Buffer{}, ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(spec))
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() { p.kill() })
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// running says whether the process still runs; if it ended by itself with an error the test fails.
func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// await waits until a server lets clients in.
func (p *process) await() {
	p.t.Helper()
	for p.running() {
		if c, err := net.DialTimeout("tcp", p.Addr, time.Second); err == nil {
			c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatalf("the server ended: %v\n%s", p.err, p.output)
}

// freeAddr is an address that a server can listen on.
func freeAddr(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// torture is a run over four worker processes of which some, the server and the coordinator are killed at random moments.
type torture struct {
	histories, capacity int
	latency             time.Duration
	lease               time.Duration
	servers             int
	kinds               []string // of processes that are killed
	kills               int      // of each kind
	seed                uint64
}

// everyKind are the kinds of processes of a run.
var everyKind = []string{"worker", "server", "coordinator"}

func (k torture) run(t *testing.T) {
	rng := rand.New(rand.NewPCG(k.seed, 1))
	e, url := newEndpoint(t, k.latency)
	dir := t.TempDir()
	natsServers := startServers(t, k.servers, dir)
	base := child{NATS: natsServers.urls(), Endpoint: url, Histories: k.histories, Lease: k.lease, Capacity: k.capacity}
	crew := make([]*process, 4)
	for i := range crew {
		c := base
		c.Kind, c.Name, c.Dir = "worker", "w"+strconv.Itoa(i), filepath.Join(dir, "w"+strconv.Itoa(i))
		crew[i] = c.start(t)
	}
	coordinator := base
	coordinator.Kind, coordinator.Dir = "coordinator", filepath.Join(dir, "coordinator")
	boss := coordinator.start(t)
	journal := filepath.Join(coordinator.Dir, "run", "traces.jsonl")
	total := k.histories * (2*4 + 3) // two policies, and the ceiling of the three of four questions that have one

	var plan []string
	for _, kind := range k.kinds {
		for range k.kills {
			plan = append(plan, kind)
		}
	}
	rng.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	inFlight, start := 0, time.Now()
	for i, kind := range plan {
		at := (float64(i) + 0.2 + 0.6*rng.Float64()) / float64(len(plan)+1)
		for lines(journal) < int(at*float64(total)) {
			if !boss.running() {
				t.Fatalf("the coordinator ended too early: %v\n%s", boss.err, boss.output)
			}
			time.Sleep(5 * time.Millisecond)
		}
		switch kind {
		case "worker":
			j := rng.IntN(len(crew))
			crew[j].kill()
			inFlight += k.capacity * parallel
			crew[j] = crew[j].start(t)
		case "server":
			natsServers.kill(t, rng, []string{"BMEM_TASKS", "BMEM_RESULTS"}[i%2])
		case "coordinator":
			boss.kill()
			boss = boss.start(t)
		}
		t.Logf("%6.2fs killed a %s at %d of %d", time.Since(start).Seconds(), kind, lines(journal), total)
	}
	<-boss.ended
	if boss.err != nil {
		t.Fatalf("the coordinator: %v\n%s", boss.err, boss.output)
	}
	for _, w := range crew {
		if !w.running() {
			t.Errorf("worker %s ended: %v\n%s", w.Name, w.err, w.output)
		}
	}
	t.Logf("%6.2fs done", time.Since(start).Seconds())
	sameRun(t, filepath.Join(coordinator.Dir, "run"), localRun(t, func(c *run.Config) { *c = coordinator.config(*c) }))
	different, again := e.counts()
	t.Logf("%d calls, %d of them paid twice; at most %d were in flight at kills", different, again, inFlight)
	if again > inFlight {
		t.Errorf("%d calls were paid twice, and only %d can have been in flight at a kill", again, inFlight)
	}
}

// lines counts the lines of a file, 0 if it is not there.
func lines(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	return bytes.Count(b, []byte("\n"))
}

// Whoever is killed, the run ends as one that was not, and nothing is paid twice but what was in flight.
func TestKilledWorkersServerAndCoordinator(t *testing.T) {
	torture{histories: 15, capacity: 4, latency: 5 * time.Millisecond, lease: 5 * time.Second, servers: 1, kinds: everyKind, kills: 1, seed: uint64(time.Now().UnixNano())}.run(t)
}

// The long form: `make torture-workers`.
func TestTortureWorkers(t *testing.T) {
	runs := testenv.Long(t, "BUDGETMEM_TORTURE_WORKERS", "torture-workers")
	for i := range runs {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			servers := 1 + 2*(i%2) // a cluster every second time
			torture{histories: 1250, capacity: 8, latency: 20 * time.Millisecond, lease: 10 * time.Second, servers: servers, kinds: everyKind, kills: 3, seed: uint64(i)}.run(t)
		})
	}
}

// poisoned keeps a worker going, as a service manager does, that dies whenever it reads the history h1. The run that it is for gives a
// question up once two have died.
func poisonedRun(t *testing.T) run.Config {
	nats := startServer(t)
	_, url := newEndpoint(t, 0)
	const lease = time.Second
	c := child{Kind: "worker", NATS: nats, Endpoint: url, Histories: 3, Lease: lease, Capacity: 1, Poison: "h1"}
	ctx, cancel := context.WithCancel(t.Context())
	tended := make(chan struct{})
	go func() {
		defer close(tended)
		for i := 0; ctx.Err() == nil; i++ {
			c.Name, c.Dir = "w", filepath.Join(t.TempDir(), strconv.Itoa(i))
			p := c.start(t)
			select {
			case <-p.ended:
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-tended })
	cfg, co, _ := coordinate(t, nats, url, lease)
	cfg.Dataset, cfg.Policies, cfg.NoCeiling, co.MostDeliveries = runtest.Tiny{Histories: 3, Each: 1}, []string{"low"}, true, 2
	return cfg
}

// A question that kills every worker that reads it is given up, and recorded as failed with the reason; the others are answered.
func TestPoisonedQuestionIsBuried(t *testing.T) {
	o, err := run.Run(t.Context(), poisonedRun(t))
	if err != nil {
		t.Fatal(err)
	}
	if o.Done != 3 || o.Failed != 1 {
		t.Fatalf("progress %+v, want one of three failed", o.Progress)
	}
	for _, r := range o.Columns[1].Records {
		if poisoned := r.ID == "h1-q0"; poisoned != r.Failed() || poisoned && !strings.Contains(r.Error, "2 workers in turn died") {
			t.Errorf("question %s: error %q", r.ID, r.Error)
		}
	}
}

// So it is where it is asked live.
func TestPoisonedQuestionOfASessionIsBuried(t *testing.T) {
	cfg := poisonedRun(t)
	live := openLive(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, id := range live.IDs() {
		_, err := live.Ask(ctx, id, newSeeing(cfg))
		if poisoned := id == "h1-q0"; poisoned != errors.Is(err, router.ErrFailed) || poisoned && !strings.Contains(err.Error(), "2 workers in turn died") {
			t.Errorf("question %s: %v", id, err)
		}
	}
}
