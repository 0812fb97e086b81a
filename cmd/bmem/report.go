package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/experiments/report"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
)

func newReportCmd() *cobra.Command {
	var options report.CompareOptions
	var out, csvFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "report RUN...",
		Short: "Compare runs on the questions that they share",
		Long: `Compare runs on the questions that they share: score, dollars, tokens and latency of every policy, by category, with
95 % intervals of the differences to a baseline by a bootstrap over the questions, and the Pareto front.

RUN is the folder of a run. The questions compared are those that every policy of every run has answered; the table says
how many these are, and there is no table if there are none. report.html and report.json are written into the folder
of --out.`,
		Example: `  bmem report runs/implementation runs/reasoning runs/capacity
  bmem report runs/a runs/b --baseline "a: high" --metric judge-paper --csv table.csv`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, dirs []string) error {
			var runs []run.Results
			for _, dir := range dirs {
				r, err := run.Load(dir)
				if err != nil {
					return err
				}
				runs = append(runs, r)
			}
			c, err := report.Compare(runs, options)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(out, 0o755); err != nil {
				return fmt.Errorf("make the report's folder: %w", err)
			}
			page := filepath.Join(out, "report.html")
			if err := c.WriteHTML(page); err != nil {
				return err
			}
			if err := c.WriteJSON(filepath.Join(out, "report.json")); err != nil {
				return err
			}
			if csvFile != "" {
				if err := atomicfile.Write(csvFile, 0o644, c.WriteCSV); err != nil {
					return err
				}
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), c)
			}
			if err := c.WriteTable(cmd.OutOrStdout()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "\nreport: %s\n", page)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&out, "out", "report", "folder for report.html and report.json")
	flags.BoolVar(&asJSON, "json", false, "write the comparison as JSON instead of the table")
	flags.StringVar(&csvFile, "csv", "", "file to write the table to as CSV, one line a policy")
	flags.StringVar(&options.Metric, "metric", "", "score to report first, such as hotpot or judge-paper (default the runs' own)")
	flags.StringVar(&options.Baseline, "baseline", "", "what to compare with: a label of the table, or a policy that occurs once (default low, else the cheapest)")
	return cmd
}
