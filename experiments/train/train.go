// Package train trains routers on a benchmark's questions, from traces or live, and keeps a training in a folder:
//
//	config.json                 everything that decides the result
//	seed-N/metrics.jsonl        one line a step (PPO) or epoch (offline) of the training with seed N
//	seed-N/epochs.jsonl         one line an epoch: what its router earns and costs on validation, by λ
//	seed-N/checkpoints/epoch-*.safetensors, best.safetensors, last.safetensors
//	                            routers, as --policy router:FILE takes them
//	seed-N/trackers.json        the run's name in experiment trackers, and which of them have it in whole; seed-N/wandb its offline runs
//	seed-N/state.safetensors    what PPO goes on from (offline learning, which takes a minute, starts again)
//	traces.*.jsonl.gz           traces with what was asked live
//	summary.json, report.html   best and last routers of all seeds on test, learning curves
//
// A training that is killed at any moment and started again ends with the same files of routers as one that is not.
package train

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gomlx/compute"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/track"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/offline"
)

// The ways to train.
const (
	// Offline learns from logged traces without playing, see offline.Learn.
	Offline = "offline"
	// PPO plays questions, replayed or live, with one router for all λ; Paper does so as BudgetMem's published code, for one λ.
	PPO   = "ppo"
	Paper = "paper"
)

// Methods lists the ways to train.
func Methods() []string { return []string{Offline, PPO, Paper} }

// Settings returns the preset of a method.
func Settings(method string) (offline.Config, error) {
	switch method {
	case Offline:
		return offline.DefaultConfig(), nil
	case PPO:
		return offline.Config{Config: router.Default()}, nil
	case Paper:
		return offline.Config{Config: router.Paper()}, nil
	}
	return offline.Config{}, fmt.Errorf("no training method %q: there are %v", method, Methods())
}

// Options is a training.
type Options struct {
	// Dir is the training's folder; it is created. A folder with a training of the same settings is taken up again.
	Dir string
	// Method is one of Methods, Config its settings; see Settings. Config.Seed is the first seed's.
	Method string
	Config offline.Config
	// Seeds is how many trainings are done, with seeds that count up.
	Seeds int
	// Train and Validation are played; Test may be nil, and NoTest then says why.
	Train, Validation, Test *episodes.Replay
	NoTest                  string
	// Lambdas are the λs that routers are evaluated at; nil spreads 11 evenly over the range trained for.
	Lambdas []float64
	// Backend computes.
	Backend compute.Backend
	// InFlight is how many questions are played at once when routers are evaluated (default 8).
	InFlight int
	// Progress, if not nil, is told of every step and epoch.
	Progress func(Progress)
	// Trackers show every seed as a run of its own. One that fails changes nothing here: Warn is told of it, from any goroutine.
	Trackers []track.Sink
	Warn     func(string)
}

// Progress is how far a training is.
type Progress struct {
	Seed   int64
	Epoch  int // finished
	Epochs int
	// Metrics is the step that just ended, nil for none.
	Metrics *router.Metrics
	// Validation is the evaluation of the epoch that just ended, nil for none.
	Validation *Epoch
}

// settings is what decides a training's result. How many seeds are trained is not part of it: more can be added.
type settings struct {
	Method  string         `json:"method"`
	Config  offline.Config `json:"config"`
	Lambdas []float64      `json:"lambdas"`
	// Backend is what computes: results are equal on one backend only.
	Backend string `json:"backend"`
	// The traces that training and validation start from, by their content, and the systems that they are of.
	Train      source `json:"train"`
	Validation source `json:"validation"`
}

// source describes questions.
type source struct {
	episodes.Header
	Episodes  string `json:"traces"` // hash of those there are at the start
	Questions string `json:"questions_hash"`
	Live      bool   `json:"live"`
}

func sourceOf(r *episodes.Replay) source {
	return source{Header: r.Header(), Episodes: r.Hash(), Questions: hashOf(fmt.Sprintf("%q", r.IDs())), Live: r.CanAsk()}
}

// training is one under way.
type training struct {
	Options
	folder   *os.File // Dir, open as long as it is this process's
	settings settings
	reward   *router.Reward
	trackers *track.Trackers
}

// Run trains, or goes on with a training, and evaluates the best and the last routers on test.
func Run(ctx context.Context, o Options) (*Summary, error) {
	t := &training{Options: o}
	defer func() { _ = t.folder.Close() }() // there may be none yet
	if err := t.prepare(ctx); err != nil {
		return nil, fmt.Errorf("set up training %s: %w", o.Dir, err)
	}
	t.trackers = track.New(t.Trackers, t.Warn)
	defer t.trackers.Close()
	s := &Summary{Method: t.Method, Dir: t.Dir, Lambdas: t.Lambdas, Space: t.Train.Header().Space, Metric: t.Train.Header().Metric, NoTest: t.NoTest}
	for n := range t.Seeds {
		seed := t.Config.Seed + int64(n)
		result, err := t.seed(ctx, seed)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("training %s, seed %d: %w; the same command goes on from there", t.Dir, seed, err), t.saveTraces())
		}
		s.Seeds = append(s.Seeds, *result)
	}
	return s, errors.Join(t.saveTraces(), s.write())
}

func (t *training) prepare(ctx context.Context) error {
	switch {
	case t.Dir == "" || t.Train == nil || t.Validation == nil || t.Backend == nil || t.Seeds < 1:
		return errors.New("Dir, Train, Validation, Backend and at least one of Seeds are required")
	case t.Method != Offline && t.Method != PPO && t.Method != Paper:
		_, err := Settings(t.Method)
		return err
	case t.Method != Offline && t.Config.MaxWeight != 0:
		return fmt.Errorf("max_weight is a setting of the method %s, not of %s", Offline, t.Method)
	case t.Test == nil && t.NoTest == "":
		return errors.New("there is neither Test nor NoTest")
	case len(t.Trackers) > 0 && t.Warn == nil:
		return errors.New("Trackers need Warn")
	}
	if err := t.apart(); err != nil {
		return err
	}
	t.Config.Config = t.Config.For(t.Train.Len())
	t.InFlight = cmp.Or(max(t.InFlight, 0), 8)
	if t.Lambdas == nil {
		t.Lambdas = spread(t.Config.LambdaMin, t.Config.LambdaMax)
	}
	if err := t.lock(); err != nil {
		return err
	}
	if err := errors.Join(t.record(), atomicfile.RemoveTemporary(t.Dir)); err != nil {
		return err
	}
	return t.measure(ctx)
}

// lock makes the training's folder and takes it for this process.
func (t *training) lock() (err error) {
	if err := os.MkdirAll(t.Dir, 0o755); err != nil {
		return err
	}
	if t.folder, err = os.Open(t.Dir); err != nil {
		return err
	}
	if err := run.Lock(t.folder); err != nil {
		return fmt.Errorf("it is in use by another process; wait for it, or give this training another name: %w", err)
	}
	return nil
}

// apart checks that no question is used twice, and that all are asked of systems with the same tiers.
func (t *training) apart() error {
	of := map[string]string{}
	for name, r := range map[string]*episodes.Replay{"training": t.Train, "validation": t.Validation, "test": t.Test} {
		if r == nil {
			continue
		}
		h := r.Header()
		if want := t.Train.Header(); fmt.Sprint(h.Space, h.MemoryIndex, h.Embedder, h.Dim) != fmt.Sprint(want.Space, want.MemoryIndex, want.Embedder, want.Dim) {
			return fmt.Errorf("the %s questions were asked with tiers %v and embedder %s (%d), those of training with %v and %s (%d)",
				name, h.Space, h.Embedder, h.Dim, want.Space, want.Embedder, want.Dim)
		}
		for _, id := range r.IDs() {
			k := h.DataHash + "/" + id
			if other, twice := of[k]; twice {
				return fmt.Errorf("question %s is in both %s and %s", id, other, name)
			}
			of[k] = name
		}
	}
	return nil
}

func spread(from, to float64) []float64 {
	if from == to {
		return []float64{from}
	}
	var out []float64
	for i := range 11 {
		out = append(out, from+(to-from)*float64(i)/10)
	}
	return out
}

// record writes config.json, or compares with the one that is there.
func (t *training) record() error {
	now := settings{Method: t.Method, Config: t.Config, Lambdas: t.Lambdas, Backend: t.Backend.Name(), Train: sourceOf(t.Train), Validation: sourceOf(t.Validation)}
	now.Config.InFlight = 0 // changes no result
	now.Train.Commit, now.Validation.Commit = "", ""
	t.settings = now
	data, err := json.MarshalIndent(now, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(t.Dir, "config.json")
	was, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return atomicfile.WriteFile(path, append(data, '\n'), 0o644)
	case err != nil:
		return err
	case !bytes.Equal(bytes.TrimSpace(was), data):
		return fmt.Errorf("%s is of a training with other settings or traces: give this one another name, or remove that folder", path)
	}
	return nil
}

// measure makes the reward that all checkpoints of all seeds are judged by: it has seen the traces that training starts from,
// or where there are none the uniform policies on validation.
func (t *training) measure(ctx context.Context) error {
	f, _ := t.Train.Snapshot()
	t.reward = f.Reward(t.Config.Align)
	if len(f.Episodes) > 0 {
		return nil
	}
	space := t.Validation.Header().Space
	for _, tier := range space.Uniform() {
		p, err := router.Parse(tier, space, 0)
		if err != nil {
			return err
		}
		r, err := router.Play(ctx, t.Validation, p, t.InFlight)
		if err != nil {
			return fmt.Errorf("measure costs by the uniform policies: %w", err)
		}
		for i, o := range r.Outcomes {
			if r.Failures[i] == nil {
				t.reward.Observe(o)
			}
		}
	}
	return nil
}

// saveTraces keeps what was asked live, now or before a kill.
func (t *training) saveTraces() error {
	var errs []error
	for name, r := range map[string]*episodes.Replay{"train": t.Train, "validation": t.Validation, "test": t.Test} {
		if r == nil {
			continue
		}
		if f, grown := r.Snapshot(); grown {
			errs = append(errs, addTraces(filepath.Join(t.Dir, "traces."+name+".jsonl.gz"), f))
		}
	}
	return errors.Join(errs...)
}

// addTraces adds a file's traces to those at path.
func addTraces(path string, f *episodes.File) error {
	kept, err := episodes.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f.WriteFile(path)
	}
	if err != nil {
		return err
	}
	all, err := episodes.Merge(kept, f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(all.Episodes) == len(kept.Episodes) {
		return nil
	}
	return all.WriteFile(path)
}
