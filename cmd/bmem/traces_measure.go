package main

import (
	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/experiments/frontier"
	"github.com/budgetmem/budgetmem/kernel/display"
)

func newTracesFrontierCmd() *cobra.Command {
	var asJSON bool
	var o frontier.BoughtOptions
	cmd := &cobra.Command{
		Use:   "frontier FILE…",
		Short: "See what money buys: score and price of the tiers that every question was asked with",
		Long: `See what money buys: score and price of the combinations of tiers that every question was asked with.

Each is compared with the cheapest, question by question. Where the answer is routed and comes with signals, cascades stand
beside them, each question answered by a calibration that was fitted to other questions. A line says what the best
one within --times the price of the cheapest paid one that scores more than all cheaper ones earns more, chosen on one half of the questions and
measured on the other. If that is nothing, no fixed choice is worth more money; 'bmem traces learnable' says whether
choosing by the question would be.
The last line says how far the return of cascades is above that of fixed choices: what to expect of a comparison on test.`,
		Example: `  bmem traces frontier traces/locomo-implementation/validation.jsonl.gz`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := mergeTraces(args)
			if err != nil {
				return err
			}
			b, err := frontier.WhatMoneyBuys(f, o)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), b)
			}
			return b.WriteTable(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON instead of the table")
	cmd.Flags().Float64Var(&o.Times, "times", 3, "multiple that may be spent of the price of the cheapest paid combination of tiers that scores more than all cheaper ones")
	cmd.Flags().StringSliceVar(&o.Signals, "signals", nil, "`names` of the signals that cascades use, joined by commas (default all that nine tenths of the answers have)")
	cmd.Flags().Int64Var(&o.Seed, "seed", 42, "draws the halves, the folds of cascades, and the bootstrap")
	return cmd
}

func newTracesLearnableCmd() *cobra.Command {
	var asJSON bool
	var seed int64
	cmd := &cobra.Command{
		Use:   "learnable FILE…",
		Short: "See whether there is anything for a router to learn, before one is trained",
		Long: `See whether there is anything for a router to learn, before one is trained.

An outcome model is fitted to four fifths of the questions, and for each question of the last fifth one of its traced
combinations is chosen by it; so five times, until each question was held out. What choosing by embeddings earns beyond
one order of combinations for all questions is what a router can learn from so many traces. Choosing by the
benchmark's category, which no router is told, is shown beside it, by the question's words, by each signal that the traces
hold, and the best in hindsight. Signals of answers are known once the answers are paid for.

Give the traces of training and validation; those of test are for what is reported at the end.`,
		Example: `  bmem traces learnable traces/hotpotqa-implementation/train.jsonl.gz traces/hotpotqa-implementation/validation.jsonl.gz`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := readTraces(args)
			if err != nil {
				return err
			}
			bar := display.ProgressTo(cmd.ErrOrStderr(), "fits")
			r, err := frontier.MeasureLearnable(cmd.Context(), files, seed, func(done, of int) { bar.Set(done, of, "") })
			bar.End(err)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), r)
			}
			return r.WriteTable(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON instead of the tables")
	cmd.Flags().Int64Var(&seed, "seed", 42, "draws which questions are held out together, and the bootstrap")
	return cmd
}
