package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/train"
	"github.com/budgetmem/budgetmem/internal/backend"
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

// trainFlags are the flags of `bmem train`.
type trainFlags struct {
	replayFlags
	track          trackFlags
	method, config string
	set            []string
	seeds          int
	progress       string
	asJSON         bool
}

func newTrainCmd() *cobra.Command {
	var f trainFlags
	cmd := &cobra.Command{
		Use:   "train",
		Short: "Train a router, from traces or live, and evaluate it",
		Long: `Train a router, from traces or live, and evaluate it.

Methods: offline learns from the logged traces alone, ppo plays the questions, for 120 updates unless epochs are set, and
serves every λ with one router, paper plays them as BudgetMem's published code, for the one λ of --set lambda_min=… and
lambda_max=….

Trace files come from 'bmem traces collect'. What PPO wants to know and a file does not hold is asked of the models with
--live; without it an outcome model of the traces predicts it, and the report says how often. After training,
the best router on validation and the last one are evaluated on the test traces, or on the test split with --live.
With --workers other machines answer what is asked live; the policy that is trained decides here.

Everything is kept in the folder of the run, and a training that was stopped, by whatever, goes on when the same command
is given again, and ends as if it had not been stopped.

Experiment trackers: --wandb offline writes W&B runs into the folders of the seeds, for 'wandb sync' later, and needs no
account; --wandb online takes its key from WANDB_API_KEY. --mlflow sends to a server, with MLFLOW_TRACKING_TOKEN, or
MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, where these are set. Each seed is a run, grouped by the training. A
tracker that fails neither stops nor changes the training; what it lacks is delivered by the next start of the same command.`,
		Example: `  bmem train --traces traces/mine --name mine
  bmem train --traces train.jsonl.gz --validation-traces validation.jsonl.gz --test-traces test.jsonl.gz --seeds 5
  bmem train --traces train.jsonl.gz --validation-traces validation.jsonl.gz --method ppo --set epochs=14 --name try
  bmem train --live --dataset locomo --questions 120 --validation-questions 60 --test-questions 60 --method ppo --seeds 1
  bmem train --traces train.jsonl.gz --validation-traces validation.jsonl.gz --wandb offline --mlflow http://127.0.0.1:5000`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.bindReplay(cmd, splits...)
	f.bindWorkers(cmd.Flags())
	flags := cmd.Flags()
	f.track.bind(flags)
	flags.StringVar(&f.method, "method", train.Offline, "how to train: "+strings.Join(train.Methods(), ", "))
	flags.StringVar(&f.config, "config", "", "JSON `file` with settings over the method's own")
	flags.StringArrayVar(&f.set, "set", nil, "a setting, as `key=value`, over the file's; may be repeated")
	flags.IntVar(&f.seeds, "seeds", 5, "how many trainings, with seeds that count up from --seed")
	flags.StringVar(&f.progress, "progress", "text", "how progress is written to stderr: text, or jsonl, a JSON value per step and epoch")
	flags.BoolVar(&f.asJSON, "json", false, "write the summary as JSON instead of the table")
	return cmd
}

func (f *trainFlags) run(cmd *cobra.Command) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	o := train.Options{Seeds: f.seeds, NoTest: "give --test-traces FILE, or --live to ask the models"}
	if o.Progress, err = newTrainProgress(cmd.ErrOrStderr(), f.progress); err != nil {
		return err
	}
	if o.Settings, err = train.NewSettings(f.method); err != nil {
		return fmt.Errorf("--method: %w", err)
	}
	o.Settings.Config().Seed = f.seed
	if f.config != "" {
		data, err := os.ReadFile(f.config)
		if err != nil {
			return fmt.Errorf("--config: %w", err)
		}
		if err := o.Settings.Merge(data); err != nil {
			return fmt.Errorf("--config %s: %w", f.config, err)
		}
	}
	for _, s := range f.set {
		if err := o.Settings.Set(s); err != nil {
			return fmt.Errorf("--set: %w", err)
		}
	}
	if f.seeds < 1 {
		return fmt.Errorf("--seeds %d: must be at least 1", f.seeds)
	}
	if !f.given(splits[0]) || !f.given(splits[1]) {
		if dir := *f.files[splits[0]]; dir != "" {
			if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("--traces: there is no folder %s: 'bmem traces collect --split all --out %s' makes one", dir, dir)
			}
		}
		return errors.New("give --traces and --validation-traces, or --live to ask the models")
	}
	if f.name == "" {
		f.name = f.trainName(o)
	}
	if !filepath.IsLocal(f.name) {
		return fmt.Errorf("--name %q: give a name inside the folder of runs", f.name)
	}
	o.Dir = filepath.Join(f.runs, f.name)
	if o.Trackers, err = f.track.sinks(cmd.Context()); err != nil {
		return err
	}
	o.Warn = func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }
	ask, replays, err := f.open(cmd)
	if err != nil {
		return err
	}
	defer closing(ask, &err)
	o.Train, o.Validation, o.Test = replays[splits[0]], replays[splits[1]], replays[splits[2]]
	if o.Test != nil {
		o.NoTest = ""
	}
	o.InFlight = cmp.Or(f.inFlight, 8)
	be, err := backend.Open(f.system.backend, nil)
	if err != nil {
		return err
	}
	defer be.Finalize()
	o.Backend = be
	s, err := train.Run(cmd.Context(), o)
	if err != nil {
		return err
	}
	if f.asJSON {
		return errors.Join(writeJSON(cmd.OutOrStdout(), s), failures(replays))
	}
	if err := s.WriteTable(cmd.OutOrStdout()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "\nrouters: %s\nreport: %s\n", filepath.Join(o.Dir, "seed-*", "checkpoints", "best.safetensors"), s.Report())
	return errors.Join(err, failures(replays))
}

// trainName names a training by a hash of its settings and data, so that the same command resumes it.
func (f *trainFlags) trainName(o train.Options) string {
	var files []string
	for _, split := range splits {
		files = append(files, *f.files[split])
	}
	h := sha256.Sum256(fmt.Appendf(nil, "%q %+v %v %v %s %v", files, o.Settings, f.live, f.questions, f.system.spec.Model, f.system.spec.Roles))
	return fmt.Sprintf("train-%s-%s-%.4x", filepath.Base(f.dataset), f.method, h)
}

// newTrainProgress writes progress to w: as text each epoch that differs from the one before, the last one and, every few seconds, a step
// or an epoch; as JSON lines everything.
func newTrainProgress(w io.Writer, format string) (func(train.Progress), error) {
	switch format {
	case "text":
	case "jsonl":
		enc := json.NewEncoder(w)
		return func(p train.Progress) { _ = enc.Encode(p) }, nil // a reader that is gone does not stop the training
	default:
		return nil, fmt.Errorf("--progress %q: want text or jsonl", format)
	}
	last, before := time.Now(), ""
	return func(p train.Progress) {
		switch {
		case p.Validation != nil:
			v := p.Validation
			line := fmt.Sprintf("value %.4f", v.Value)
			for _, i := range []int{0, len(v.Points) / 2, len(v.Points) - 1} {
				pt := v.Points[i]
				line += fmt.Sprintf("; λ %.2g: score %.3f, $%.6f, tiers %s", pt.Lambda, pt.Score, pt.Dollars, tierMix(pt.Shares))
				if len(v.Points) == 1 {
					break
				}
			}
			if line == before && v.Epoch > 1 && v.Epoch < p.Epochs && time.Since(last) < 5*time.Second {
				return
			}
			fmt.Fprintf(w, "seed %d, epoch %d of %d: %s\n", p.Seed, v.Epoch, p.Epochs, line)
			last, before = time.Now(), line
		case p.Metrics != nil && time.Since(last) >= 5*time.Second:
			m := p.Metrics
			fmt.Fprintf(w, "seed %d, epoch %d, batch %d: score %.3f, $%.6f a question, return %.4f, entropy %.2f, tiers %s\n",
				p.Seed, m.Epoch+1, m.Batch+1, m.Score, m.Dollars, m.Return, m.Entropy, tierMix(m.Shares))
			last = time.Now()
		}
	}, nil
}

// tierMix is the share of decisions for each tier over all modules, cheapest first.
func tierMix(shares [][]float64) string {
	var sum []float64
	for _, module := range shares {
		for t, s := range module {
			if t == len(sum) {
				sum = append(sum, 0)
			}
			sum[t] += s / float64(len(shares))
		}
	}
	var parts []string
	for _, s := range sum {
		parts = append(parts, fmt.Sprintf("%.0f%%", 100*s))
	}
	return strings.Join(parts, "/")
}
