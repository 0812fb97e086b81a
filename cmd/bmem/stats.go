package main

import (
	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/experiments/report"
	"github.com/budgetmem/budgetmem/experiments/run"
)

func newStatsCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats RUN",
		Short: "Count a run's model calls by model and by module",
		Long: `Count the model calls behind a run's answers, by model and by module: calls, those answered from the cache, tokens,
dollars, retries, failures, fallbacks to a lower tier, and the time of a call. A run that is under way may be looked at.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			results, err := run.Load(args[0])
			if err != nil {
				return err
			}
			calls := report.NewCalls(results)
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), calls)
			}
			return calls.WriteTable(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write the counts as JSON")
	return cmd
}
