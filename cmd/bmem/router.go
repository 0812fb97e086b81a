package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/frontier"
	"github.com/budgetmem/budgetmem/experiments/train"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/portable"
)

func newRouterCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "router",
		Short: "Export trained routers to one small file, calibrate them, and look at such files",
	}
	cmd.AddCommand(newRouterCalibrateCmd(), newRouterExportCmd(), newRouterInfoCmd(), newRouterVerifyCmd())
	return cmd
}

func newRouterExportCmd() *cobra.Command {
	var spec, note, curve string
	cmd := &cobra.Command{
		Use:   "export CHECKPOINT|TRAINING FILE",
		Short: "Write the router of a training's checkpoint to a file that programs use without GoMLX",
		Long: `Write the router of a training's checkpoint to a file that programs use without GoMLX.

Of a training's folder the router that was best on validation is taken, of all seeds. The checkpoint of a PPO training is
seed-N/state.safetensors, as its last epoch left it; the files in seed-N/checkpoints are routers already.

The file is a safetensors file with all that is needed to route: weights, modules and tiers, the range of λ, the
embedder's id, and, if one is given, the curve by which dollars become a λ. Go programs read it with the package
router/portable; bmem takes it as --policy router:FILE@λ. What was written is compared with the checkpoint.`,
		Example: `  bmem router export runs/NAME router.safetensors
  bmem router export runs/NAME router.safetensors --note "LoCoMo, five seeds"
  bmem router export runs/NAME/seed-42/state.safetensors last.safetensors`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var points []portable.Point
			if curve != "" {
				file, err := os.ReadFile(curve)
				if err != nil {
					return fmt.Errorf("read the calibration curve: %w", err)
				}
				if err := json.Unmarshal(file, &points); err != nil {
					return fmt.Errorf("read the calibration curve %s: %w", curve, err)
				}
			}
			r, origin, err := exported(spec, args[0], points, note)
			if err != nil {
				return err
			}
			file, err := r.Marshal()
			if err != nil {
				return err
			}
			if err := atomicfile.WriteFile(args[1], file, 0o644); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d numbers, %d bytes; %s\n", args[1], r.Parameters(), len(file), origin)
			return err
		},
	}
	cmd.Flags().StringVar(&spec, "backend", "", "what computes the checkpoint's network: "+backend.Specs)
	cmd.Flags().StringVar(&note, "note", "", "how the router was trained, for people")
	cmd.Flags().StringVar(&curve, "calibration", "", `JSON file with the curve: [{"lambda":0,"dollars":0.002,"score":0.4},…] by rising λ`)
	return cmd
}

func newRouterCalibrateCmd() *cobra.Command {
	var f replayFlags
	var out string
	var points int
	cmd := &cobra.Command{
		Use:   "calibrate ROUTER",
		Short: "Add the curve by which dollars become a λ to a router's file, from validation traces",
		Long: `Add the curve by which dollars become a λ to a router's file, from validation traces.

The router is asked at many λs; the mean dollars of a question at each, made to fall as λ grows by isotonic regression, are
the curve by which bmem.WithMaxCost chooses λ.`,
		Example: `  bmem router calibrate runs/NAME/seed-42/checkpoints/best.safetensors --traces validation.jsonl.gz --out router.safetensors`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := f.check(); err != nil {
				return err
			}
			if !f.given(splits[1]) {
				return errors.New("give --traces FILE, or --live to ask the models")
			}
			r, err := portable.ReadFile(args[0])
			if err != nil {
				return err
			}
			f.name = cmp.Or(f.name, "calibrate")
			ask, replays, err := f.open(cmd)
			if err != nil {
				return err
			}
			defer closing(ask, &err)
			curve, counts, err := frontier.Calibrate(cmd.Context(), replays[splits[1]], r, points, cmp.Or(f.inFlight, 8))
			if err != nil {
				return err
			}
			if r, err = r.WithInfo(curve, r.Info().Note); err != nil {
				return err
			}
			file, err := r.Marshal()
			if err != nil {
				return err
			}
			if err := atomicfile.WriteFile(cmp.Or(out, args[0]), file, 0o644); err != nil {
				return err
			}
			if share := counts.Share(); share > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "warning: %.0f %% of the outcomes are predicted from other traced combinations by an outcome model\n", 100*share)
			}
			return writeRouterInfo(cmd.OutOrStdout(), r)
		},
	}
	f.bindReplay(cmd, string(datasets.Validation))
	cmd.Flags().StringVar(&out, "out", "", "write the router with its curve to this `file` (default in its place)")
	cmd.Flags().IntVar(&points, "points", 21, "how many λs are asked")
	return cmd
}

// exported makes the router of a checkpoint, or takes the one of a training's folder that has the highest value on validation.
// It also says where the router is from, or how well it agrees with the checkpoint.
func exported(spec, path string, points []portable.Point, note string) (*portable.Router, string, error) {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		r, worst, err := fromCheckpoint(spec, path, func(r *portable.Router) (*portable.Router, error) { return r.WithInfo(points, note) })
		return r, fmt.Sprintf("log-probabilities agree with the checkpoint to %.1g", worst), err
	}
	s, err := train.Read(path)
	if err != nil {
		return nil, "", err
	}
	best, value := int64(0), math.Inf(-1)
	for _, seed := range s.Seeds {
		for _, e := range seed.Epochs {
			if e.Epoch == seed.BestEpoch && e.Value > value {
				best, value = seed.Seed, e.Value
			}
		}
	}
	r, err := portable.ReadFile(filepath.Join(path, fmt.Sprintf("seed-%d", best), "checkpoints", "best.safetensors"))
	if err != nil {
		return nil, "", err
	}
	if len(points) > 0 || note != "" {
		if r, err = r.WithInfo(points, cmp.Or(note, r.Info().Note)); err != nil {
			return nil, "", err
		}
	}
	return r, fmt.Sprintf("the best on validation, of seed %d", best), nil
}

// agreement is how far the log-probabilities of an exported router may be from its checkpoint's.
const agreement = 1e-5

// fromCheckpoint opens a checkpoint, lets pick make or read the router to compare it with, and returns that with the largest
// difference of a log-probability.
func fromCheckpoint(spec, path string, pick func(*portable.Router) (*portable.Router, error)) (*portable.Router, float64, error) {
	be, err := backend.Open(spec, nil)
	if err != nil {
		return nil, 0, err
	}
	defer be.Finalize()
	n, cfg, err := router.LoadNetwork(be, path)
	if err != nil {
		return nil, 0, err
	}
	defer n.Close()
	r, err := n.Portable(cfg.Lambdas())
	if err != nil {
		return nil, 0, err
	}
	if r, err = pick(r); err != nil {
		return nil, 0, err
	}
	worst, err := n.Agreement(r)
	if err != nil {
		return nil, 0, err
	}
	if !(worst <= agreement) {
		return nil, 0, fmt.Errorf("the router's log-probabilities differ from those of %s by %.2g, more than %g", path, worst, agreement)
	}
	return r, worst, nil
}

func newRouterInfoCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "info FILE",
		Short: "Show what a router's file is for",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := portable.ReadFile(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), r.Info())
			}
			return writeRouterInfo(cmd.OutOrStdout(), r)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write JSON instead of the table")
	return cmd
}

func writeRouterInfo(out io.Writer, r *portable.Router) error {
	info := r.Info()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "embedder\t%s, %d numbers\n", info.Embedder, info.Dim)
	for _, m := range info.Modules {
		fmt.Fprintf(w, "%s\t%v\n", m.Name, m.Tiers)
	}
	for i, s := range info.Signals {
		label := ""
		if i == 0 {
			label = "signals"
		}
		fmt.Fprintf(w, "%s\t%s\n", label, s.Name)
	}
	fmt.Fprintf(w, "λ\t%g to %g\nweights\t%d numbers\n", info.Lambda.Min, info.Lambda.Max, r.Parameters())
	if info.Note != "" {
		fmt.Fprintf(w, "note\t%s\n", info.Note)
	}
	for i, p := range info.Calibration {
		label := ""
		if i == 0 {
			label = "calibration"
		}
		fmt.Fprintf(w, "%s\tλ %g: $%.6f a question, score %.4f\n", label, p.Lambda, p.Dollars, p.Score)
	}
	return w.Flush()
}

func newRouterVerifyCmd() *cobra.Command {
	var spec, embedder string
	cmd := &cobra.Command{
		Use:   "verify FILE [CHECKPOINT]",
		Short: "Check that a router's file is whole, and that it decides as a training's checkpoint does",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := portable.ReadFile(args[0])
			if err != nil {
				return err
			}
			if got := r.Info().Embedder; embedder != "" && got != embedder {
				return fmt.Errorf("%s was trained on embeddings of %s, not of %s", args[0], got, embedder)
			}
			said := "the file is whole"
			if len(args) == 2 {
				_, worst, err := fromCheckpoint(spec, args[1], func(*portable.Router) (*portable.Router, error) { return r, nil })
				if err != nil {
					return fmt.Errorf("verify %s: %w", args[0], err)
				}
				said += fmt.Sprintf(", and its log-probabilities agree with the checkpoint to %.1g", worst)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", args[0], said)
			return err
		},
	}
	cmd.Flags().StringVar(&spec, "backend", "", "what computes the checkpoint's network: "+backend.Specs)
	cmd.Flags().StringVar(&embedder, "embedder", "", "id of the embedder that the router must have been trained on")
	return cmd
}
