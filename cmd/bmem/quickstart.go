package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/run"
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
			combinations, err := collectedByDefault()
			if err != nil {
				return err
			}
			questions := 0
			for _, s := range info.Splits {
				questions += s.Questions
			}
			name := filepath.Base(filepath.Clean(dir))
			_, err = fmt.Fprintf(cmd.OutOrStdout(), `%d questions to train on, %d to choose by, %d to test. Put in yours, and check them:

%[6]s data verify %[4]s

Then collect, train and export:

%[6]s traces collect --dataset %[4]s --split all --out %[5]s
%[6]s train --traces %[5]s --name %[7]s
%[6]s router export %[8]s %[9]s

The first answers each of the %[10]d questions %[11]d times, with as many combinations of tiers: %[12]d answers. They take most of the time and
are all that costs. It says how much as it goes, and what is left; it can be stopped at any moment, and the same command goes on.
--model and --endpoint say who answers, --max-dollars for how much at most.
`, info.Splits[0].Questions, info.Splits[1].Questions, info.Splits[2].Questions, quoted(path), quoted(filepath.Join("traces", name)), quoted(os.Args[0]), quoted(name),
				quoted(filepath.Join("runs", name)), quoted(name+".safetensors"), questions, combinations, questions*combinations)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON")
	return cmd
}

// collectedByDefault is how many combinations of tiers 'bmem traces collect --split all' asks each question with.
func collectedByDefault() (int, error) {
	var f systemFlags
	f.bind(pflag.NewFlagSet("", pflag.ContinueOnError)) // for the defaults
	space, err := f.space()
	if err != nil {
		return 0, err
	}
	policies, err := run.Design(allDesign, space)
	return len(policies), err
}

// quoted writes a word so that a shell reads it as one.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_./:@%+=,-", r))
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

var quickstartNotes = map[string]string{datasets.ConfigFile: "settings", "questions.jsonl": "questions with answers"}
