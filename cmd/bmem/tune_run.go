package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem/setup/inprocess"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/kernel/display"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
	"github.com/budgetmem/budgetmem/tune"
)

// tuneRunFlags are the flags of `bmem tune run`.
type tuneRunFlags struct {
	train, valid              []string
	model, dir, spec, license string
	config                    tune.Config
	asJSON                    bool
}

func newTuneRunCmd() *cobra.Command {
	f := tuneRunFlags{config: tune.Defaults()}
	c := &f.config
	cmd := &cobra.Command{
		Use:   "run FILE.jsonl…",
		Short: "Train an adapter for a local model on files of examples",
		Long: `Train an adapter for a local model on files of examples.

Each line of a file is an example: {"notes": …, "question": …, "answer": …}, as 'bmem tune data' writes them, or
{"prompt": …, "answer": …} for prompts of another kind. The loss is on the answer alone.

The run is kept in the folder of --dir and can be stopped at any moment: the same command goes on from the last checkpoint,
and ends with the same adapter, byte for byte. The adapter is written in the format of PEFT, after the last step (last/) and
where the loss on the --valid examples was lowest (best/).

With --model NAME+ADAPTER the training goes on from that adapter, with its rank, alpha, layers and targets.`,
		Example: `  bmem tune run locomo.jsonl --model qwen2.5-coder-0.5b-instruct --dir runs/tune-locomo
  bmem tune run mine.jsonl --model qwen2.5-coder-0.5b-instruct+locomo-0.5b --learning-rate 0.0003 --dir runs/further
  bmem tune run mine.jsonl --valid held-out.jsonl --layers 4 --epochs 3 --dir runs/mine
  bmem ask --memory talk.jsonl --model qwen2.5-coder-0.5b-instruct+runs/mine/best "Where does Ann live?"`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { f.train = args; return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.valid, "valid", nil, "`file` of examples to choose the best adapter by; may be repeated")
	flags.StringVar(&f.model, "model", "", "base `model`: a name that 'bmem models list' shows, or a GGUF file (default the best that is here)")
	flags.StringVar(&f.dir, "dir", "", "`folder` of the run")
	flags.StringVar(&f.spec, "backend", "", "what computes: "+inprocess.Backends+" (default $BUDGETMEM_BACKEND, else auto)")
	flags.StringVar(&f.license, "license", "", "licence of the examples, noted in the adapter")
	flags.IntVar(&c.Rank, "rank", c.Rank, "rank of the adapter's matrices")
	flags.Float64Var(&c.Alpha, "alpha", c.Alpha, "the adapter's product is scaled by alpha/rank")
	flags.StringSliceVar(&c.Targets, "targets", c.Targets, "linear maps to adapt")
	flags.IntVar(&c.Layers, "layers", c.Layers, "how many of the top layers are adapted; 0 adapts all")
	flags.IntVar(&c.Batch, "batch", c.Batch, "examples of a step")
	flags.IntVar(&c.PackTokens, "pack-tokens", c.PackTokens, "tokens computed at a time, longer examples aside")
	flags.IntVar(&c.Epochs, "epochs", c.Epochs, "passes over the examples")
	flags.IntVar(&c.MaxSteps, "max-steps", c.MaxSteps, "steps to make at most; 0 sets no limit")
	flags.Float64Var(&c.LearningRate, "learning-rate", c.LearningRate, "highest learning rate of AdamW; it falls linearly")
	flags.IntVar(&c.Warmup, "warmup", c.Warmup, "steps until the learning rate is at its highest")
	flags.Float64Var(&c.FinalRate, "final-rate", c.FinalRate, "share of the learning rate that is left at the end")
	flags.Float64Var(&c.WeightDecay, "weight-decay", c.WeightDecay, "weight decay of AdamW")
	flags.Float64Var(&c.MaxGradNorm, "max-grad-norm", c.MaxGradNorm, "bound of the gradient's norm")
	flags.Uint64Var(&c.Seed, "seed", c.Seed, "draws the first matrices and the order of the examples")
	flags.IntVar(&c.CheckpointEvery, "checkpoint-every", c.CheckpointEvery, "steps between checkpoints")
	flags.IntVar(&c.ValidateEvery, "validate-every", c.ValidateEvery, "steps between losses on the --valid examples")
	flags.BoolVar(&f.asJSON, "json", false, "write progress and result as JSON lines")
	return cmd
}

func (f *tuneRunFlags) run(cmd *cobra.Command) error {
	if f.dir == "" {
		return errors.New("--dir names the run's folder; give one, such as --dir runs/tune")
	}
	r := tune.Run{Dir: f.dir, Config: f.config, Commit: run.Commit(), License: f.license}
	for _, path := range f.train {
		examples, err := tune.ReadExamples(path)
		if err != nil {
			return err
		}
		sum, err := fileHash(path)
		if err != nil {
			return err
		}
		r.Train = append(r.Train, examples...)
		r.Data = append(r.Data, adapter.Data{Name: filepath.Base(path), SHA256: sum, Examples: len(examples)})
	}
	for _, path := range f.valid {
		examples, err := tune.ReadExamples(path)
		if err != nil {
			return err
		}
		r.Valid = append(r.Valid, examples...)
	}
	catalogue, err := models.Open()
	if err != nil {
		return err
	}
	base, err := catalogue.Locate(cmd.Context(), f.model)
	if err != nil {
		return err
	}
	r.Model, r.Path = base.Name, base.Path
	if base.Adapter != "" {
		if r.From, err = adapter.Read(base.Adapter); err != nil {
			return fmt.Errorf("--model %s: %w", f.model, err)
		}
		r.Model = strings.TrimSuffix(base.Name, "+"+filepath.Base(base.Adapter))
		r.Config.Take(r.From, cmd.Flags().Changed)
	}
	be, err := backend.Open(f.spec, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
	if err != nil {
		return err
	}
	defer be.Finalize()
	r.Backend = be
	var end func(error)
	r.Progress, end = f.progress(cmd.OutOrStdout(), cmd.ErrOrStderr())
	result, err := r.Start(cmd.Context())
	end(err)
	if err != nil {
		return err
	}
	if f.asJSON {
		return writeJSON(cmd.OutOrStdout(), result)
	}
	return printTuned(cmd.OutOrStdout(), r.Model, result)
}

// progress shows a run: as bars, or as JSON lines on out.
func (f *tuneRunFlags) progress(out, notes io.Writer) (func(tune.Progress), func(error)) {
	if f.asJSON {
		return func(p tune.Progress) {
			if p.Phase == "train" {
				_ = json.NewEncoder(out).Encode(p.Step)
			}
		}, func(error) {}
	}
	bars := map[string]*display.Bar{}
	var open *display.Bar
	return func(p tune.Progress) {
			what := map[string]string{"hidden": "tokens through the frozen layers", "train": "steps"}[p.Phase]
			if bars[p.Phase] == nil {
				if open != nil {
					open.End(nil)
				}
				open = display.ProgressTo(notes, what)
				bars[p.Phase] = open
			}
			note := ""
			if p.Phase == "train" {
				note = fmt.Sprintf("loss %.3f", p.Step.Loss)
				if p.Step.ValidLoss != nil {
					note += fmt.Sprintf(", valid %.3f", *p.Step.ValidLoss)
				}
			}
			bars[p.Phase].Set(p.Done, p.Total, note)
		}, func(err error) {
			if open != nil {
				open.End(err)
			}
		}
}

func printTuned(w io.Writer, model string, r tune.Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d steps, %d examples\n", r.Steps, r.Examples)
	use := r.Last
	if r.Best != "" {
		fmt.Fprintf(&b, "validation loss %.4f nats before, %.4f at its best, after step %d\n", r.FirstLoss, r.BestLoss, r.BestStep)
		use = r.Best
	}
	fmt.Fprintf(&b, "use it as --model %s+%s\n", model, use)
	_, err := io.WriteString(w, b.String())
	return err
}

func fileHash(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
