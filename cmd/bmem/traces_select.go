package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
)

// questionIDs are the ids of a JSON Lines file, compressed by gzip or not. It may be of traces, predictions or examples, of which all
// lines that tell of a question have an id.
func questionIDs(name string) (map[string]bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	lines := json.NewDecoder(in)
	if magic, _ := in.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		lines = json.NewDecoder(z)
	}
	ids := map[string]bool{}
	for n := 1; ; n++ {
		var line struct {
			ID     string
			Vector json.RawMessage // of a question of traces, on a line of its own
		}
		if err := lines.Decode(&line); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		if line.ID != "" {
			ids[line.ID] = true
		} else if n > 1 && line.Vector == nil { // the first line of traces is about the file
			return nil, fmt.Errorf("%s: record %d has no \"id\"; give traces, predictions or examples", name, n)
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%s has no line with an \"id\"", name)
	}
	return ids, nil
}

func newTracesSelectCmd() *cobra.Command {
	var names, categories, without []string
	var out string
	cmd := &cobra.Command{
		Use:   "select FILE",
		Short: "Write a part of a trace file: fewer tiers, some of the questions",
		Long: `Write a part of a trace file, for ablations: the outcomes of a system with fewer tiers, the questions of
some categories, or those that another file does not have.

With --tiers, what is left are the combinations that need no other tiers, and a router that is trained on them knows no
others. Of random:6 combinations of three tiers, some one in eight needs two of them alone.`,
		Example: `  bmem traces select traces/locomo-implementation/train.jsonl.gz --tiers low,high --out two/train.jsonl.gz
  bmem traces select traces/locomo-implementation/test.jsonl.gz --category temporal --out temporal.jsonl.gz
  bmem traces select test200.jsonl.gz --without test60.jsonl.gz --without predictions.jsonl --out new.jsonl.gz`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(names)+len(categories)+len(without) == 0 {
				return errors.New("say what to keep: --tiers, --category or --without")
			}
			f, err := episodes.ReadFile(args[0])
			if err != nil {
				return err
			}
			if len(categories) > 0 {
				there := map[string]bool{}
				for _, t := range f.Episodes {
					there[t.Category] = true
				}
				for _, c := range categories {
					if !there[c] {
						return fmt.Errorf("--category: %s has no questions of %q; there are %s", args[0], c, strings.Join(slices.Sorted(maps.Keys(there)), ", "))
					}
				}
				f = f.Where(func(t router.Episode) bool { return slices.Contains(categories, t.Category) })
			}
			for _, name := range without {
				asked, err := questionIDs(name)
				if err != nil {
					return fmt.Errorf("--without: %w", err)
				}
				before := len(f.IDs())
				if f = f.Where(func(t router.Episode) bool { return !asked[t.ID] }); len(f.Episodes) == 0 {
					return fmt.Errorf("--without: %s has every question of %s that is left", name, args[0])
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "without %s: %d of %d questions left out\n", name, before-len(f.IDs()), before)
			}
			if len(names) > 0 {
				if f, err = f.Only(names...); err != nil {
					return fmt.Errorf("--tiers: %s: %w", args[0], err)
				}
			}
			if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
				return err
			}
			if err := f.WriteFile(out); err != nil {
				return err
			}
			return writeTracesInfo(cmd.OutOrStdout(), out, f)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&names, "tiers", nil, "keep the combinations of these `tiers` alone, joined by commas")
	flags.StringSliceVar(&categories, "category", nil, "keep the questions of these `categories`, joined by commas")
	flags.StringSliceVar(&without, "without", nil, "leave out the questions that this `file` has: traces, predictions or examples; may be repeated")
	flags.StringVar(&out, "out", "", "the `file` to write")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // a flag of another name
	}
	return cmd
}
