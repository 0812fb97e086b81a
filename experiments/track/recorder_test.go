package track

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// memory is a tracker that keeps what it is given, and fails as it is told.
type memory struct {
	mu    sync.Mutex
	runs  map[string][]Step // by ID
	ended map[string]Outcome
	opens int
	// fault, if not nil, is asked before each call; a call with an error does nothing.
	fault func(call string) error
	// hang makes calls wait for the end of their context.
	hang bool
}

func newMemory() *memory { return &memory{runs: map[string][]Step{}, ended: map[string]Outcome{}} }

func (m *memory) String() string { return "memory" }

func (m *memory) do(ctx context.Context, call string, f func() error) error {
	if m.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault != nil {
		if err := m.fault(call); err != nil {
			return err
		}
	}
	return f()
}

func (m *memory) Open(ctx context.Context, run Run) (s Session, next int, err error) {
	err = m.do(ctx, "open", func() error {
		m.opens++
		next = len(m.runs[run.ID])
		delete(m.ended, run.ID)
		return nil
	})
	return &memorySession{m, run.ID}, next, err
}

type memorySession struct {
	*memory
	id string
}

func (s *memorySession) Log(ctx context.Context, steps []Step) error {
	return s.do(ctx, "log", func() error {
		s.runs[s.id] = append(s.runs[s.id], steps...)
		return nil
	})
}

func (s *memorySession) End(ctx context.Context, o Outcome) error {
	return s.do(ctx, "end", func() error {
		s.ended[s.id] = o
		return nil
	})
}

func (s *memorySession) Close() error { return nil }

// start shows a run of n steps, which ends as given.
func start(dir string, n int, o Outcome, sinks ...Sink) (warnings []string) {
	return startWith(30*time.Second, dir, n, o, sinks...)
}

func startWith(grace time.Duration, dir string, n int, o Outcome, sinks ...Sink) (warnings []string) {
	t := New(sinks, func(line string) { warnings = append(warnings, line) })
	t.pause, t.grace = time.Millisecond, grace
	r := t.Start(Run{Dir: dir})
	for i := range n {
		r.Record(map[string]float64{"x": float64(i)})
	}
	r.End(o)
	t.Close()
	return warnings
}

// check looks whether a tracker has one run, with each step once, and its end.
func (m *memory) check(t *testing.T, n int, o Outcome) {
	t.Helper()
	if len(m.runs) != 1 {
		t.Fatalf("there are %d runs, want 1", len(m.runs))
	}
	for id, steps := range m.runs {
		if len(steps) != n {
			t.Errorf("%d steps, want %d", len(steps), n)
		}
		for i, s := range steps {
			if s.Step != i || s.Values["x"] != float64(i) || s.Time.IsZero() {
				t.Errorf("step %d is %+v", i, s)
			}
		}
		if end, ok := m.ended[id]; !ok || end.Status != o.Status || !maps.Equal(end.Summary, o.Summary) {
			t.Errorf("ended %t as %+v, want %+v", ok, end, o)
		}
	}
}

var finished = Outcome{Status: Finished, Summary: map[string]float64{"y": 1}}

func TestDeliversOnce(t *testing.T) {
	dir, a, b := t.TempDir(), newMemory(), newMemory()
	if w := start(dir, 5, Outcome{Status: Killed}, a); w != nil {
		t.Error(w)
	}
	a.check(t, 5, Outcome{Status: Killed})
	for range 2 { // the second start has nothing to add
		if w := start(dir, 20, finished, a, named{b}); w != nil {
			t.Error(w)
		}
		a.check(t, 20, finished)
		b.check(t, 20, finished)
	}
	if a.opens != 2 || b.opens != 1 {
		t.Errorf("opened %d and %d times, want 2 and 1", a.opens, b.opens)
	}
	if !slices.Equal(slices.Collect(maps.Keys(a.runs)), slices.Collect(maps.Keys(b.runs))) {
		t.Error("a run has two names")
	}
	// Stopped while there was nothing left to show: the run stays finished. Another outcome is shown.
	start(dir, 20, Outcome{Status: Killed}, a)
	a.check(t, 20, finished)
	more := Outcome{Status: Finished, Summary: map[string]float64{"y": 1, "z": 2}}
	start(dir, 20, more, a)
	a.check(t, 20, more)
}

// named is a sink with another name.
type named struct{ Sink }

func (n named) String() string { return "other" }

// A tracker that fails is told of once, whatever it does, and has everything in the end.
func TestFailingTracker(t *testing.T) {
	down := errors.New("server down")
	for name, tt := range map[string]struct {
		fault    func(n, ends int, call string) error // after so many calls, of them ends
		warnings []string                             // in the first start; the second finds the tracker in good health
	}{
		"at first": {func(n, _ int, _ string) error {
			if n < 2 {
				return down
			}
			return nil
		}, []string{"server down", "back again"}},
		"at the end": {func(_, ends int, call string) error {
			if call == "end" && ends < 2 {
				return down
			}
			return nil
		}, []string{"server down", "back again"}},
		"always":    {func(int, int, string) error { return down }, []string{"server down"}},
		"never end": {func(_, _ int, call string) error { return map[string]error{"end": down}[call] }, []string{"server down"}},
		"refused":   {func(int, int, string) error { return Permanent{errors.New("who are you?")} }, []string{"who are you?"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, m, calls, ends := t.TempDir(), newMemory(), 0, 0
			m.fault = func(call string) error {
				before := ends
				if call == "end" {
					ends++
				}
				calls++
				return tt.fault(calls-1, before, call)
			}
			w := start(dir, 10, finished, m)
			if len(w) != len(tt.warnings) {
				t.Fatalf("warned %q, want %q", w, tt.warnings)
			}
			for i, want := range tt.warnings {
				if !strings.HasPrefix(w[i], "memory: ") || !strings.Contains(w[i], want) {
					t.Errorf("warning %q, want %q", w[i], want)
				}
			}
			if name == "refused" && calls != 1 {
				t.Errorf("tried %d times", calls)
			}
			m.fault = nil
			if w := start(dir, 10, finished, m); w != nil {
				t.Error(w)
			}
			m.check(t, 10, finished)
		})
	}
}

// A tracker that hangs costs no step any time, and the end of the training no more than the grace.
func TestHangingTracker(t *testing.T) {
	dir, m := t.TempDir(), newMemory()
	m.hang = true
	began := time.Now()
	w := startWith(200*time.Millisecond, dir, 1000, finished, m)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	if len(w) != 1 || !strings.Contains(w[0], "in time") {
		t.Errorf("warned %q", w)
	}
	m.hang = false
	if w := start(dir, 1000, finished, m); w != nil {
		t.Error(w)
	}
	m.check(t, 1000, finished)
}

// Whatever fails whenever, and however often the training starts again: each step is shown once.
func TestAnyFaultsAnyStarts(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		dir, m := t.TempDir(), newMemory()
		m.fault = func(string) error {
			switch rng.IntN(4) {
			case 0:
				return errors.New("once")
			case 1:
				if rng.IntN(3) == 0 {
					return Permanent{errors.New("for good")}
				}
			}
			return nil
		}
		n := 0
		for range 5 {
			n = min(n+rng.IntN(8), 20)
			start(dir, n, Outcome{Status: Failed}, m)
		}
		m.fault = nil
		start(dir, 20, finished, m)
		m.check(t, 20, finished)
	}
}

func TestBrokenState(t *testing.T) {
	for content, want := range map[string]string{"{": "not the state of trackers", `{"id":""}`: `field "id" is missing`, `{"id":"a","x":1}`: "unknown field"} {
		dir, m := t.TempDir(), newMemory()
		if err := os.WriteFile(filepath.Join(dir, stateFile), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if w := start(dir, 3, finished, m); len(w) != 1 || !strings.Contains(w[0], want) || !strings.Contains(w[0], stateFile) || m.opens != 0 {
			t.Errorf("%s: warned %q, want %q; opened %d times", content, w, want, m.opens)
		}
	}
	if w := start(filepath.Join(t.TempDir(), "none"), 3, finished, newMemory()); len(w) != 1 {
		t.Errorf("no folder: warned %q", w)
	}
}

// Without sinks there is nothing to keep.
func TestNoSinks(t *testing.T) {
	dir := t.TempDir()
	start(dir, 3, finished)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
}
