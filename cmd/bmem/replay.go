package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/run"
)

// replayFlags are the flags of verbs that play traces, or ask the models, or both.
type replayFlags struct {
	benchFlags
	// live names the splits that the models are asked about where nothing is traced, or is everySplit.
	live []string
	// files has the trace file of each split, asked how many questions are asked of it where there is no file.
	files map[string]*string
	asked map[string]*int
	// folder is where the files of splits are that were given as a folder; "" if none was.
	folder string
}

// asking closes what a verb has opened to ask the models, in its order: workers, the system, and what asks each split. It is empty
// without --live.
type asking []func() error

// Close closes the last that was opened first.
func (a asking) Close() error {
	var errs []error
	for _, c := range slices.Backward(a) {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

var splits = []string{string(datasets.Train), string(datasets.Validation), run.TestSplit}

// bindReplay defines the flags of the given splits. The training split's, or that of an only split, are --traces and
// --questions; those of others begin with the split's name.
func (f *replayFlags) bindReplay(cmd *cobra.Command, of ...string) {
	f.files, f.asked = map[string]*string{}, map[string]*int{}
	flags := cmd.Flags()
	f.bind(flags)
	hide := func(name string) { _ = flags.MarkHidden(name) } // it was just defined
	hide("split")                                            // each is opened in its turn
	for _, split := range of {
		if len(of) == 1 || split == string(datasets.Train) {
			f.files[split] = flags.String("traces", "", split+" questions: trace `file`, or the folder with those of all splits")
			f.asked[split] = &f.questions
			continue
		}
		f.files[split] = flags.String(split+"-traces", "", split+" questions: trace `file`, or the folder with those of all splits")
		f.asked[split] = flags.Int(split+"-questions", 0, "how many "+split+" questions are asked live; 0 asks all")
	}
	if len(f.asked) > 1 && f.asked[string(datasets.Train)] == nil {
		hide("questions")
	}
	flags.StringSliceVar(&f.live, "live", nil, "ask the models what is not traced; without any trace file, everything; --live=test asks about the test `splits` alone")
	flags.Lookup("live").NoOptDefVal = everySplit
}

// spread looks into a folder that is given in place of a trace file: it holds the files of this split, and of the others that
// no file is given for, as 'bmem traces collect --split all' writes them.
func (f *replayFlags) spread() {
	for _, split := range splits {
		dir := f.files[split]
		if dir == nil || *dir == "" {
			continue
		}
		if info, err := os.Stat(*dir); err != nil || !info.IsDir() {
			continue // reading it says what is wrong
		}
		f.folder = filepath.Clean(*dir)
		for other, file := range f.files {
			if *file == "" || other == split {
				*file = filepath.Join(f.folder, other+tracesExt)
			}
		}
	}
}

// notCollected says, where a folder lacks a split's file, what else there is and how to go on; nil for other errors.
func (f *replayFlags) notCollected(err error, split string) error {
	dir := filepath.Dir(*f.files[split])
	if !errors.Is(err, fs.ErrNotExist) || f.folder != dir {
		return nil
	}
	var there []string
	for _, s := range splits {
		if _, err := os.Stat(filepath.Join(dir, s+tracesExt)); err == nil {
			there = append(there, s)
		}
	}
	return fmt.Errorf("%s has traces of these splits: %s; was the collection stopped? The same 'bmem traces collect --split all --out %s …' goes on where it was",
		dir, cmp.Or(strings.Join(there, ", "), "none"), quoted(dir))
}

// tracesExt ends the name of a trace file.
const tracesExt = ".jsonl.gz"

// check finds flags that cannot work, before anything slow is done.
func (f *replayFlags) check() error {
	f.spread()
	if f.workers != "" && len(f.live) == 0 {
		return errors.New("--workers: nothing is asked without --live")
	}
	return f.benchFlags.check()
}

// everySplit is what --live stands for without a value.
const everySplit = "all"

// asks says whether the models are asked about a split.
func (f *replayFlags) asks(split string) bool {
	return slices.Contains(f.live, everySplit) || slices.Contains(f.live, split)
}

// given says whether there is something to play of a split, a file or models.
func (f *replayFlags) given(split string) bool { return *f.files[split] != "" || f.asks(split) }

// open reads the files and, if wanted, opens the system behind them, which the caller closes; ask is empty without. Splits without a
// file and without a system are missing from the result.
func (f *replayFlags) open(cmd *cobra.Command) (ask asking, replays map[string]*episodes.Replay, err error) {
	replays = map[string]*episodes.Replay{}
	var cfg run.Config
	for _, split := range f.live {
		if _, used := f.files[split]; !used && split != everySplit {
			return nil, nil, fmt.Errorf("--live=%s: there are %s, and %s for all of them", split, strings.Join(slices.Sorted(maps.Keys(f.files)), ", "), everySplit)
		}
	}
	if len(f.live) > 0 {
		asked := slices.DeleteFunc(slices.Clone(splits), func(split string) bool { return f.files[split] == nil || !f.asks(split) })
		sys, c, err := f.benchFlags.open(cmd, "", asked...)
		if err != nil {
			return nil, nil, err
		}
		cfg, f.inFlight = c, c.InFlight
		ask = asking{func() error { f.disconnect(); return nil }, sys.Close} // the system gives back what is left of a shared limit
	}
	for _, split := range splits {
		if _, used := f.files[split]; !used || !f.given(split) {
			continue
		}
		live, replay, err := f.replay(cmd, split, *f.files[split], cfg)
		if live != nil {
			ask = append(ask, live.Close)
		}
		if err != nil {
			return nil, nil, errors.Join(err, ask.Close())
		}
		replays[split] = replay
	}
	return ask, replays, nil
}

// failures returns an error if questions that were asked live failed.
func failures(replays map[string]*episodes.Replay) error {
	var failed int
	var reason error
	for _, split := range splits {
		if r := replays[split]; r != nil {
			n, first := r.Failures()
			if failed += n; reason == nil {
				reason = first
			}
		}
	}
	if failed == 0 {
		return nil
	}
	return fmt.Errorf("%d answers failed and are in no mean; the first: %w", failed, reason)
}

// replay opens one split. live, which asks it, is nil where the models are not asked; the caller closes it, also after an error.
func (f *replayFlags) replay(cmd *cobra.Command, split, path string, cfg run.Config) (live *run.Live, replay *episodes.Replay, err error) {
	file := &episodes.File{}
	if path != "" {
		if file, err = episodes.ReadSplit(path, split); err != nil {
			return nil, nil, errors.Join(err, f.notCollected(err, split))
		}
		if all := file.Splits(); len(all) > 1 {
			fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s holds questions of %s: a router or calibration that was fitted on any of them is not measured by it\n", path, strings.Join(all, " and "))
		}
		if cmd.Flags().Changed("dataset") {
			data, err := datasets.Open(f.dataset, datasets.Options{DataDir: f.dataDir})
			if err != nil {
				return nil, nil, err
			}
			if file.Dataset != data.Name() {
				return nil, nil, fmt.Errorf("%s holds traces of %s, not of --dataset %s", path, file.Dataset, f.dataset)
			}
		}
		if axis := file.System["axis"]; cmd.Flags().Changed("axis") && axis != nil && axis != f.system.spec.Tiers {
			return nil, nil, fmt.Errorf("%s holds traces of the axis %v, not of --axis %s", path, axis, f.system.spec.Tiers)
		}
	}
	if !f.asks(split) {
		replay, err = episodes.NewReplay(file, nil)
		return nil, replay, err
	}
	cfg.Split, cfg.Questions = split, 0
	if path == "" {
		cfg.Questions = *f.asked[split]
	}
	if live, err = run.NewLive(cmd.Context(), cfg); err != nil {
		return nil, nil, err
	}
	if path == "" {
		file.Header = live.Header()
	} else if diff := episodes.Difference(file.Header, live.Header()); diff != "" {
		return live, nil, fmt.Errorf("%s was collected with another system than the one that --live asks: %s", path, diff)
	}
	replay, err = episodes.NewReplay(file, live)
	return live, replay, err
}
