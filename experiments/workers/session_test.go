package workers_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"reflect"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/experiments/workers"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// seeing is a policy that depends on all it can see, and counts its decisions.
type seeing struct {
	space router.Space

	mu      sync.Mutex
	decided map[string]int // by question
}

func (*seeing) Name() string { return "seeing" }

func (p *seeing) Decide(ctx context.Context, s router.State) (int, error) {
	p.mu.Lock()
	p.decided[s.Question]++
	p.mu.Unlock()
	memory, err := s.Memory(ctx)
	if err != nil {
		return 0, err
	}
	h := fnv.New32()
	fmt.Fprint(h, s.Question, s.Module, s.Query, memory, s.Signals)
	return int(h.Sum32() % uint32(len(p.space[s.Module].Tiers))), nil
}

func (p *seeing) total() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.decided {
		n += d
	}
	return n
}

func newSeeing(cfg run.Config) *seeing {
	return &seeing{space: cfg.Memory.Space(), decided: map[string]int{}}
}

func openLive(t *testing.T, cfg run.Config) *run.Live {
	t.Helper()
	live, err := run.NewLive(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := live.Close(); err != nil {
			t.Error(err)
		}
	})
	return live
}

// awaitDecision returns once a policy has been asked.
func awaitDecision(t *testing.T, p *seeing) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); p.total() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no decision was asked for")
		}
	}
}

// askAll asks every question under every policy, all at one time, and returns the episodes without their times.
func askAll(t *testing.T, live *run.Live, policies ...router.Policy) map[string]router.Episode {
	t.Helper()
	var mu sync.Mutex
	out := map[string]router.Episode{}
	group, ctx := errgroup.WithContext(t.Context())
	for _, id := range live.IDs() {
		for _, p := range policies {
			group.Go(func() error {
				e, err := live.Ask(ctx, id, p)
				mu.Lock()
				defer mu.Unlock()
				e.MS = 0
				out[id+" "+p.Name()] = e
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return out
}

// Questions that are asked live bring through workers what they bring in one process, whatever the policy looks at.
func TestSessionAnswersAsOneProcessDoes(t *testing.T) {
	nats := startServer(t)
	e, url := newEndpoint(t, time.Millisecond)
	startWorker(t, nats, url, "a", 3, nil)
	startWorker(t, nats, url, "b", 3, nil)
	cfg, _, _ := coordinate(t, nats, url, workers.DefaultLease)
	static, err := router.Parse("low,mid,low,high,low", cfg.Memory.Space(), 1)
	if err != nil {
		t.Fatal(err)
	}
	policies := []router.Policy{newSeeing(cfg), static, router.NewRandom(cfg.Memory.Space(), 3)}
	live := openLive(t, cfg)
	got := askAll(t, live, policies...)
	if calls, again := e.counts(); calls == 0 || again > 0 {
		t.Errorf("%d calls, %d of them paid twice", calls, again)
	}

	cfg.Executor = nil
	want := askAll(t, openLive(t, cfg), policies...)
	for name, e := range want {
		if !reflect.DeepEqual(got[name], e) {
			t.Errorf("%s: through workers\n%+v\nhere\n%+v", name, got[name], e)
		}
	}
	if _, err := live.Ask(t.Context(), "nobody's", static); err == nil || errors.Is(err, router.ErrFailed) {
		t.Errorf("a question that is not there: %v", err)
	}
}

// A worker that takes over gets the choices that were made: a policy decides once for every module.
func TestSessionOutlivesItsWorker(t *testing.T) {
	nats := startServer(t)
	_, slow := newEndpoint(t, time.Minute)
	_, fast := newEndpoint(t, 0)
	cfg, _, _ := coordinate(t, nats, fast, workers.DefaultLease)
	live := openLive(t, cfg)
	p := newSeeing(cfg)
	ended := make(chan error, 1)
	go func() {
		_, err := live.Ask(t.Context(), live.IDs()[0], p)
		ended <- err
	}()
	t.Run("worker that is stopped", func(t *testing.T) {
		startWorker(t, nats, slow, "a", 3, nil)
		awaitDecision(t, p)
	})
	startWorker(t, nats, fast, "b", 3, nil)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if n, want := p.total(), len(cfg.Memory.Space()); n != want {
		t.Errorf("the policy decided %d times, want %d", n, want)
	}
}

// A question that nobody waits for any more keeps no worker from the next one, and the start after one that was killed asks anew.
func TestSessionForgetsWhatIsNotWanted(t *testing.T) {
	nats := startServer(t)
	_, url := newEndpoint(t, time.Millisecond)
	cfg, _, _ := coordinate(t, nats, url, workers.DefaultLease)
	live := openLive(t, cfg)
	p := newSeeing(cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := live.Ask(ctx, live.IDs()[0], p); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("without a worker: %v", err)
	}
	startWorker(t, nats, url, "a", 1, nil)
	if _, err := live.Ask(t.Context(), live.IDs()[1], p); err != nil {
		t.Fatal(err)
	}
	if n, want := p.total(), len(cfg.Memory.Space()); n != want {
		t.Errorf("the policy decided %d times, want %d", n, want)
	}
	if err := live.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := live.Ask(t.Context(), live.IDs()[2], p); err == nil {
		t.Error("a closed session answers")
	}
	if _, err := openLive(t, cfg).Ask(t.Context(), live.IDs()[2], p); err != nil {
		t.Errorf("in the next session: %v", err)
	}
}

// The end of the spend limit ends a session, as that of a question that workers cannot answer does not.
func TestSessionStopsAtTheSpendLimit(t *testing.T) {
	nats := startServer(t)
	_, url := newEndpoint(t, time.Millisecond)
	startWorker(t, nats, url, "a", 3, nil)
	cfg, c, _ := coordinate(t, nats, url, workers.DefaultLease)
	c.Limit = 0.005
	if err := c.Conn.OpenLimit(t.Context(), c.Folder.ID, c.Limit, c.Folder.Books); err != nil {
		t.Fatal(err)
	}
	live := openLive(t, cfg)
	high, err := router.Parse("high", cfg.Memory.Space(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := live.Ask(t.Context(), live.IDs()[0], broken{high}); !errors.Is(err, router.ErrFailed) {
		t.Errorf("a policy that fails: %v", err)
	}
	for _, id := range live.IDs() {
		if _, err = live.Ask(t.Context(), id, high); err != nil {
			break
		}
	}
	if !errors.Is(err, llm.ErrBudget) || errors.Is(err, router.ErrFailed) {
		t.Errorf("the limit's end: %v", err)
	}
}

// broken is a policy that fails.
type broken struct{ router.Policy }

func (broken) Decide(context.Context, router.State) (int, error) {
	return 0, errors.New("it does not know")
}

// halves is the test's data set with a validation split too.
type halves struct{ runtest.Tiny }

func (d halves) Questions(ctx context.Context, _ datasets.Split) ([]datasets.Question, error) {
	return d.Test(ctx)
}

// Sessions of several splits at a time have one spend limit, and end at it.
func TestSessionsShareTheSpendLimit(t *testing.T) {
	nats := startServer(t)
	_, url := newEndpoint(t, time.Millisecond)
	cfg, c, notes := coordinate(t, nats, url, workers.DefaultLease)
	cfg.Dataset = halves{cfg.Dataset.(runtest.Tiny)}
	startWorker(t, nats, url, "a", 3, func(w *run.Config) { w.Dataset = cfg.Dataset })
	c.Limit = 0.01
	if err := c.Conn.OpenLimit(t.Context(), c.Folder.ID, c.Limit, c.Folder.Books); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, split := range []string{string(datasets.Validation), run.TestSplit} {
		cfg.Split = split
		live, err := run.NewLive(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			var err error
			for seed := int64(1); err == nil; seed++ {
				for _, id := range live.IDs() {
					if _, err = live.Ask(t.Context(), id, router.NewRandom(cfg.Memory.Space(), seed)); err != nil {
						break
					}
				}
			}
			if !errors.Is(err, llm.ErrBudget) {
				t.Errorf("%s: %v", split, err)
			}
			if err := live.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if spent := c.Folder.Elsewhere(); spent <= 0 || spent > c.Limit {
		t.Errorf("$%f is held, of $%f", spent, c.Limit)
	}
	await(t, notes, "validation questions: worker a answers up to 3 questions")
}
