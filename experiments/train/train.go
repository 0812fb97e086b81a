// Package train trains routers on a benchmark's questions, from traces or live, and keeps a training in a folder:
//
//	config.json                 everything that decides the result
//	seed-N/metrics.jsonl        one line per step (PPO) or epoch (offline) of the training with seed N
//	seed-N/epochs.jsonl         one line per epoch: return, score and cost of its router on validation, by λ
//	seed-N/checkpoints/epoch-*.safetensors, best.safetensors, last.safetensors
//	                            routers, as --policy router:FILE takes them
//	seed-N/trackers.json        the run's ID in experiment trackers, and which of them are complete; seed-N/wandb its offline runs
//	seed-N/state.safetensors    the state from which PPO resumes (offline learning, which takes a minute, starts again)
//	traces.*.jsonl.gz           traces with the episodes that were asked live
//	summary.json, report.html   best and last routers of all seeds on test, learning curves
//
// A training that is killed at any moment and started again ends with the same router files as an uninterrupted one.
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
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/experiments/track"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/filelock"
	"github.com/budgetmem/budgetmem/internal/private"
	"github.com/budgetmem/budgetmem/internal/sealed"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/offline"
)

// Options says what is trained.
type Options struct {
	// Dir is the training's folder; it is created. A folder with a training of the same settings is resumed.
	Dir string
	// Settings are the method and its settings.
	Settings Settings
	// Seeds is the number of trainings, with consecutive seeds.
	Seeds int
	// Train and Validation are required; Test may be nil, and NoTest then says why.
	Train, Validation, Test *episodes.Replay
	NoTest                  string
	// Lambdas are the λs at which routers are evaluated; nil means 11 evenly spaced over the range trained for.
	Lambdas []float64
	// Backend runs the network.
	Backend compute.Backend
	// InFlight is the number of questions asked at one time when routers are evaluated (default 8).
	InFlight int
	// Progress, if not nil, is called after every step and epoch.
	Progress func(Progress)
	// Trackers show every seed as a run. A tracker that fails does not change the training; Warn is called with the reason, from
	// any goroutine.
	Trackers []track.Sink
	Warn     func(string)
}

// recorded is config.json: what decides a training's result. The number of seeds is not part of it, so that seeds can be added.
type recorded struct {
	Method  string         `json:"method"`
	Config  offline.Config `json:"config"`
	Lambdas []float64      `json:"lambdas"`
	// Backend is recorded because results are equal on one backend only.
	Backend string `json:"backend"`
	// Train and Validation describe the traces at the start and their systems.
	Train      source `json:"train"`
	Validation source `json:"validation"`
}

// source describes a replay.
type source struct {
	episodes.Header
	Episodes  string `json:"traces"` // hash of the episodes at the start
	Questions string `json:"questions_hash"`
	Live      bool   `json:"live"`
}

func sourceOf(r *episodes.Replay) source {
	return source{Header: r.Header(), Episodes: r.Hash(), Questions: hashOf(fmt.Sprintf("%q", r.IDs())), Live: r.CanAsk()}
}

// training is a training in progress.
type training struct {
	Options
	folder   *os.File // Dir, open and locked
	recorded recorded
	reward   *router.Reward
	trackers *track.Trackers
}

// Run trains, or resumes a training, and evaluates the best and the last routers on test. If ctx ends, the error wraps its
// error, and the same call resumes from there.
func Run(ctx context.Context, o Options) (*Summary, error) {
	t := &training{Options: o}
	defer func() { _ = t.folder.Close() }() // there may be none yet
	if err := t.prepare(ctx); err != nil {
		return nil, fmt.Errorf("set up training %s: %w", o.Dir, err)
	}
	t.trackers = track.New(t.Trackers, t.Warn)
	defer t.trackers.Close()
	s := &Summary{Method: t.Settings.Method(), Dir: t.Dir, Lambdas: t.Lambdas, Space: t.Train.Header().Space, Metric: t.Train.Header().Metric, NoTest: t.NoTest, Warnings: t.tooFew()}
	for n := range t.Seeds {
		seed := t.Settings.Config().Seed + int64(n)
		result, err := t.runSeed(ctx, seed)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("training %s, seed %d: %w; the same command resumes it", t.Dir, seed, err), t.saveTraces())
		}
		s.Seeds = append(s.Seeds, *result)
	}
	return s, errors.Join(t.saveTraces(), s.write())
}

// tooFew says for each split what its questions cannot show.
func (t *training) tooFew() (out []string) {
	for _, split := range []struct {
		name   string
		replay *episodes.Replay
	}{{"train", t.Train}, {"validation", t.Validation}, {"test", t.Test}} {
		if split.replay == nil {
			continue
		}
		if few := stats.TooFew(split.replay.Len()); few != "" {
			out = append(out, split.name+" split: "+few)
		}
	}
	return out
}

func (t *training) prepare(ctx context.Context) error {
	switch {
	case t.Dir == "" || t.Train == nil || t.Validation == nil || t.Backend == nil || t.Seeds < 1:
		return errors.New("Dir, Train, Validation, Backend and at least one of Seeds are required")
	case t.Settings.Method() == "":
		return errors.New("Settings is required, see NewSettings")
	case t.Test == nil && t.NoTest == "":
		return errors.New("there is neither Test nor NoTest")
	case len(t.Trackers) > 0 && t.Warn == nil:
		return errors.New("Trackers need Warn")
	}
	if err := t.checkDisjoint(); err != nil {
		return err
	}
	cfg := t.Settings.Config()
	*cfg = cfg.For(t.Train.Len())
	t.InFlight = cmp.Or(max(t.InFlight, 0), 8)
	if t.Lambdas == nil {
		t.Lambdas = spread(cfg.LambdaMin, cfg.LambdaMax)
	}
	if err := t.lock(); err != nil {
		return err
	}
	if err := errors.Join(t.record(), atomicfile.RemoveTemporary(t.Dir)); err != nil {
		return err
	}
	return t.initReward(ctx)
}

// lock makes the training's folder and locks it for this process.
func (t *training) lock() (err error) {
	if err := private.Dir(t.Dir); err != nil {
		return err
	}
	if t.folder, err = os.Open(t.Dir); err != nil {
		return err
	}
	if err := filelock.Try(t.folder); err != nil {
		return fmt.Errorf("it is in use by another process; wait for it, or give this training another name: %w", err)
	}
	return nil
}

// checkDisjoint checks that no question is in two splits, and that all splits have the same tiers and embedder.
func (t *training) checkDisjoint() error {
	splitOf := map[string]string{}
	for name, r := range map[string]*episodes.Replay{"training": t.Train, "validation": t.Validation, "test": t.Test} {
		if r == nil {
			continue
		}
		h := r.Header()
		if want := t.Train.Header(); fmt.Sprint(h.Space, h.MemoryIndex, h.Signals, h.Embedder, h.Dim) != fmt.Sprint(want.Space, want.MemoryIndex, want.Signals, want.Embedder, want.Dim) {
			return fmt.Errorf("the %s questions were asked with tiers %v and embedder %s (%d), those of training with %v and %s (%d)",
				name, h.Space, h.Embedder, h.Dim, want.Space, want.Embedder, want.Dim)
		}
		for _, id := range r.IDs() {
			k := h.DataHash + "/" + id
			if other, twice := splitOf[k]; twice {
				return fmt.Errorf("question %s is in both %s and %s", id, other, name)
			}
			splitOf[k] = name
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

// record writes config.json, or compares it with the existing one.
func (t *training) record() error {
	now := recorded{Method: t.Settings.Method(), Config: t.Settings.config, Lambdas: t.Lambdas, Backend: t.Backend.Name(), Train: sourceOf(t.Train), Validation: sourceOf(t.Validation)}
	now.Config.InFlight = 0 // changes no result
	now.Train.Commit, now.Validation.Commit = "", ""
	t.recorded = now
	data, err := json.MarshalIndent(now, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(t.Dir, "config.json")
	was, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return atomicfile.WriteFile(path, sealed.SealFile(data), 0o644)
	case err != nil:
		return err
	}
	if was, err = sealed.OpenFile(was); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !bytes.Equal(was, data) {
		return fmt.Errorf("%s belongs to a training with other settings or traces: give this one another name, or remove that folder", path)
	}
	return nil
}

// initReward makes the reward by which all checkpoints of all seeds are evaluated. It has observed the training traces, or if
// there are none the uniform policies on validation.
func (t *training) initReward(ctx context.Context) error {
	f, _ := t.Train.Snapshot()
	t.reward = f.Reward(t.Settings.Config().Align)
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

// saveTraces writes the episodes that were asked live.
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

// addTraces adds episodes to the file at path.
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
