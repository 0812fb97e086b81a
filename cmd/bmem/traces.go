package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/report"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/internal/private"
)

func newTracesCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "traces",
		Short: "Collect the outcomes of combinations of tiers on questions, to train and compare routers from a file",
	}
	cmd.AddCommand(newTracesCollectCmd(), newTracesInfoCmd(), newTracesMergeCmd(), newTracesSelectCmd(), newTracesFrontierCmd(), newTracesLearnableCmd(), newTracesConfidenceCmd())
	return cmd
}

func newTracesCollectCmd() *cobra.Command {
	f := collectFlags{benchFlags: benchFlags{split: string(datasets.Train)}}
	cmd := &cobra.Command{
		Use:   "collect",
		Short: "Ask a benchmark's questions with several combinations of tiers each, and write what came of it to a file",
		Long: `Ask a benchmark's questions with several combinations of tiers each, and write what came of it to a file.

The design says which combinations: "uniform" (low, mid, high), "random:K" (K different ones for each question, drawn
evenly), "full" (all), policies as 'bmem eval' takes them, or several of these joined by "+" (uniform+random:3).

Where the tier set routes the answer too, each notes are made once and answered by every tier of the answer, and the design
is one of the modules before it: random:3 asks three different notes, each with all answers. mid/high asks Mid's notes with
the answer High alone.

The run is kept in a folder and can be stopped at any moment: the same command goes on from there and asks no model
twice. More questions, or a larger K, extend it. What is done when it stops is in the file. A file that --out names and that
is there is extended: what it holds is not asked again, on whatever machine it was collected.`,
		Example: `  bmem traces collect --dataset locomo --split train --questions 120 --design random:6
  bmem traces collect --dataset ./mine --split all --out traces/mine
  bmem traces collect --axis readers --role large=qwen2.5-coder-1.5b-instruct --split validation --questions 80 --design full
  bmem traces collect --split test --questions 60 --design uniform+random:3 --out test.traces.gz`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.bind(cmd.Flags())
	f.bindWorkers(cmd.Flags())
	flags := cmd.Flags()
	flags.Lookup("split").Usage = "train, validation or test, or all for the three, each in a file of its own"
	flags.StringVar(&f.design, "design", "random:6", "which combinations of tiers are asked: uniform, random:`K`, full, policies, or several joined by + (with --split all uniform+random:4)")
	flags.StringVar(&f.out, "out", "", "the trace `file`, extended if it is there; with --split all the folder of the three files (default in the run's folder)")
	return cmd
}

// collectFlags are the flags of `bmem traces collect`.
type collectFlags struct {
	benchFlags
	design, out string
}

// allDesign is what is asked of each split where all are collected: the uniform tiers, which comparisons need for every
// question, and some others to learn from.
const allDesign = "uniform+random:4"

func (f *collectFlags) run(cmd *cobra.Command) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	of := []string{f.split}
	if f.split == everySplit {
		of = splits
		if !cmd.Flags().Changed("design") {
			f.design = allDesign
		}
	}
	space, err := f.system.space()
	if err != nil {
		return err
	}
	policies, err := run.Design(f.design, space)
	if err != nil {
		return fmt.Errorf("--design: %w", err)
	}
	sys, cfg, err := f.open(cmd, "traces-", of...)
	if err != nil {
		return err
	}
	defer f.disconnect() // after the system, which gives back what is left of a shared limit
	defer closing(sys, &err)
	cfg.Policies = policies
	if err := f.announce(cmd, cfg, of); err != nil {
		return err
	}
	if f.split != everySplit {
		return f.collect(cmd, cfg, cmp.Or(f.out, filepath.Join(cfg.Dir, "traces"+tracesExt)))
	}
	dir, out := cfg.Dir, cmp.Or(f.out, cfg.Dir)
	for i, split := range of {
		cfg.Split, cfg.Dir = split, filepath.Join(dir, split)
		if err := errors.Join(private.Dir(cfg.Dir), os.MkdirAll(out, 0o755)); err != nil {
			return fmt.Errorf("make the folder of the traces: %w", err)
		}
		if err := f.collect(cmd, cfg, filepath.Join(out, split+tracesExt)); err != nil {
			if rest := of[i+1:]; len(rest) > 0 {
				err = fmt.Errorf("%w; not begun: %s; the same command goes on", err, strings.Join(rest, ", "))
			}
			return err
		}
	}
	return nil
}

// announce says how many answers the collection needs, those included that are there already.
func (f *collectFlags) announce(cmd *cobra.Command, cfg run.Config, of []string) error {
	all, parts := 0, make([]string, len(of))
	for i, split := range of {
		questions, err := splitQuestions(cmd, cfg.Dataset, split)
		if err != nil {
			return err
		}
		n := len(questions)
		if cfg.Questions > 0 {
			n = min(n, cfg.Questions)
		}
		all, parts[i] = all+n*len(cfg.Policies), fmt.Sprintf("%d %s", n, split)
	}
	_, err := fmt.Fprintf(cmd.ErrOrStderr(), "%d answers: %s questions with %d combinations of tiers each\n", all, strings.Join(parts, ", "), len(cfg.Policies))
	return err
}

// collect collects the traces of one split and writes them to a file.
func (f *collectFlags) collect(cmd *cobra.Command, cfg run.Config, out string) error {
	var err error
	if f.out != "" {
		if cfg.Traced, err = episodes.ReadFile(out); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("--out: %w", err)
		}
	}
	show, end := newRunProgress(cmd.ErrOrStderr())
	cfg.Progress = show
	outcome, file, err := run.Collect(cmd.Context(), cfg)
	end()
	if outcome != nil {
		_, werr := report.Write(outcome)
		err = errors.Join(err, werr)
	}
	if file == nil || len(file.Episodes) == 0 {
		if err == nil && outcome.Failed > 0 {
			err = fmt.Errorf("%d answers failed, there is no trace to write; the first: %s", outcome.Failed, firstFailure(outcome))
		}
		return err
	}
	for _, w := range outcome.System.Warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
	}
	if few := stats.TooFew(file.Stats().Questions); few != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s split: %s\n", cfg.Split, few)
	}
	file, werr := keepTraces(cmd.Context(), file, out, cfg.Dir)
	if werr != nil {
		return errors.Join(err, werr)
	}
	if outcome.Failed > 0 {
		err = errors.Join(err, fmt.Errorf("%d answers failed and left no trace; the same command asks them again; the first: %s", outcome.Failed, firstFailure(outcome)))
	}
	return errors.Join(err, writeTracesInfo(cmd.OutOrStdout(), out, file))
}

// keepTraces writes what a run collected into its folder, or adds it to a file elsewhere, and returns what that then holds.
func keepTraces(ctx context.Context, file *episodes.File, out, dir string) (*episodes.File, error) {
	if filepath.Dir(out) == dir {
		return file, file.WriteFile(out) // no other process has this folder
	}
	// Another collection may have written to the file since it was read. This one's is kept also if it was stopped.
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	all, err := file.Extend(waiting, out)
	if err != nil {
		return nil, fmt.Errorf("--out: %w; what was collected is kept in %s: give the same command another file", err, dir)
	}
	return all, nil
}

func newTracesInfoCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "info FILE",
		Short: "Show what a trace file holds, and check it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := episodes.ReadFile(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), struct {
					episodes.Header
					episodes.Stats
				}{f.Header, f.Stats()})
			}
			return writeTracesInfo(cmd.OutOrStdout(), args[0], f)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON instead of the table")
	return cmd
}

func writeTracesInfo(out io.Writer, path string, f *episodes.File) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	s := f.Stats()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "file\t%s, %.2f MB\n", path, float64(info.Size())/1e6)
	fmt.Fprintf(w, "questions\t%d of %s %s, scored by %s\n", s.Questions, f.Dataset, f.Split, f.Metric)
	fmt.Fprintf(w, "traces\t%d, %d to %d a question; %d different combinations, %d of them for every question\n", s.Episodes, s.Fewest, s.Most, s.Combinations, s.Everywhere)
	fmt.Fprintf(w, "mean score\t%.4f\nmean cost\t$%.6f, of it answers $%.6f\n", s.Score, s.Dollars, s.AnswerDollars)
	fmt.Fprintf(w, "embedder\t%s, %d numbers\n", f.Embedder, f.Dim)
	for i, module := range f.Space {
		fmt.Fprintf(w, "%s\t%s\n", module.Name, strings.Join(s.Asked[i], ", "))
	}
	if len(s.Signals) > 0 {
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(s.Signals)) {
			parts = append(parts, fmt.Sprintf("%s %d", name, s.Signals[name]))
		}
		fmt.Fprintf(w, "signals\t%s\n", strings.Join(parts, ", "))
	}
	if s.Draws > 0 {
		fmt.Fprintf(w, "sampled answers\t%d\n", s.Draws)
	}
	for _, name := range slices.Sorted(maps.Keys(f.System)) {
		fmt.Fprintf(w, "%s\t%v\n", name, f.System[name])
	}
	fmt.Fprintf(w, "commit\t%s\n", f.Commit)
	return w.Flush()
}

func newTracesMergeCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "merge OUT IN…",
		Short: "Put trace files of one system together",
		Long: `Put trace files of one system together. Files of several splits make one whose split has all their names, to report on
questions of both; no training takes it for its own.`,
		Example: `  bmem traces merge all.jsonl.gz test60.jsonl.gz test.jsonl.gz
  bmem traces merge fresh.jsonl.gz validation.jsonl.gz test.jsonl.gz`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := readTraces(args[1:])
			if err != nil {
				return err
			}
			for i, f := range files {
				of := f.Header
				of.Split = files[0].Split
				if diff := episodes.Difference(files[0].Header, of); diff != "" {
					return fmt.Errorf("%s and %s cannot be merged: %s", args[1], args[1+i], diff)
				}
			}
			merged, err := episodes.Join(files...)
			if err != nil {
				return err
			}
			if err := merged.WriteFile(args[0]); err != nil {
				return err
			}
			return writeTracesInfo(cmd.OutOrStdout(), args[0], merged)
		},
	}
}

func readTraces(paths []string) ([]*episodes.File, error) {
	var files []*episodes.File
	for _, path := range paths {
		f, err := episodes.ReadFile(path)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// mergeTraces reads files of one system as one.
func mergeTraces(paths []string) (*episodes.File, error) {
	files, err := readTraces(paths)
	if err != nil {
		return nil, err
	}
	return episodes.Merge(files...)
}
