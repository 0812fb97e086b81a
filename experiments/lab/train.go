package lab

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
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
	// Seeds is how many trainings are done, 0 for 1.
	Seeds int
	// Runs is the folder of trainings, "" for runs/lab in the module's.
	Runs string
}

// TrainRouters trains routers, with a bar of progress, and returns the training's summary. The same training is done once: afterwards
// it is read from its folder.
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
	args := []string{"train", "--method", o.Method, "--seeds", strconv.Itoa(o.Seeds), "--runs", runs, "--name", name,
		"--traces", t.path(splits[0]), "--validation-traces", t.path(splits[1]), "--test-traces", t.path(splits[2])}
	for _, s := range o.Settings {
		args = append(args, "--set", s)
	}
	bar := display.Progress(ctx, "epochs of training")
	_, err = Bmem(ctx, epochs(o.Seeds, bar.Set), args...)
	bar.End(err)
	if err != nil {
		return nil, err
	}
	return train.Read(dir)
}

var epochLine = regexp.MustCompile(`^seed (\d+), epoch (\d+) of (\d+): (value [\d.]+)`)

// epochs makes progress of the lines by which `bmem train` tells of epochs.
func epochs(seeds int, set func(done, total int, note string)) func(line string) {
	done, seen := 0, map[string]bool{}
	return func(line string) {
		if m := epochLine.FindStringSubmatch(line); m != nil && !seen[m[1]+"/"+m[2]] {
			seen[m[1]+"/"+m[2]] = true
			done++
			each, _ := strconv.Atoi(m[3]) // the expression found digits
			set(done, seeds*each, "seed "+m[1]+", "+m[4])
		}
	}
}

// Routers reads the best routers of all seeds of a training, as one family of a comparison.
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
