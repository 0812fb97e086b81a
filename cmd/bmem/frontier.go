package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/experiments/frontier"
	"github.com/budgetmem/budgetmem/kernel/display"
	"github.com/budgetmem/budgetmem/router/portable"
)

func newFrontierCmd() *cobra.Command {
	var f replayFlags
	var trainings, routers, cascades []string
	var last, asJSON, unaligned bool
	var jsonFile, html string
	cmd := &cobra.Command{
		Use:   "frontier",
		Short: "Compare routers with uniform, random and static tiers, simple regressions and the oracle, by cost and score",
		Long: `Compare routers with uniform, random and static tiers, simple regressions and the oracle, by cost and score.

Static assignments are chosen on validation, for each λ the one best for all questions; everything is reported on test. Beside them
stand rules on cue words, regressions on the nearest questions and on the question's words, fitted to validation and to --traces
where these are given, and for each router the tiers that it gives most validation questions.
Without --live, outcomes that are not traced are predicted by an outcome model of those that are, and the table says how many.
With --live=test the models are asked for these, and static assignments are still chosen from the validation traces; with
--live also those are searched for by asking, which takes long. With --workers other machines answer.`,
		Example: `  bmem frontier --validation-traces validation.jsonl.gz --test-traces test.jsonl.gz --training runs/NAME
  bmem frontier --validation-traces v.jsonl.gz --test-traces t.jsonl.gz --live=test --axis implementation --router router.safetensors`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := f.check(); err != nil {
				return err
			}
			f.withoutTraining(cmd)
			if !f.given(splits[1]) || !f.given(splits[2]) {
				return errors.New("give --validation-traces and --test-traces, or --live to ask the models")
			}
			families, err := readFamilies(trainings, routers, last)
			if err != nil {
				return err
			}
			calibrations, err := readCascades(cascades)
			if err != nil {
				return err
			}
			f.name = cmp.Or(f.name, "frontier") // of ledger and traces, where something is asked live
			ask, replays, err := f.open(cmd)
			if err != nil {
				return err
			}
			defer closing(ask, &err)
			o := frontier.Options{Train: replays[splits[0]], Validation: replays[splits[1]], Test: replays[splits[2]], Routers: families, Cascades: calibrations, Seed: f.seed, InFlight: f.inFlight}
			if unaligned {
				file, _ := o.Validation.Snapshot()
				o.Reward = file.Reward(false)
			}
			end := func(error) {}
			if len(ask) > 0 { // else it takes a second
				bar := display.ProgressTo(cmd.ErrOrStderr(), "outcomes")
				o.Progress, end = func(done, of int) { bar.Set(done, of, "") }, bar.End
			}
			r, err := frontier.Compare(cmd.Context(), o)
			end(err)
			if err != nil {
				return err
			}
			if jsonFile != "" {
				if err := r.WriteJSON(jsonFile); err != nil {
					return err
				}
			}
			if html != "" {
				if err := r.WriteHTML(html); err != nil {
					return err
				}
			}
			if len(ask) > 0 {
				for split, replay := range replays {
					if file, grown := replay.Snapshot(); grown {
						if err := file.WriteFile(filepath.Join(f.runs, f.name, "traces."+split+".jsonl.gz")); err != nil {
							return err
						}
					}
				}
			}
			if asJSON {
				return errors.Join(writeJSON(cmd.OutOrStdout(), r), failures(replays))
			}
			return errors.Join(r.WriteTable(cmd.OutOrStdout()), failures(replays))
		},
	}
	f.bindReplay(cmd, splits...)
	f.bindWorkers(cmd.Flags())
	_ = cmd.Flags().MarkHidden("questions") // training questions are never asked; the flag was just defined
	flags := cmd.Flags()
	flags.StringArrayVar(&trainings, "training", nil, "`folder` of a training, whose best routers of all seeds are a family; may be repeated")
	flags.BoolVar(&last, "last", false, "take the trainings' last routers instead of the best")
	flags.StringArrayVar(&routers, "router", nil, "router `file`, a family of its own; several, joined by commas, are the seeds of one; may be repeated")
	flags.StringArrayVar(&cascades, "cascade", nil, "calibration `file` of 'bmem calibrate', whose cascade is compared; may be repeated")
	flags.BoolVar(&unaligned, "no-align", false, "measure returns without reward-scale alignment")
	flags.StringVar(&jsonFile, "json-file", "", "also write the result into a JSON `file`")
	flags.StringVar(&html, "html", "", "also write a report into an HTML `file`")
	flags.BoolVar(&asJSON, "json", false, "write JSON instead of the table")
	return cmd
}

// withoutTraining leaves out the training split unless there are traces of it: its questions are not asked live, and a folder need
// not have it.
func (f *replayFlags) withoutTraining(cmd *cobra.Command) {
	path := *f.files[splits[0]]
	if _, err := os.Stat(path); err != nil && !cmd.Flags().Changed("traces") {
		delete(f.files, splits[0])
	}
}

// readCascades reads calibrations, each named by its file.
func readCascades(paths []string) ([]frontier.Cascade, error) {
	var out []frontier.Cascade
	for _, path := range paths {
		c, err := frontier.OpenCascade(path)
		if err != nil {
			return nil, fmt.Errorf("--cascade: %w", err)
		}
		if slices.ContainsFunc(out, func(o frontier.Cascade) bool { return o.Name == c.Name }) {
			return nil, fmt.Errorf("--cascade: two files are called %s: rename one", filepath.Base(path))
		}
		out = append(out, c)
	}
	return out, nil
}

// readFamilies reads the routers of trainings and of single files.
func readFamilies(trainings, routers []string, last bool) ([]frontier.Family, error) {
	var out []frontier.Family
	add := func(name string, paths []string) error {
		family := frontier.Family{Name: name}
		for _, path := range paths {
			r, err := portable.ReadFile(path)
			if err != nil {
				return err
			}
			family.Seeds = append(family.Seeds, r)
		}
		if slices.ContainsFunc(out, func(f frontier.Family) bool { return f.Name == name }) {
			return fmt.Errorf("two families of routers are called %s: rename a folder or a file", name)
		}
		out = append(out, family)
		return nil
	}
	which := "best"
	if last {
		which = "last"
	}
	for _, dir := range trainings {
		paths, err := filepath.Glob(filepath.Join(dir, "seed-*", "checkpoints", which+".safetensors"))
		if err != nil || len(paths) == 0 {
			return nil, fmt.Errorf("--training %s: there is no router %s in it", dir, filepath.Join("seed-*", "checkpoints", which+".safetensors"))
		}
		if err := add(filepath.Base(filepath.Clean(dir)), paths); err != nil {
			return nil, fmt.Errorf("--training: %w", err)
		}
	}
	for _, list := range routers {
		paths := strings.Split(list, ",")
		if err := add(strings.TrimSuffix(filepath.Base(paths[0]), ".safetensors"), paths); err != nil {
			return nil, fmt.Errorf("--router: %w", err)
		}
	}
	return out, nil
}
