package lab

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/setup/served"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/report"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/kernel/display"
)

// Models says which model answers, for quick.OpenWith: one on this machine, by its name or "" for the best that is here; or, with
// a base URL, one at an OpenAI-compatible endpoint, whose key is in the environment variable keyEnv ("" for none). A model without
// a known price counts as free.
func Models(endpoint, keyEnv, model string) setup.Spec {
	s := setup.Spec{Model: model, AllowUnpriced: true}
	if endpoint != "" {
		s.Endpoints = []string{endpoint}
	}
	if keyEnv != "" {
		s.KeyEnv = []string{keyEnv}
	}
	return s
}

// Source says where a benchmark's traces come from: a folder, or models that answer now if the folder does not exist or an endpoint
// is named.
type Source struct {
	// Folder of the traces, see Open.
	Folder string
	// Dataset has the questions. Models names the answering models and the tier set; see Models. Local models run in the server
	// that notebooks share, unless Engine is set.
	Dataset string
	Models  setup.Spec
	// Questions is the number of questions per split. Design says with which combinations of tiers, see run.Design; "" means
	// a few, for minutes on a small machine: two random ones to train on, low and mid to validate, and low, mid and high to test.
	Questions int
	Design    string
	// Runs is the folder of what is collected, "" for runs/lab in the module's.
	Runs string
}

// Open reads the traces, or collects them with a progress bar. Traces that were collected before are read, and a stopped
// collection is resumed. If ctx ends, the error wraps its error and the next call continues. Traces that cannot be read are an
// error.
func (s Source) Open(ctx context.Context) (*Benchmark, error) {
	if len(s.Models.Endpoints) == 0 {
		if t, err := Open(s.Folder); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return t, err
		}
	}
	if s.Questions < 1 {
		return nil, fmt.Errorf("collect traces of %s: Questions is %d; it must be at least 1", s.Dataset, s.Questions)
	}
	runs, err := runsFolder(s.Runs)
	if err != nil {
		return nil, err
	}
	m := s.Models
	data, err := datasets.Open(s.Dataset, datasets.Options{})
	if err != nil {
		return nil, err
	}
	made := []any{m.Tiers, m.Model, m.Endpoints, m.Roles, s.Questions, s.Design}
	if !slices.Contains(datasets.Names(), s.Dataset) { // one's own questions change
		made = append(made, data.Hash())
	}
	hash := sha256.Sum256(fmt.Appendf(nil, "%q", made))
	folder := filepath.Join(runs, fmt.Sprintf("%s-%.4x", data.Name(), hash))
	if t, err := Open(folder); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	if err := s.collect(ctx, data, folder); err != nil {
		return nil, fmt.Errorf("collect traces of %s: %w", s.Dataset, err)
	}
	return Open(folder)
}

// few are the designs of the splits for a quick look.
var few = []string{"random:2", "low+mid", "uniform"}

func (s Source) collect(ctx context.Context, data datasets.Dataset, folder string) (err error) {
	spec := s.Models
	spec.ChunkTokens = data.ChunkTokens()
	if spec.Engine == nil {
		spec.Engine = served.New("")
	}
	sys, err := setup.Open(ctx, spec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sys.Close()) }()
	c := run.Config{Dataset: data, Questions: s.Questions, Seed: seed, Memory: sys.Memory, System: run.Describe(sys, spec.TierOptions)}
	t := &Benchmark{Folder: folder}
	for i, split := range splits {
		if c.Policies, err = run.Design(cmp.Or(s.Design, few[i]), sys.Memory.Space()); err != nil {
			return err
		}
		bar := display.Progress(ctx, split+" answers")
		c.Split, c.Dir = split, filepath.Join(folder, split)
		c.Progress = func(p run.Progress) { bar.Set(p.Done, p.Total, fmt.Sprintf("$%.6f", p.Dollars)) }
		if err := os.MkdirAll(c.Dir, 0o755); err != nil {
			return err
		}
		outcome, file, err := run.Collect(ctx, c)
		if outcome != nil {
			_, werr := report.Write(outcome)
			err = errors.Join(err, werr)
		}
		if err == nil && outcome.Failed > 0 {
			err = fmt.Errorf("%d of the %s answers failed; the others are kept, so run it again", outcome.Failed, split)
		}
		bar.End(err)
		if err != nil {
			return err
		}
		if err := file.WriteFile(t.path(split)); err != nil {
			return err
		}
	}
	return nil
}

func runsFolder(named string) (string, error) {
	folder, err := filepath.Abs(cmp.Or(named, filepath.Join(Path("runs"), "lab")))
	if err != nil {
		return "", fmt.Errorf("find the folder of runs: %w", err)
	}
	return folder, nil
}
