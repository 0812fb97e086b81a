package main

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/datasets/score"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/kernel/display"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tune"
)

// tuneEvalFlags are the flags of `bmem tune eval`.
type tuneEvalFlags struct {
	system           systemFlags
	dataset, against string
	predictions      string
	variant          string
	questions        int
	inFlight         int
	seed             int64
	asJSON           bool
}

func newTuneEvalCmd() *cobra.Command {
	var f tuneEvalFlags
	cmd := &cobra.Command{
		Use:   "eval FILE.jsonl",
		Short: "Compare a tuned model with the base model on a file of examples",
		Long: `Compare a tuned model with the base model on a file of examples.

Both answer the questions from the examples' notes by the product's answer step: the base model after its worked examples,
the tuned one by the prompt of its training. Differences are taken question by question, with 95 % bootstrap intervals.`,
		Example: `  bmem tune data --split validation --unseen --variants retrieved --out validation.jsonl
  bmem tune eval validation.jsonl --model qwen2.5-coder-0.5b-instruct+runs/tune/last --predictions out/`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	f.system.bind(flags)
	flags.StringVar(&f.dataset, "dataset", "locomo", "data set that metric and prompt are taken from: "+strings.Join(datasets.Names(), ", ")+", or the `folder` of one of your own")
	flags.StringVar(&f.against, "against", "", "`model` to compare with (default the base of --model; none compares with nothing)")
	flags.StringVar(&f.variant, "variant", tune.Retrieved, "notes to answer from, in files that have several; \"\" takes all")
	flags.IntVar(&f.questions, "questions", 0, "how many examples, the first of the file; 0 takes all")
	flags.StringVar(&f.predictions, "predictions", "", "`folder` to write each model's answers to")
	flags.IntVar(&f.inFlight, "in-flight", 8, "questions answered at one time")
	flags.Int64Var(&f.seed, "seed", 42, "drives the bootstrap")
	flags.BoolVar(&f.asJSON, "json", false, "write the comparison as JSON")
	return cmd
}

// comparison is what `bmem tune eval` found.
type comparison struct {
	Metric     string                    `json:"metric"`
	Readers    []readerResult            `json:"readers"`
	Difference *stats.Interval           `json:"difference,omitempty"` // the first reader's score less the second's
	ByCategory map[string]stats.Interval `json:"difference_by_category,omitempty"`
}

type readerResult struct {
	Model      string                    `json:"model"`
	Score      stats.Interval            `json:"score"`
	ByCategory map[string]stats.Interval `json:"by_category"`
	TokensIn   float64                   `json:"tokens_in"`  // a question
	TokensOut  float64                   `json:"tokens_out"` // a question
	Dollars    float64                   `json:"dollars"`    // a question

	predictions []tune.Prediction
}

func (f *tuneEvalFlags) run(cmd *cobra.Command, file string) (err error) {
	if err := f.system.check(); err != nil {
		return err
	}
	data, err := datasets.Open(f.dataset, datasets.Options{})
	if err != nil {
		return err
	}
	metric, err := score.Lookup(data.Metric())
	if err != nil {
		return err
	}
	examples, err := tune.ReadExamples(file)
	if err != nil {
		return err
	}
	if f.variant != "" {
		examples = slices.DeleteFunc(examples, func(e tune.Example) bool { return e.Variant != "" && e.Variant != f.variant })
	}
	if f.questions > 0 {
		examples = examples[:min(f.questions, len(examples))]
	}
	if len(examples) == 0 {
		return fmt.Errorf("%s has no examples of variant %q", file, f.variant)
	}
	if f.predictions != "" {
		if err := os.MkdirAll(f.predictions, 0o755); err != nil {
			return err // before answers are paid for
		}
	}
	sys, err := f.system.open(cmd.Context(), cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer closing(sys, &err)
	result := comparison{Metric: metric.Name}
	readers := []string{f.system.spec.Model}
	if other := f.other(); other != "" {
		readers = append(readers, other)
	}
	for _, name := range readers {
		r, err := f.read(cmd, sys, name, tiers.StyleFor(data.Name()), metric, examples)
		if err != nil {
			return err
		}
		result.Readers = append(result.Readers, r)
	}
	result.compare(f.seed)
	if f.asJSON {
		return writeJSON(cmd.OutOrStdout(), result)
	}
	return result.print(cmd.OutOrStdout())
}

// other is the model to compare with; "" for none.
func (f *tuneEvalFlags) other() string {
	switch f.against {
	case "":
	case "none":
		return ""
	default:
		return f.against
	}
	base, _, tuned := strings.Cut(f.system.spec.Model, "+")
	if !tuned {
		return ""
	}
	return base
}

// read has one model answer.
func (f *tuneEvalFlags) read(cmd *cobra.Command, sys *setup.System, name string, style tiers.AnswerStyle, metric score.Metric, examples []tune.Example) (readerResult, error) {
	m, err := sys.OpenModel(cmd.Context(), name)
	if err != nil {
		return readerResult{}, err
	}
	bar := display.ProgressTo(cmd.ErrOrStderr(), "answers of "+m.Model())
	got, err := tune.Answers(cmd.Context(), tune.AnswerConfig{Client: m.Client, Samples: f.system.spec.AnswerSamples, Style: style, Metric: metric,
		InFlight: f.inFlight, Progress: func(done, total int) { bar.Set(done, total, "") }}, examples)
	bar.End(err)
	if err != nil {
		return readerResult{}, err
	}
	if f.predictions != "" {
		name := strings.NewReplacer("/", "-", "+", "-").Replace(m.Model()) + ".jsonl.gz"
		if err := writePredictions(filepath.Join(f.predictions, name), got); err != nil {
			return readerResult{}, err
		}
	}
	r := readerResult{Model: m.Model(), predictions: got, ByCategory: map[string]stats.Interval{}}
	var scores []float64
	byCategory := map[string][]float64{}
	for _, p := range got {
		scores = append(scores, p.Score)
		byCategory[p.Category] = append(byCategory[p.Category], p.Score)
		r.TokensIn += float64(p.TokensIn) / float64(len(got))
		r.TokensOut += float64(p.TokensOut) / float64(len(got))
		r.Dollars += p.Dollars / float64(len(got))
	}
	r.Score = stats.Bootstrap(scores, f.seed)
	for c, values := range byCategory {
		r.ByCategory[c] = stats.Bootstrap(values, f.seed)
	}
	return r, nil
}

func (c *comparison) compare(seed int64) {
	if len(c.Readers) < 2 {
		return
	}
	var all []float64
	byCategory := map[string][]float64{}
	for i, p := range c.Readers[0].predictions {
		d := p.Score - c.Readers[1].predictions[i].Score
		all = append(all, d)
		byCategory[p.Category] = append(byCategory[p.Category], d)
	}
	difference := stats.Bootstrap(all, seed)
	c.Difference, c.ByCategory = &difference, map[string]stats.Interval{}
	for name, values := range byCategory {
		c.ByCategory[name] = stats.Bootstrap(values, seed)
	}
}

func (c *comparison) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "READER\tN\t%s\t95 %%\tTOKENS IN\tOUT\tµ$ A QUESTION\n", strings.ToUpper(c.Metric))
	for _, r := range c.Readers {
		fmt.Fprintf(w, "%s\t%d\t%.3f\t[%.3f, %.3f]\t%.0f\t%.1f\t%.2f\n", r.Model, r.Score.N, r.Score.Mean, r.Score.Low, r.Score.High, r.TokensIn, r.TokensOut, 1e6*r.Dollars)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if c.Difference == nil {
		return nil
	}
	fmt.Fprintf(out, "\ndifference, question by question\n")
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name string, d stats.Interval) {
		fmt.Fprintf(w, "%s\t%d\t%+.3f\t[%+.3f, %+.3f]\n", name, d.N, d.Mean, d.Low, d.High)
	}
	row("all", *c.Difference)
	for _, name := range slices.Sorted(maps.Keys(c.ByCategory)) {
		row(name, c.ByCategory[name])
	}
	return w.Flush()
}

// writePredictions writes a gzipped JSON Lines file; equal predictions give equal bytes.
func writePredictions(path string, predictions []tune.Prediction) error {
	return atomicfile.Write(path, 0o644, func(w io.Writer) error {
		z := gzip.NewWriter(w)
		enc := json.NewEncoder(z)
		enc.SetEscapeHTML(false)
		for _, p := range predictions {
			if err := enc.Encode(p); err != nil {
				return errors.Join(err, z.Close())
			}
		}
		return z.Close()
	})
}
