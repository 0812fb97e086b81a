package train

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/track"
)

// board is a tracker in memory.
type board struct {
	mu    sync.Mutex
	runs  map[string]track.Run
	steps map[string][]track.Step // by the run's ID
	ends  map[string][]track.Outcome
	down  bool
}

func (b *board) String() string { return "board" }

func (b *board) Open(_ context.Context, run track.Run) (track.Session, int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return nil, 0, track.Permanent{Err: errors.New("no power")}
	}
	b.runs[run.ID] = run
	return pinning{b, run.ID}, len(b.steps[run.ID]), nil
}

type pinning struct {
	*board
	id string
}

func (p pinning) Log(_ context.Context, steps []track.Step) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps[p.id] = append(p.steps[p.id], steps...)
	return nil
}

func (p pinning) End(_ context.Context, o track.Outcome) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ends[p.id] = append(p.ends[p.id], o)
	return nil
}

func (p pinning) Close() error { return nil }

// A training that is stopped again and again shows each of its steps once; neither trackers nor their failures change its files.
func TestTrackersSeeEveryStepOnceAndChangeNothing(t *testing.T) {
	be := open(t)
	for _, method := range []string{Offline, PPO} {
		t.Run(method, func(t *testing.T) {
			plain, shown := filepath.Join(t.TempDir(), "x"), filepath.Join(t.TempDir(), "x")
			seeds, stop := 2, 5 // and the steps of a start
			if method == Offline {
				seeds, stop = 1, 2 // every start begins the learning anew
			}
			o := options(be, method, plain)
			o.Seeds = seeds
			want, err := Run(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			b := &board{runs: map[string]track.Run{}, steps: map[string][]track.Step{}, ends: map[string][]track.Outcome{}}
			o = options(be, method, shown)
			o.Seeds = seeds
			o.Trackers = []track.Sink{b}
			warnings := 0
			o.Warn = func(string) { warnings++ }
			for n := 1; ; n++ {
				b.down = n == 2
				ctx, cancel := context.WithCancel(context.Background())
				told := 0
				o.Progress = func(Progress) {
					if told++; told == stop {
						cancel()
					}
				}
				_, err := Run(ctx, o)
				cancel()
				if err == nil {
					break
				}
				if !errors.Is(err, context.Canceled) || n > 40 {
					t.Fatal(err)
				}
			}
			if warnings != 1 {
				t.Errorf("warned %d times, want once", warnings)
			}
			before, after := files(t, plain), files(t, shown)
			maps.DeleteFunc(after, func(name, _ string) bool { return filepath.Base(name) == "trackers.json" })
			if !maps.Equal(before, after) {
				t.Errorf("the files differ: %v and %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
			}
			if len(b.runs) != seeds {
				t.Fatalf("%d runs for %d seeds", len(b.runs), seeds)
			}
			for id, run := range b.runs {
				i := 0
				if run.Name == "seed 43" {
					i = 1
				}
				seed := want.Seeds[i]
				config, _ := run.Config["config"].(map[string]any)
				if run.Training != "x" || config["seed"] != float64(seed.Seed) || run.Config["method"] != method {
					t.Errorf("run %+v", run)
				}
				if len(b.steps[id]) != len(seed.Metrics) {
					t.Fatalf("%s: %d steps, want %d", run.Name, len(b.steps[id]), len(seed.Metrics))
				}
				epochs := 0
				for n, s := range b.steps[id] {
					if s.Step != n {
						t.Errorf("%s: step %d is number %d", run.Name, n, s.Step)
					}
					if v, ok := s.Values["validation/value"]; ok {
						if v != seed.Epochs[epochs].Value {
							t.Errorf("%s: value of epoch %d is %v, want %v", run.Name, epochs+1, v, seed.Epochs[epochs].Value)
						}
						epochs++
						if share := s.Values["validation/route/topic/low"] + s.Values["validation/route/topic/mid"] + s.Values["validation/route/topic/high"]; share < 0.999 || share > 1.001 {
							t.Errorf("%s: shares of topic's tiers add up to %v", run.Name, share)
						}
					}
				}
				if epochs != len(seed.Epochs) {
					t.Errorf("%s: %d evaluations, want %d", run.Name, epochs, len(seed.Epochs))
				}
				ends := b.ends[id]
				last := ends[len(ends)-1]
				if last.Status != track.Finished || last.Summary["test/last/value"] != seed.Test["last"].Value || last.Notes["sha256.best"] != seed.Hashes["best"] || last.Files["best.safetensors"] == "" {
					t.Errorf("%s ended as %+v", run.Name, last)
				}
				for _, end := range ends[:len(ends)-1] {
					if end.Status != track.Killed {
						t.Errorf("%s: stopped as %s", run.Name, end.Status)
					}
				}
			}
		})
	}
}

func TestTrackersNeedWarn(t *testing.T) {
	o := options(open(t), PPO, filepath.Join(t.TempDir(), "x"))
	o.Trackers = []track.Sink{&board{}}
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "need Warn") {
		t.Errorf("error %v", err)
	}
}
