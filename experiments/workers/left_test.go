//go:build unix

package workers_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/workers"
	"github.com/budgetmem/budgetmem/router"
)

// nothingLeft fails if the server still has something of a run. Shared replies stay, and claims end by themselves.
func nothingLeft(t *testing.T, nats string) {
	t.Helper()
	js := dial(t, nats)
	for _, name := range []string{"BMEM_TASKS", "BMEM_RESULTS", "KV_bmem_runs"} {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if state := s.CachedInfo().State; state.Msgs > 0 || state.Consumers > 0 {
			t.Errorf("stream %s keeps %d messages and %d consumers", name, state.Msgs, state.Consumers)
		}
	}
}

// noticed is longer than a worker takes to see that a run is over.
const noticed = 1500 * time.Millisecond

// The server keeps nothing of what is over: workers would look at it for ever, and what lies in the queue has a bound.
func TestEndedRunsLeaveNothing(t *testing.T) {
	nats := startServer(t)
	_, slow := newEndpoint(t, time.Minute)
	startWorker(t, nats, slow, "a", 2, nil)
	t.Run("session that is interrupted", func(t *testing.T) {
		cfg, _, _ := coordinate(t, nats, slow, workers.DefaultLease)
		ctx, cancel := context.WithCancel(t.Context())
		live, err := run.NewLive(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		p := newSeeing(cfg)
		var group errgroup.Group
		for _, id := range live.IDs() {
			group.Go(func() error {
				if _, err := live.Ask(ctx, id, p); !errors.Is(err, context.Canceled) {
					t.Errorf("question %s: %v", id, err)
				}
				return nil
			})
		}
		awaitDecision(t, p)
		cancel()
		if err := errors.Join(group.Wait(), live.Close(), live.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := live.Ask(t.Context(), live.IDs()[0], p); err == nil {
			t.Error("a closed session answers")
		}
		time.Sleep(noticed)
		nothingLeft(t, nats)
	})
	t.Run("run that is interrupted", func(t *testing.T) {
		cfg, _, _ := coordinate(t, nats, slow, workers.DefaultLease)
		stop := startRun(t, cfg)
		time.Sleep(noticed)
		stop()
		time.Sleep(noticed)
		nothingLeft(t, nats)
	})
}

// slowly is a policy that takes its time to end.
type slowly struct {
	router.Policy
	begun chan struct{}
	ended atomic.Bool
}

func (p *slowly) Decide(ctx context.Context, _ router.State) (int, error) {
	close(p.begun)
	<-ctx.Done()
	time.Sleep(100 * time.Millisecond)
	p.ended.Store(true)
	return 0, ctx.Err()
}

// A policy is not used any more once Ask has returned: what it computes with may be gone then.
func TestPolicyRestsOnceAskHasReturned(t *testing.T) {
	nats := startServer(t)
	_, url := newEndpoint(t, 0)
	startWorker(t, nats, url, "a", 1, nil)
	cfg, _, _ := coordinate(t, nats, url, workers.DefaultLease)
	live := openLive(t, cfg)
	p := &slowly{Policy: newSeeing(cfg), begun: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-p.begun
		cancel()
	}()
	if _, err := live.Ask(ctx, live.IDs()[0], p); !errors.Is(err, context.Canceled) || !p.ended.Load() {
		t.Errorf("error %v; the policy's decision has ended: %v", err, p.ended.Load())
	}
}
