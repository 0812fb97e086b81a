package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/datasets/score"
)

func newScoreCmd() *cobra.Command {
	var metric, in string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "score --metric NAME --in FILE.jsonl",
		Short: "Score predictions against gold answers",
		Long: `Score predictions against gold answers, exactly as the benchmarks' own scripts do.

The input holds one JSON object a line: {"id","prediction","gold","category"}. gold is a string, a number, or a list of
accepted answers, of which the best counts. category, LoCoMo's number 1 to 5 or its name, is read by the metric "locomo".
The output holds one {"id","score",…} a line, in the same order, and then the mean. A bad line stops it before
anything is written.

Metrics:
` + metricTable(),
		Example: `  bmem score --metric locomo --in predictions.jsonl
  bmem score --metric hotpot --in - --json < predictions.jsonl | tail -1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := score.Lookup(metric)
			if err != nil {
				return err
			}
			file, lines, err := readPredictions(in, cmd.InOrStdin())
			if err != nil {
				return err
			}
			scored, err := m.ScoreLines(file, lines)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if err := scored.WriteLines(out); err != nil {
				return err
			}
			sum := scored.Summary()
			if asJSON {
				return json.NewEncoder(out).Encode(sum)
			}
			_, err = fmt.Fprintf(out, "mean %.10g over %d predictions (%s)\n", sum.Mean, sum.Count, sum.Metric)
			return err
		},
	}
	cmd.Flags().StringVar(&metric, "metric", "", "one of "+strings.Join(score.Names(), ", "))
	cmd.Flags().StringVar(&in, "in", "", "file of predictions, one JSON object a line; - reads standard input")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write the mean as a JSON object too, with means by category")
	for _, name := range []string{"metric", "in"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // a flag of another name
		}
	}
	return cmd
}

func readPredictions(name string, stdin io.Reader) (file string, lines []score.Line, err error) {
	if name == "-" {
		lines, err = score.ReadLines("standard input", stdin)
		return "standard input", lines, err
	}
	f, err := os.Open(name)
	if err != nil {
		return name, nil, fmt.Errorf("read predictions: %w", err)
	}
	defer f.Close()
	lines, err = score.ReadLines(name, f)
	return name, lines, err
}

func metricTable() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, m := range score.Metrics() {
		fmt.Fprintf(w, "  %s\t%s\n", m.Name, m.Summary)
	}
	_ = w.Flush() // a strings.Builder does not fail
	return strings.TrimSuffix(text.String(), "\n")
}
