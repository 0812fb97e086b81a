package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/run"
)

func newDataCmd() *cobra.Command {
	var opts datasets.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "data",
		Short: "List, show and check the benchmark data",
		Long: `List, show and check the benchmark data.

Most of it comes with the program. Larger files are looked for in the folder given by --data or by the environment
variable ` + datasets.DataEnv + `; where one is missing, the message says where to get it.`,
	}
	cmd.PersistentFlags().StringVar(&opts.DataDir, "data", "", "folder with the larger data files (default $"+datasets.DataEnv+")")
	cmd.PersistentFlags().BoolVar(&asJSON, "json", false, "write JSON")
	cmd.AddCommand(newDataListCmd(&opts, &asJSON), newDataShowCmd(&opts, &asJSON), newDataVerifyCmd(&opts, &asJSON))
	return cmd
}

func newDataListCmd(opts *datasets.Options, asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the data sets, their splits and what is missing",
		Example: "  bmem data list\n  bmem data list --json --data ~/benchmarks",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var infos []datasets.Info
			for _, name := range datasets.Names() {
				info, err := datasets.Describe(name, *opts)
				if err != nil {
					return err
				}
				infos = append(infos, info)
			}
			if *asJSON {
				return writeJSON(cmd.OutOrStdout(), infos)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tTRAIN\tVALIDATION\tTEST\tLICENCE\tWHAT")
			for _, info := range infos {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", info.Name, splitCell(info.Splits[0]), splitCell(info.Splits[1]),
					splitCell(info.Splits[2]), info.Licence, info.Summary)
			}
			return w.Flush()
		},
	}
}

// splitCell is the number of a split's questions, with a mark if they cannot be read.
func splitCell(s datasets.SplitInfo) string {
	switch {
	case s.Missing != "" && s.Questions == 0:
		return "missing"
	case s.Missing != "":
		return fmt.Sprintf("%d (missing)", s.Questions)
	case s.Questions == 0:
		return "all"
	}
	return fmt.Sprint(s.Questions)
}

func newDataShowCmd(opts *datasets.Options, asJSON *bool) *cobra.Command {
	var split, question string
	var n int
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show questions of a data set with their evidence",
		Example: `  bmem data show locomo
  bmem data show longmemeval --split test -n 5
  bmem data show locomo --question conv-26/q0012 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := datasets.Open(args[0], *opts)
			if err != nil {
				return err
			}
			questions, err := splitQuestions(cmd, d, split)
			if err != nil {
				return err
			}
			if question != "" {
				at := slices.IndexFunc(questions, func(q datasets.Question) bool { return q.ID == question })
				if at < 0 {
					return fmt.Errorf("%s, %s split: no question %q; ids look like %q", args[0], split, question, questions[0].ID)
				}
				questions = questions[at : at+1]
			}
			for _, q := range questions[:min(max(n, 0), len(questions))] {
				if err := showQuestion(cmd, d, q, *asJSON); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&split, "split", string(datasets.Train), "train, validation or test")
	cmd.Flags().StringVar(&question, "question", "", "show the question with this id")
	cmd.Flags().IntVarP(&n, "n", "n", 3, "how many questions to show")
	return cmd
}

func splitQuestions(cmd *cobra.Command, d datasets.Dataset, split string) ([]datasets.Question, error) {
	if !slices.Contains(splits, split) {
		return nil, fmt.Errorf("--split %q: want train, validation or test", split)
	}
	if split == run.TestSplit {
		return d.Test(cmd.Context())
	}
	return d.Questions(cmd.Context(), datasets.Split(split))
}

func showQuestion(cmd *cobra.Command, d datasets.Dataset, q datasets.Question, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(q)
	}
	h, err := d.History(cmd.Context(), q.History)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  (%s)\n  question  %s\n", q.ID, q.Category, q.Text)
	if q.Date != "" {
		fmt.Fprintf(&b, "  asked     %s\n", q.Date)
	}
	fmt.Fprintf(&b, "  answer    %s\n  history   %s, %d turns\n", strings.Join(q.Gold, " | "), h.ID, len(h.Turns))
	for _, t := range h.Turns {
		if slices.Contains(q.Evidence, t.ID) {
			fmt.Fprintf(&b, "  evidence  %s  %s  %s\n", chunk.Label(t.ID), chunk.Label(t.Time), t)
		}
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), chunk.Plain(b.String()))
	return err
}

func newDataVerifyCmd(opts *datasets.Options, asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use:   "verify [NAME...]",
		Short: "Read data sets in full and check hashes, records and ids",
		Long: `Read data sets in full, all if none is named, and check hashes, records and ids.

A broken file is named with its record and field, and the command fails. Files that are not there are listed, and of a
split without questions it warns; that is no failure.`,
		Example: "  bmem data verify\n  bmem data verify longmemeval --data ~/benchmarks --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = datasets.Names()
			}
			reports := map[string][]datasets.Report{}
			for _, name := range args {
				r, err := datasets.Verify(cmd.Context(), name, *opts)
				if err != nil {
					return err
				}
				reports[name] = r
				for _, split := range r {
					if split.Warning != "" {
						fmt.Fprintln(cmd.ErrOrStderr(), "warning:", split.Warning)
					}
				}
			}
			if *asJSON {
				return writeJSON(cmd.OutOrStdout(), reports)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tSPLIT\tQUESTIONS\tHISTORIES\tTURNS\tEVIDENCE\tDROPPED\tWITHOUT")
			for _, name := range args {
				for _, r := range reports[name] {
					if r.Missing != "" {
						fmt.Fprintf(w, "%s\t%s\t%s\n", name, r.Split, r.Missing)
						continue
					}
					fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\n", name, r.Split, r.Questions, r.Histories, r.Turns,
						r.Evidence, r.EvidenceDropped, r.NoEvidence)
				}
			}
			return w.Flush()
		},
	}
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
