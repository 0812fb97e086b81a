package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/experiments/train"
	"github.com/budgetmem/budgetmem/internal/backend"
)

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
