package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/datasets/judge"
	"github.com/budgetmem/budgetmem/experiments/report"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/kernel/display"
)

// evalFlags are the flags of `bmem eval`.
type evalFlags struct {
	benchFlags
	policies   []string
	judges     []string
	judgeModel string
	asJSON     bool
}

func newEvalCmd() *cobra.Command {
	var f evalFlags
	cmd := &cobra.Command{
		Use:   "eval",
		Short: "Ask a benchmark's questions under several policies, and show what each earned and cost",
		Long: `Ask a benchmark's questions under several policies, and show what each earned and cost.

A policy is one tier for all modules (low, mid, high), one each for filter,entity,temporal,topic,summary (such as
low,high,mid,low,high), or random. Where the tier set routes the answer too, it is the last of these; mid/high is Mid for all
modules before it and High for the answer, and policies that differ in that alone share their notes. Give --policy several times, or several policies in one, separated by spaces or by
"+", or by commas where that cannot be read as one tier for each module (low,mid,high,random).

The run is kept in a folder of its name and can be stopped at any moment: the same command goes on from there, and
asks no model twice.

With --workers other machines answer the questions: start 'bmem nats' on one that all reach, and 'bmem worker' on each.`,
		Example: `  bmem eval --questions 12
  bmem eval --split validation --policy low --policy low,high,mid,low,high --questions 60
  bmem eval --endpoint https://host/v1 --api-key-env KEY --model llama-3.1-8b --max-dollars 2
  bmem eval --endpoint http://gpu1:8000/v1 --endpoint http://gpu2:8000/v1 --model llama-3.3-70b --hedge --fallback llama-3.1-8b@https://host/v1
  bmem eval --questions 60 --metrics-addr 127.0.0.1:9090
  bmem eval --workers nats://host:4222 --split validation --endpoint https://host/v1 --model llama-3.1-8b --max-dollars 20
  bmem eval --dataset longmemeval --split test --judge longmemeval,paper --judge-model qwen2.5-coder-1.5b-instruct`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	f.split = string(datasets.Validation)
	f.bind(flags)
	f.bindWorkers(flags)
	flags.StringArrayVar(&f.policies, "policy", []string{"low", "mid", "high", "random"}, "policies to compare; may be repeated")
	flags.StringSliceVar(&f.judges, "judge", nil, "have a model judge the answers: "+strings.Join(judge.Names(), ", ")+"; may be repeated, and added to a run that is there")
	flags.StringVar(&f.judgeModel, "judge-model", "", "the `model` that judges, named as --model is, or NAME@URL of an endpoint; its cost is kept apart")
	flags.BoolVar(&f.asJSON, "json", false, "write the summary as JSON instead of the table")
	return cmd
}

func (f *evalFlags) run(cmd *cobra.Command) (err error) {
	ctx, out, notes := cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	policies, _, err := f.system.policies(func(modules int) []string { return splitPolicies(f.policies, modules) })
	if err := errors.Join(f.check(), f.checkJudges(), err); err != nil {
		return err
	}
	if f.judgeModel != "" {
		f.system.spec.Later = []string{f.judgeModel}
	}
	sys, cfg, err := f.open(cmd, "", f.split)
	if err != nil {
		return err
	}
	defer f.disconnect() // after the system, which gives back what is left of a shared limit
	defer closing(sys, &err)
	if cfg.Judges, err = f.openJudges(ctx, sys); err != nil {
		return err
	}
	cfg.Policies = policies
	cfg.System.Warnings = sys.Warnings // a judge may have added one
	show, end := newRunProgress(notes)
	cfg.Progress = show
	outcome, err := run.Run(ctx, cfg)
	end()
	if outcome == nil {
		return err
	}
	summary, werr := report.Write(outcome)
	if werr != nil || err != nil && summary.Done == 0 {
		return errors.Join(err, werr)
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
	if u := sys.Embedded(); u.Calls > 0 {
		fmt.Fprintf(notes, "embedding at the endpoint: %d calls, %d tokens, $%.6f\n", u.Calls, u.In, u.Dollars)
	}
	if summary.Failed > 0 {
		err = errors.Join(err, fmt.Errorf("%d answers failed and are in no mean; start the run again to retry them; the first: %s", summary.Failed, firstFailure(outcome)))
	}
	return err
}

// firstFailure is why the first answer of a run failed.
func firstFailure(o *run.Outcome) string {
	for _, c := range o.Columns {
		for _, r := range c.Records {
			if r.Failed() {
				return r.Error
			}
		}
	}
	return ""
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

// splitPolicies reads the values of --policy, where a policy may name one tier for each of so many modules.
func splitPolicies(values []string, modules int) []string {
	var out []string
	for _, v := range values {
		for _, part := range strings.FieldsFunc(v, func(r rune) bool { return r == ' ' || r == '+' }) {
			names := strings.Split(part, ",")
			if len(names) == modules && !strings.Contains(part, "random") {
				names = []string{part} // one tier a module
			}
			out = append(out, names...)
		}
	}
	return out
}

// newRunProgress shows a run on w: as a bar on a terminal, else as a line every few seconds. end ends the line of the bar.
func newRunProgress(w io.Writer) (show func(run.Progress), end func()) {
	started, before := time.Now(), -1 // answers of earlier starts
	text := func(p run.Progress) string {
		if before < 0 {
			before = p.Done
		}
		s := fmt.Sprintf("$%.5f", p.Dollars)
		if now := p.Done - before; now > 0 && p.Done < p.Total {
			if p.Dollars > 0 {
				s += fmt.Sprintf(", about $%.5f in all", p.Dollars*float64(p.Total)/float64(p.Done))
			}
			if 50*now >= p.Total-before { // the first answers wait for memories and models
				left := time.Since(started) * time.Duration(p.Total-p.Done) / time.Duration(now)
				s += fmt.Sprintf(", about %s left", left.Round(time.Second))
			}
		}
		if p.Failed > 0 {
			s += fmt.Sprintf(", %d failed", p.Failed)
		}
		return s
	}
	bar := display.ProgressTo(w, "answers")
	return func(p run.Progress) { bar.Set(p.Done, p.Total, text(p)) }, func() { bar.End(nil) }
}
