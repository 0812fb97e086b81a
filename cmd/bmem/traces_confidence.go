package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/experiments/calibrate"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router/cascade"
)

// confidences is what `bmem traces confidence` measured.
type confidences struct {
	Readers []calibrate.Confidence `json:"readers"`
	// Abstention is by tier of the answer.
	Abstention map[string][]calibrate.Abstention `json:"abstention,omitempty"`

	fitted, measured string // questions and their score, for people
}

func newTracesConfidenceCmd() *cobra.Command {
	var calibration, unanswerable string
	var least abstaining
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "confidence FILE…",
		Short: "See how good the confidences of a calibration are on questions that it was not fitted to",
		Long: `See how good the confidences of a calibration are on questions that it was not fitted to.

For each way of answering: the mean score and the mean confidence, the expected calibration error (ten bins), and how well the
confidence tells answers that score at least one half from others. With --unanswerable, and --min-confidence or --min-answerable, also
what withholding answers below that does to questions that have an answer and to those that have none.`,
		Example: `  bmem traces confidence traces/locomo-readers/test.jsonl.gz --calibration traces/locomo-readers/words.json
  bmem traces confidence traces/locomo-answerable/test.jsonl.gz --calibration traces/locomo-answerable/answerable.json --unanswerable traces/locomo-answerable/unanswerable-test.jsonl.gz --min-answerable 0.6`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limits := least.limits(cmd); (unanswerable == "") == (len(limits) > 0) {
				return errors.New("--unanswerable and --min-confidence or --min-answerable: give both or none")
			}
			f, err := mergeTraces(args)
			if err != nil {
				return err
			}
			c, err := cascade.ReadFile(calibration)
			if err != nil {
				return fmt.Errorf("--calibration: %w", err)
			}
			models, samples, err := answering(f.Header)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			said := confidences{fitted: c.Dataset + ", scored by " + c.Metric, measured: f.Dataset + " " + f.Split + ", scored by " + f.Metric}
			if said.Readers, err = calibrate.Confidences(c, f, models, samples); err != nil {
				return err
			}
			if unanswerable != "" {
				others, err := episodes.ReadFile(unanswerable)
				if err != nil {
					return err
				}
				said.Abstention = map[string][]calibrate.Abstention{}
				q := calibrate.Questions{Answerable: f, Unanswerable: others}
				for _, r := range said.Readers { // others did not answer
					for _, l := range least.limits(cmd) {
						a, err := calibrate.AbstainBelow(c, c.Index(r.Tier), l.by, q, l.least)
						if err != nil {
							return fmt.Errorf("--unanswerable %s: answers %q: %w", unanswerable, r.Tier, err)
						}
						said.Abstention[r.Tier] = append(said.Abstention[r.Tier], a)
					}
				}
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), said)
			}
			return said.write(cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&calibration, "calibration", "", "calibration `file` of 'bmem calibrate'")
	flags.StringVar(&unanswerable, "unanswerable", "", "trace `file` of questions without an answer (--dataset locomo-unanswerable)")
	least.bind(flags, "withhold answers below this %s, which 'bmem calibrate --unanswerable' chooses")
	flags.BoolVar(&asJSON, "json", false, "write JSON instead of the table")
	if err := cmd.MarkFlagRequired("calibration"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

func (c confidences) write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "fitted to %s; measured on %s\n", c.fitted, c.measured)
	fmt.Fprintln(w, "answer\tmodel\tquestions\tscore\tmean confidence\tcalibration error\tAUROC\trisk–coverage area")
	for _, r := range c.Readers {
		fmt.Fprintf(w, "%s\t%s\t%d\t%.4f\t%.4f\t%.3f\t%s\t%.3f\n", r.Tier, r.Model, r.Questions, r.Score, r.Mean, r.Error, orDash(r.AUROC), r.Area)
	}
	for _, r := range c.Readers {
		for _, a := range c.Abstention[r.Tier] {
			writeAbstention(w, r.Tier, a)
		}
	}
	return w.Flush()
}

// abstaining are the flags of what an answer needs to be given.
type abstaining struct{ confidence, answerable float64 }

func (a *abstaining) bind(flags *pflag.FlagSet, usage string) {
	flags.Float64Var(&a.confidence, "min-confidence", 0, fmt.Sprintf(usage, "`confidence`"))
	flags.Float64Var(&a.answerable, "min-answerable", 0, fmt.Sprintf(usage, "`probability` that the memory answers the question"))
}

// limit is a flag that was given.
type limit struct {
	by     calibrate.Measure
	least  float64
	option func(float64) bmem.Option
}

func (a *abstaining) limits(cmd *cobra.Command) []limit {
	var out []limit
	for _, l := range []limit{{calibrate.ByConfidence, a.confidence, bmem.WithMinConfidence}, {calibrate.ByAnswerable, a.answerable, bmem.WithMinAnswerable}} {
		if cmd.Flags().Changed("min-" + string(l.by)) {
			out = append(out, l)
		}
	}
	return out
}

// writeAbstention writes what a least value does to the answers of a tier.
func writeAbstention(w io.Writer, tier string, a calibrate.Abstention) {
	by := "a confidence"
	if a.By == calibrate.ByAnswerable {
		by = "a probability of being answerable"
	}
	fmt.Fprintf(w, "abstain %s\tbelow %s of %.3f: %.3f [%.3f, %.3f] of the mean score is lost on %d questions (%.0f %% withheld), and %.0f %% [%.0f, %.0f] of %d unanswerable ones are withheld (AUROC %.3f)\n",
		tier, by, a.Least, a.Lost.Mean, a.Lost.Low, a.Lost.High, a.Lost.N, 100*a.Withheld, 100*a.Abstained.Mean, 100*a.Abstained.Low, 100*a.Abstained.High, a.Abstained.N, a.AUROC)
}

// orDash writes a measure with three digits, or a dash where there is none.
func orDash(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.3f", *v)
}
