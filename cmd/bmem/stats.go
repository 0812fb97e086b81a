package main

import (
	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/experiments"
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
			run, err := experiments.Load(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), run.Calls())
			}
			return run.Calls().WriteTable(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write the counts as JSON")
	return cmd
}
