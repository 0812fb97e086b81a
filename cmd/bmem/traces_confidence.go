package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/experiments/calibrate"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router/cascade"
)

// confidences is what `bmem traces confidence` measured.
type confidences struct {
	Readers []calibrate.Confidence `json:"readers"`
	// Abstention is by tier of the answer.
	Abstention map[string]calibrate.Abstention `json:"abstention,omitempty"`

	fitted, measured string // questions and their score, for people
}

func newTracesConfidenceCmd() *cobra.Command {
	var calibration, unanswerable string
	var least float64
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "confidence FILE…",
		Short: "See how good the confidences of a calibration are on questions that it was not fitted to",
		Long: `See how good the confidences of a calibration are on questions that it was not fitted to.

For each way of answering: the mean score and the mean confidence, the expected calibration error (ten bins), and how well the
confidence tells answers that score at least one half from others. With --unanswerable and --min-confidence also what withholding
answers below that confidence does to questions that have an answer and to those that have none.`,
		Example: `  bmem traces confidence traces/locomo-readers/test.jsonl.gz --calibration traces/locomo-readers/words.json`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (unanswerable == "") == cmd.Flags().Changed("min-confidence") {
				return errors.New("--unanswerable and --min-confidence: give both or none")
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
				said.Abstention = map[string]calibrate.Abstention{}
				for _, r := range said.Readers { // others did not answer
					if said.Abstention[r.Tier], err = calibrate.AbstainBelow(c, c.Index(r.Tier), f, others, least); err != nil {
						return fmt.Errorf("--unanswerable %s: answers %q: %w", unanswerable, r.Tier, err)
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
	flags.Float64Var(&least, "min-confidence", 0, "withhold answers below this `confidence`, which 'bmem calibrate --unanswerable' chooses")
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
		if a, ok := c.Abstention[r.Tier]; ok {
			writeAbstention(w, r.Tier, a)
		}
	}
	return w.Flush()
}

// writeAbstention writes what a least confidence does to the answers of a tier.
func writeAbstention(w io.Writer, tier string, a calibrate.Abstention) {
	fmt.Fprintf(w, "abstain %s\tbelow a confidence of %.3f: %.3f of the mean score is lost on %d questions (%.0f %% withheld), and %.0f %% of %d unanswerable ones are withheld (AUROC %.3f)\n",
		tier, a.MinConfidence, a.Lost, a.Answerable, 100*a.Withheld, 100*a.Abstained, a.Unanswerable, a.AUROC)
}

// orDash writes a measure with three digits, or a dash where there is none.
func orDash(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.3f", *v)
}
