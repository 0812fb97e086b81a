package lab

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/frontier"
	"github.com/budgetmem/budgetmem/experiments/train"
	"github.com/budgetmem/budgetmem/kernel/display"
	"github.com/budgetmem/budgetmem/router/portable"
)

// Training says how routers are trained on traces.
type Training struct {
	// Name begins the name of the training's folder; a hash of traces and settings follows.
	Name string
	// Method is one of train.Methods, "" for the first. Settings change its settings, as KEY=VALUE.
	Method   string
	Settings []string
	// Seeds is the number of trainings, 0 for 1.
	Seeds int
	// Runs is the folder of trainings, "" for runs/lab in the project.
	Runs string
	// Progress, if not nil, is called after each epoch instead of drawing a progress bar.
	Progress func(done, total int, note string)
}

// TrainRouters trains routers by the program bmem, with a progress bar, and returns the training's summary. A training that was
// done before is read from its folder. If ctx ends, the error wraps context.Canceled and the next call continues.
func (t *Benchmark) TrainRouters(ctx context.Context, o Training) (*train.Summary, error) {
	if o.Method == "" {
		o.Method = train.Methods()[0]
	}
	o.Seeds = max(o.Seeds, 1)
	runs, err := runsFolder(o.Runs)
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	fmt.Fprintf(hash, "%q %q", o.Method, o.Settings)
	for _, split := range splits {
		replay, err := episodes.NewReplay(*t.files()[split], nil)
		if err != nil {
			return nil, err
		}
		fmt.Fprint(hash, replay.Hash())
	}
	name := fmt.Sprintf("%s-%.4x", o.Name, hash.Sum(nil))
	dir := filepath.Join(runs, name)
	if s, err := train.Read(dir); err == nil && len(s.Seeds) == o.Seeds {
		return s, nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if t.Folder == "" {
		if err := t.Save(dir + "-traces"); err != nil {
			return nil, err
		}
	}
	args := []string{"train", "--progress", "jsonl", "--method", o.Method, "--seeds", strconv.Itoa(o.Seeds), "--runs", runs, "--name", name,
		"--traces", t.path(splits[0]), "--validation-traces", t.path(splits[1]), "--test-traces", t.path(splits[2])}
	for _, s := range o.Settings {
		args = append(args, "--set", s)
	}
	report, end := o.Progress, func(error) {}
	if report == nil {
		bar := display.Progress(ctx, "epochs of training")
		report, end = bar.Set, bar.End
	}
	_, err = Bmem(ctx, epochs(o.Seeds, report), args...)
	end(err)
	if err != nil {
		return nil, err
	}
	return train.Read(dir)
}

// epochs turns lines of progress into calls of report with the number of epochs done, of all seeds, and their total.
func epochs(seeds int, report func(done, total int, note string)) func(line string) {
	bySeed := map[int64]int{}
	return func(line string) {
		p, ok := train.ParseProgress([]byte(line))
		if !ok || p.Validation == nil {
			return
		}
		bySeed[p.Seed] = p.Epoch
		done := 0
		for _, n := range bySeed {
			done += n
		}
		report(done, seeds*p.Epochs, fmt.Sprintf("seed %d, value %.4f", p.Seed, p.Validation.Value))
	}
}

// Routers reads the best routers of all seeds of a training, as one family of a comparison. The errors are those of
// portable.ReadFile.
func Routers(name string, s *train.Summary) (frontier.Family, error) {
	f := frontier.Family{Name: name}
	for _, seed := range s.Seeds {
		path := filepath.Join(s.Dir, fmt.Sprintf("seed-%d", seed.Seed), "checkpoints", "best.safetensors")
		r, err := portable.ReadFile(path)
		if err != nil {
			return f, err
		}
		f.Seeds = append(f.Seeds, r)
	}
	return f, nil
}
