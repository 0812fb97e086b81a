package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem/retrieve"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/datasets/judge"
	"github.com/budgetmem/budgetmem/experiments"
	"github.com/budgetmem/budgetmem/tiers"
)

// evalFlags are the flags of `bmem eval` beside the system's.
type evalFlags struct {
	system               systemFlags
	dataset, split, name string
	runs, dataDir        string
	policies             []string
	judges               []string
	judgeModel           string
	questions            int
	seed                 int64
	inFlight             int
	asJSON               bool
}

func newEvalCmd() *cobra.Command {
	var f evalFlags
	cmd := &cobra.Command{
		Use:   "eval",
		Short: "Ask a benchmark's questions under several policies, and show what each earned and cost",
		Long: `Ask a benchmark's questions under several policies, and show what each earned and cost.

A policy is one tier for all modules (low, mid, high), one each for filter,entity,temporal,topic,summary (such as
low,high,mid,low,high), or random. Give --policy several times, or several policies in one, separated by spaces or by
"+", or by commas where that cannot be read as five tiers (low,mid,high,random).

The run is kept in a folder of its name and can be stopped at any moment: the same command goes on from there, and
asks no model twice.`,
		Example: `  bmem eval --questions 12
  bmem eval --split validation --policy low --policy low,high,mid,low,high --questions 60
  bmem eval --endpoint https://host/v1 --api-key-env KEY --model llama-3.1-8b --max-dollars 2
  bmem eval --dataset longmemeval --split test --judge longmemeval,paper --judge-model qwen2.5-coder-1.5b-instruct`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.system.bind(cmd.Flags())
	flags := cmd.Flags()
	flags.StringVar(&f.dataset, "dataset", "locomo", "data set: "+strings.Join(datasets.Names(), ", "))
	flags.StringVar(&f.split, "split", string(datasets.Validation), "train, validation or test; choose settings on the first two only")
	flags.StringArrayVar(&f.policies, "policy", []string{"low", "mid", "high", "random"}, "policies to compare; may be repeated")
	flags.StringSliceVar(&f.judges, "judge", nil, "have a model judge the answers: "+strings.Join(judge.Names(), ", ")+"; may be repeated, and added to a run that is there")
	flags.StringVar(&f.judgeModel, "judge-model", "", "the `model` that judges, named as --model is, or NAME@URL of an endpoint; its cost is kept apart")
	flags.IntVar(&f.questions, "questions", 0, "how many questions, spread over the categories; 0 asks all")
	flags.Int64Var(&f.seed, "seed", 42, "chooses the questions and drives the random policy")
	flags.StringVar(&f.name, "name", "", "the run's name (default made of the settings)")
	flags.StringVar(&f.runs, "runs", "runs", "folder that runs are kept in")
	flags.StringVar(&f.dataDir, "data", "", "folder with the larger data files (default $"+datasets.DataEnv+")")
	flags.IntVar(&f.inFlight, "in-flight", 0, "questions answered at one time (default 8 for local models, 32 for endpoints)")
	flags.BoolVar(&f.asJSON, "json", false, "write the summary as JSON instead of the table")
	return cmd
}

func (f *evalFlags) run(cmd *cobra.Command) (err error) {
	ctx, out, notes := cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	if f.questions < 0 || f.inFlight < 0 {
		return fmt.Errorf("--questions %d, --in-flight %d: must not be negative", f.questions, f.inFlight)
	}
	if err := errors.Join(f.system.check(), f.checkJudges()); err != nil {
		return err
	}
	data, err := datasets.Open(f.dataset, datasets.Options{DataDir: f.dataDir})
	if err != nil {
		return err
	}
	spec := &f.system.spec
	set, err := tiers.LoadSpec(spec.Tiers)
	if err != nil {
		return err
	}
	if f.name == "" {
		f.name = f.defaultName(data, set)
	}
	if !filepath.IsLocal(f.name) {
		return fmt.Errorf("--name %q: give a name inside the folder of runs", f.name)
	}
	dir := filepath.Join(f.runs, f.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the run's folder: %w", err)
	}
	spec.ChunkTokens, spec.LedgerFile = data.ChunkTokens(), filepath.Join(dir, "ledger.db")
	sys, err := f.system.open(ctx, notes)
	if err != nil {
		return err
	}
	defer closing(sys, &err)
	judges, err := f.openJudges(ctx, sys)
	if err != nil {
		return err
	}
	if f.inFlight == 0 {
		f.inFlight = 32
		if sys.Local {
			f.inFlight = 8
		}
	}
	show, end := newRunProgress(notes)
	summary, err := experiments.Run(ctx, experiments.Config{
		Dir: dir, Dataset: data, Split: f.split, Questions: f.questions, Seed: f.seed, Policies: splitPolicies(f.policies), Memory: sys.Memory, Judges: judges,
		TopK: f.system.topK, KeepK: f.system.keepK, Retrieval: retrieve.Mode(f.system.retrieval), InFlight: f.inFlight,
		System: experiments.Describe(sys, spec.TierOptions), Progress: show,
	})
	end()
	if err != nil && summary.Done == 0 {
		return err
	}
	// What a stopped run has so far is shown before its error.
	if f.asJSON {
		if werr := writeJSON(out, summary); werr != nil {
			return werr
		}
	} else {
		if werr := summary.WriteTable(out); werr != nil {
			return werr
		}
		fmt.Fprintf(out, "\nreport: %s\n", summary.Report)
	}
	if summary.Failed > 0 {
		fmt.Fprintf(notes, "%d answers failed and are in no mean; start the run again to retry them\n", summary.Failed)
	}
	return err
}

// checkJudges finds judges that cannot work before anything slow is done.
func (f *evalFlags) checkJudges() error {
	for _, name := range f.judges {
		if err := judge.Check(name); err != nil {
			return fmt.Errorf("--judge: %w", err)
		}
	}
	if (len(f.judges) > 0) != (f.judgeModel != "") {
		return errors.New("--judge and --judge-model go together: the one says how to judge, the other which model does")
	}
	return nil
}

// openJudges opens the judging model, if there is one, for all judges.
func (f *evalFlags) openJudges(ctx context.Context, sys *setup.System) ([]*judge.Judge, error) {
	if f.judgeModel == "" {
		return nil, nil
	}
	model, err := sys.OpenModel(ctx, f.judgeModel)
	if err != nil {
		return nil, fmt.Errorf("--judge-model: %w", err)
	}
	if model.ID() == sys.Client.ID() {
		sys.Warnings = append(sys.Warnings, "the answering model judges its own answers")
	}
	var judges []*judge.Judge
	for _, name := range f.judges {
		j, err := judge.New(name, model)
		if err != nil {
			return nil, err
		}
		judges = append(judges, j)
	}
	return judges, nil
}

// defaultName names a run by what it is of, and by a hash of the settings that it may not change, so that a changed
// setting or prompt makes a run of its own.
func (f *evalFlags) defaultName(data datasets.Dataset, set tiers.Spec) string {
	s := f.system
	h := sha256.Sum256(fmt.Appendf(nil, "%q", []any{data.Hash(), tiers.PromptHash(), set.Hash(), s.spec.Roles, s.topK, s.keepK, s.retrieval, s.spec.Model, s.spec.Endpoints}))
	model := strings.TrimSuffix(filepath.Base(cmp.Or(s.spec.Model, "default")), ".gguf")
	axis := strings.TrimSuffix(filepath.Base(set.Name), filepath.Ext(set.Name))
	return fmt.Sprintf("%s-%s-%s-%s-seed%d-%.2x", f.dataset, f.split, axis, model, f.seed, h)
}

// splitPolicies reads the values of --policy.
func splitPolicies(values []string) []string {
	var out []string
	for _, v := range values {
		for _, part := range strings.FieldsFunc(v, func(r rune) bool { return r == ' ' || r == '+' }) {
			names := strings.Split(part, ",")
			if len(names) == tiers.NumModules && !strings.Contains(part, "random") {
				names = []string{part} // one tier a module
			}
			out = append(out, names...)
		}
	}
	return out
}

// newRunProgress shows a run on w: as a bar on a terminal, else as a line every few seconds. end ends the line of the bar.
func newRunProgress(w io.Writer) (show func(experiments.Progress), end func()) {
	text := func(p experiments.Progress) string {
		s := fmt.Sprintf("$%.5f", p.Dollars)
		if p.Failed > 0 {
			s += fmt.Sprintf(", %d failed", p.Failed)
		}
		return s
	}
	if !isTerminal(w) {
		var last time.Time
		return func(p experiments.Progress) {
			if p.Done == p.Total || time.Since(last) >= 10*time.Second {
				last = time.Now()
				fmt.Fprintf(w, "%d of %d answers, %s\n", p.Done, p.Total, text(p))
			}
		}, func() {}
	}
	var bar *progressbar.ProgressBar
	show = func(p experiments.Progress) {
		if bar == nil {
			bar = progressbar.NewOptions(p.Total, progressbar.OptionSetWriter(w), progressbar.OptionShowCount(),
				progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth())
		}
		bar.Describe(text(p))
		_ = bar.Set(p.Done) // only draws
	}
	return show, func() {
		if bar != nil {
			_ = bar.Exit() // only draws
			fmt.Fprintln(w)
		}
	}
}
