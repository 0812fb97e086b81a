package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/chunk/chunktest"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/bmem/store"
)

// What one process adds, the next look of another one sees, and reads no more than that.
func othersSeeAdds(t *testing.T, p Place) {
	a, b, e := p.open(t), p.open(t), embedtest.NewCounting("e")
	add(t, a, "m", chunktest.History(10))
	ix, err := b.ReadIndex(t.Context(), "m", e, true, -1, nil)
	if err != nil || !ix.Whole || len(ix.Chunks) != len(chunktest.Split(chunktest.History(10))) {
		t.Fatalf("%d chunks, whole %v (%v)", len(ix.Chunks), ix.Whole, err)
	}
	for n := 11; n < 20; n++ {
		add(t, a, "m", chunktest.History(n))
		if now, err := b.Generation(t.Context(), "m"); err != nil || now <= ix.Generation {
			t.Fatalf("generation %d after %d (%v)", now, ix.Generation, err)
		}
		ix, err = b.ReadIndex(t.Context(), "m", e, true, ix.Generation, nil)
		if err != nil || ix.Whole || len(ix.Chunks) != 1 {
			t.Fatalf("%d turns: %d chunks, whole %v (%v)", n, len(ix.Chunks), ix.Whole, err)
		}
		if got := ix.Chunks[0].Turns; got[len(got)-1] != chunktest.History(n)[n-1] {
			t.Errorf("%d turns: the last is %v", n, got[len(got)-1])
		}
	}
	if _, err := a.Forget(t.Context(), store.Selection{Memory: "m", Turns: []string{"t2"}}); err != nil {
		t.Fatal(err)
	}
	if ix, err = b.ReadIndex(t.Context(), "m", e, true, ix.Generation, nil); err != nil || !ix.Whole {
		t.Errorf("after a turn was forgotten: whole %v (%v)", ix.Whole, err)
	}
}

// Several processes, each with several goroutines, add to the same memories, embed and read.
func manyAtOnce(t *testing.T, p Place) {
	const processes, goroutines, adds = 3, 3, 8
	e := &embedtest.Words{}
	var wg sync.WaitGroup
	for n := range processes {
		s := p.open(t)
		for g := range goroutines {
			wg.Go(func() {
				for i := range adds {
					who := fmt.Sprint(n, "-", g)
					name := fmt.Sprint("m", (g+i)%2)
					turn := chunk.Turn{ID: fmt.Sprint(who, ":", i), Session: fmt.Sprint("s", g), Speaker: who, Text: fmt.Sprintf("We all say the same words, number %d.", i)}
					if _, err := s.Append(t.Context(), name, []chunk.Turn{turn}, cutter, store.AddOptions{}); err != nil {
						t.Error(err)
						return
					}
					if _, err := s.ReadIndex(t.Context(), name, e, true, -1, nil); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	s := p.open(t)
	total := 0
	for _, name := range []string{"m0", "m1"} {
		m := memoryOf(t, s, name)
		total += len(m.Turns)
		if !reflect.DeepEqual(m.Chunks, chunktest.Split(m.Turns)) {
			t.Errorf("%s is not cut as its turns at once would be", name)
		}
		last := map[string]string{}
		for _, turn := range m.Turns {
			if turn.ID <= last[turn.Speaker] {
				t.Errorf("%s: turn %s stands behind %s", name, turn.ID, last[turn.Speaker])
			}
			last[turn.Speaker] = turn.ID
		}
	}
	if total != processes*goroutines*adds {
		t.Errorf("%d turns", total)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// While one process embeds and extracts facts, another forgets: nothing that the first one stores stays behind.
func nothingIsKeptOfWhatIsForgottenMeanwhile(t *testing.T, p Place) {
	const rounds = 12
	a, b, e := p.open(t), p.open(t), &embedtest.Words{}
	add(t, a, "stays", chunktest.History(1))
	for round := range rounds {
		name, secret := fmt.Sprint("m", round), fmt.Sprintf("SECRET%03dX", round)
		turns := chunktest.History(12)
		for i := range turns {
			turns[i].Text += " " + secret
		}
		add(t, a, name, turns)
		chunks := memoryOf(t, a, name).Chunks
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := a.Embed(t.Context(), name, e, true, nil); err != nil && !errors.Is(err, store.ErrNoMemory) {
				t.Error(err)
			}
		})
		wg.Go(func() {
			for _, c := range chunks {
				if _, err := a.Facts(t.Context(), "m", c, func(context.Context) ([]string, error) { return []string{c.Text()}, nil }); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			time.Sleep(time.Duration(round) * time.Millisecond)
			if _, err := b.Forget(t.Context(), store.Selection{Memory: name, All: true}); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if places := p.Holds(t, secret); len(places) > 0 {
			t.Errorf("round %d: %s is left in %v", round, secret, places)
		}
	}
	if err := a.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// A call that waits for another change ends soon after its context does, and stores nothing.
func contextEndsWaiting(t *testing.T, p Place) {
	s := p.open(t)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Append(done, "a", chunktest.History(3), cutter, store.AddOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	if _, err := s.Memory(t.Context(), "a"); !errors.Is(err, store.ErrNoMemory) {
		t.Errorf("a cancelled append left something: %v", err)
	}
	add(t, s, "a", chunktest.History(3))

	other := p.open(t)

	// One change holds the memory, as long as it counts tokens.
	holds, goOn, ended := make(chan struct{}, 1), make(chan struct{}), make(chan error, 1)
	slow := store.Cutter{MaxTokens: 20, Count: func(text string) int {
		if strings.Contains(text, "wait") {
			select {
			case holds <- struct{}{}:
			default:
			}
			<-goOn
		}
		return 1
	}}
	go func() {
		_, err := s.Append(t.Context(), "a", []chunk.Turn{{ID: "slow", Text: "wait"}}, slow, store.AddOptions{})
		ended <- err
	}()
	<-holds
	for name, wait := range map[string]func(ctx context.Context, s *store.Store) error{
		"append": func(ctx context.Context, s *store.Store) error {
			return second(s.Append(ctx, "a", []chunk.Turn{{ID: "waits", Text: "x"}}, cutter, store.AddOptions{}))
		},
		"forget": func(ctx context.Context, s *store.Store) error {
			return second(s.Forget(ctx, store.Selection{Memory: "a", Turns: []string{"t1"}}))
		},
	} {
		for where, s := range map[string]*store.Store{"in this process": s, "in another": other} {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			start := time.Now()
			err := wait(ctx, s)
			if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 1100*time.Millisecond {
				t.Errorf("%s %s ended after %v with %v", name, where, took, err)
			}
			cancel()
		}
	}
	close(goOn)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if m := memoryOf(t, s, "a"); len(m.Turns) != 4 {
		t.Errorf("%d turns, want 4", len(m.Turns))
	}
}
