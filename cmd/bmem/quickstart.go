package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/datasets"
)

func newQuickstartCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "quickstart DIR",
		Short: "Make a small data set of your own: conversations, questions and settings to replace by yours",
		Long: `Make a small data set of your own: conversations, questions and settings to replace by yours.

The folder works at once with --dataset in 'bmem eval', 'bmem traces collect', 'bmem train', 'bmem tune' and 'bmem frontier',
and 'bmem data verify DIR' checks it. Three commands lead from it to a router; they are printed.`,
		Example: "  bmem quickstart mine",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := args[0]
			files, err := datasets.Quickstart(dir)
			if err != nil {
				return err
			}
			path := dir
			if !filepath.IsAbs(dir) {
				path = "." + string(filepath.Separator) + filepath.Clean(dir)
			}
			info, err := datasets.Describe(path, datasets.Options{})
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), map[string]any{"files": files, "dataset": info})
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, f := range files {
				fmt.Fprintf(w, "%s\t%s\n", f, cmp.Or(quickstartNotes[filepath.Base(f)], "a conversation"))
			}
			if err := w.Flush(); err != nil {
				return err
			}
			name := filepath.Base(filepath.Clean(dir))
			_, err = fmt.Fprintf(cmd.OutOrStdout(), `%d questions to train on, %d to choose by, %d to test. Put in yours; 'bmem data verify %s' checks them. Then

bmem traces collect --dataset %[4]s --split all --out traces/%[5]s
bmem train --traces traces/%[5]s --name %[5]s
bmem router export runs/%[5]s %[5]s.safetensors
`, info.Splits[0].Questions, info.Splits[1].Questions, info.Splits[2].Questions, path, name)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

var quickstartNotes = map[string]string{datasets.ConfigFile: "settings", "questions.jsonl": "questions with answers"}
