package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem/rerank"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/kernel/display"
	"github.com/budgetmem/budgetmem/tune/reranker"
)

// rerankerFlags are the flags of `bmem tune reranker`.
type rerankerFlags struct {
	ingestFlags
	datasets  []string
	dataDir   string
	dir       string
	questions int
	config    reranker.Config
}

func newTuneRerankerCmd() *cobra.Command {
	f := rerankerFlags{config: reranker.Defaults()}
	cmd := &cobra.Command{
		Use:   "reranker",
		Short: "Train a small model to find the turns that are evidence",
		Long: `Train a small model to find the turns that are evidence.

A cross-encoder (MiniLM) reads the question and one turn together and says how much likelier the turn is evidence than retrieval
thinks. It is trained on the evidence that a data set's training questions name, against other turns that retrieval found, and then
measured on the validation questions: how much of their evidence is among the first turns, with and without it.

An interrupted run goes on where it stopped when the command is repeated.`,
		Example: `  bmem tune reranker --dataset locomo --dir runs/reranker
  bmem tune reranker --dataset locomo,hotpotqa --epochs 3 --dir runs/reranker`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.bind(cmd)
	flags, c := cmd.Flags(), &f.config
	flags.StringSliceVar(&f.datasets, "dataset", []string{"locomo"}, "data sets: "+strings.Join(datasets.Names(), ", ")+", or the `folder` of one of your own")
	flags.StringVar(&f.dataDir, "data", "", "folder with the larger data files (default $"+datasets.DataEnv+")")
	flags.StringVar(&f.dir, "dir", "", "`folder` of the run; the model is written to its subfolder model")
	flags.IntVar(&f.questions, "questions", 0, "how many training questions of each data set, in its own mix of categories; 0 takes all")
	flags.IntVar(&c.Layers, "layers", c.Layers, "how many of the top layers are trained")
	flags.IntVar(&c.Questions, "batch", c.Questions, "questions of a step")
	flags.IntVar(&c.Turns, "turns", c.Turns, "turns of a question in a step")
	flags.IntVar(&c.Epochs, "epochs", c.Epochs, "passes over the questions")
	flags.IntVar(&c.MaxSteps, "max-steps", c.MaxSteps, "steps to make at most; 0 sets no limit")
	flags.Float64Var(&c.LearningRate, "learning-rate", c.LearningRate, "highest learning rate of AdamW; it falls linearly")
	flags.IntVar(&c.Warmup, "warmup", c.Warmup, "steps until the learning rate is at its highest")
	flags.Float64Var(&c.WeightDecay, "weight-decay", c.WeightDecay, "weight decay of AdamW")
	flags.Float64Var(&c.MaxGradNorm, "max-grad-norm", c.MaxGradNorm, "bound of the gradient's norm")
	flags.Uint64Var(&c.Seed, "seed", c.Seed, "draws the order of the questions and the turns beside the evidence")
	flags.IntVar(&c.CheckpointEvery, "checkpoint-every", c.CheckpointEvery, "steps between checkpoints")
	return cmd
}

// rerankerRecall compares the evidence among the first turns by retrieval and with the reranker.
type rerankerRecall struct {
	Dataset    string         `json:"dataset"`
	Questions  int            `json:"questions"`
	Turns      int            `json:"turns"`
	Retrieval  stats.Interval `json:"retrieval"`
	Reranked   stats.Interval `json:"reranked"`
	Difference stats.Interval `json:"difference"`
}

func (f *rerankerFlags) run(cmd *cobra.Command) error {
	if f.dir == "" {
		return errors.New("--dir names the run's folder; give one, such as --dir runs/reranker")
	}
	train, validation, err := f.examples(cmd)
	if err != nil {
		return err
	}
	catalogue, err := models.Open()
	if err != nil {
		return err
	}
	encoder, err := catalogue.Path(cmd.Context(), setup.Embedder)
	if err != nil {
		return err
	}
	be, err := backend.Open(f.system.backend, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
	if err != nil {
		return err
	}
	defer be.Finalize()
	r := reranker.Run{Dir: f.dir, Encoder: encoder, Backend: be, Config: f.config, Train: train}
	bar := display.ProgressTo(cmd.ErrOrStderr(), "steps")
	r.Progress = func(s reranker.Step, total int) {
		if f.asJSON {
			_ = json.NewEncoder(cmd.OutOrStdout()).Encode(s)
		}
		bar.Set(s.Step, total, fmt.Sprintf("loss %.3f, by retrieval %.3f", s.Loss, s.RetrievalLoss))
	}
	dir, err := r.Start(cmd.Context())
	bar.End(err)
	if err != nil {
		return err
	}
	recalls, err := f.measure(cmd.Context(), cmd.ErrOrStderr(), dir, be, validation)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteJSON(filepath.Join(f.dir, "validation.json"), recalls); err != nil {
		return err
	}
	if f.asJSON {
		return writeJSON(cmd.OutOrStdout(), recalls)
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "evidence among the first turns, validation questions\n\n| data set | questions | turns | retrieval | reranked | difference | 95 %% |\n|---|---|---|---|---|---|---|\n")
	for _, r := range recalls {
		fmt.Fprintf(out, "| %s | %d | %d | %.3f | %.3f | %+.3f | [%+.3f, %+.3f] |\n", r.Dataset, r.Questions, r.Turns, r.Retrieval.Mean, r.Reranked.Mean, r.Difference.Mean, r.Difference.Low, r.Difference.High)
	}
	_, err = fmt.Fprintf(out, "\nuse it as --reranker %s\n", dir)
	return err
}

// examples retrieves for the training and validation questions.
func (f *rerankerFlags) examples(cmd *cobra.Command) (train []reranker.Example, validation map[string][]reranker.Example, err error) {
	validation = map[string][]reranker.Example{}
	for _, name := range f.datasets {
		data, err := datasets.Open(name, datasets.Options{DataDir: f.dataDir})
		if err != nil {
			return nil, nil, err
		}
		f.system.spec.ChunkTokens = data.ChunkTokens()
		for _, split := range []datasets.Split{datasets.Train, datasets.Validation} {
			n := f.questions
			if split == datasets.Validation {
				n = 0
			}
			questions, err := data.Questions(cmd.Context(), split)
			if err != nil {
				return nil, nil, err
			}
			if questions, err = run.Choose(questions, n, int64(f.config.Seed), run.Natural); err != nil {
				return nil, nil, err
			}
			examples, err := f.retrieve(cmd, data, questions, string(split))
			if err != nil {
				return nil, nil, err
			}
			if split == datasets.Train {
				train = append(train, examples...)
			} else {
				validation[name] = examples
			}
		}
	}
	return train, validation, nil
}

func (f *rerankerFlags) retrieve(cmd *cobra.Command, data datasets.Dataset, questions []datasets.Question, split string) (examples []reranker.Example, err error) {
	sys, err := f.open(cmd.Context(), cmd.ErrOrStderr(), nil)
	if err != nil {
		return nil, err
	}
	defer closing(sys, &err)
	bar := display.ProgressTo(cmd.ErrOrStderr(), data.Name()+", "+split+": questions retrieved")
	examples, err = reranker.MakeExamples(cmd.Context(), reranker.DataConfig{Dataset: data, Questions: questions, Memory: sys.Memory,
		Progress: func(done, total int) { bar.Set(done, total, "") }})
	bar.End(err)
	return examples, err
}

// measure ranks the validation questions' turns with the model.
func (f *rerankerFlags) measure(ctx context.Context, notes io.Writer, dir string, be compute.Backend, validation map[string][]reranker.Example) (out []rerankerRecall, err error) {
	m, err := rerank.Open(dir, be)
	if err != nil {
		return nil, err
	}
	defer closing(m, &err)
	for _, name := range f.datasets {
		examples := validation[name]
		scores := make([][]float64, len(examples))
		bar := display.ProgressTo(notes, name+": questions ranked")
		for i, e := range examples {
			if scores[i], err = m.Scores(ctx, e.Question, e.Turns); err != nil {
				break
			}
			bar.Set(i+1, len(examples), "")
		}
		bar.End(err)
		if err != nil {
			return nil, err
		}
		for _, n := range []int{1, 2, 3, 5, 8} {
			before, after := reranker.Recall(examples, nil, n), reranker.Recall(examples, scores, n)
			difference := make([]float64, len(before))
			for i := range before {
				difference[i] = after[i] - before[i]
			}
			seed := int64(f.config.Seed)
			out = append(out, rerankerRecall{name, len(examples), n, stats.Bootstrap(before, seed), stats.Bootstrap(after, seed), stats.Bootstrap(difference, seed)})
		}
	}
	return out, nil
}
