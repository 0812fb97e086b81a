// Command benchtune trains an adapter as `bmem tune run` does, one pass over the examples for each line on stdin, and writes to
// stdout how long the steps took, as JSON lines. scripts/bench_tune.py runs it in turn with PyTorch.
//
// The first line, before any line on stdin, is what is trained on. The first pass compiles the programs and comes after the frozen
// layers. It ends when stdin does.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/gomlx/compute"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
	"github.com/budgetmem/budgetmem/tune"
)

// job is the first line.
type job struct {
	Name     string    `json:"name"`
	Model    string    `json:"model"` // path of the GGUF file
	Backend  string    `json:"backend"`
	Examples []example `json:"examples"`
	Layers   int       `json:"layers"` // how many of the top layers are trained
	Rank     int       `json:"rank"`
	Alpha    float64   `json:"alpha"`
	Batch    int       `json:"batch"` // examples of a step
	Rate     float64   `json:"learning_rate"`
	MaxNorm  float64   `json:"max_grad_norm"`
}

type example struct {
	Tokens []int32 `json:"tokens"`
	Prompt int     `json:"prompt"` // tokens before the answer
}

// measured is every further line: some tokens through the frozen layers (phase "hidden"), or a step (phase "train").
type measured struct {
	Phase   string  `json:"phase"`
	Tokens  int     `json:"tokens"`
	Seconds float64 `json:"seconds"`
	Loss    float64 `json:"loss"` // of a step, in nats
}

// rate is so low that the model stays the base model: the losses of all passes are then the same, and can be compared with
// PyTorch's. A step takes the same time at any rate.
const rate = 1e-9

func main() {
	model := flag.String("model", "qwen2.5-coder-0.5b-instruct", "name in the models catalogue")
	spec := flag.String("backend", "", "backend: "+backend.Specs)
	examples := flag.String("examples", "", "file of examples, JSON lines")
	dir := flag.String("dir", "", "empty folder for the run")
	flag.Parse()
	if err := run(context.Background(), *model, *spec, *examples, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "benchtune:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name, spec, examples, dir string) error {
	catalogue, err := models.Open()
	if err != nil {
		return err
	}
	path, err := catalogue.Path(ctx, name)
	if err != nil {
		return err
	}
	be, err := backend.Open(spec, nil)
	if err != nil {
		return err
	}
	defer be.Finalize()
	r := tune.Run{Dir: dir, Model: name, Path: path, Backend: be, Config: tune.Defaults()}
	if r.Train, err = tune.ReadExamples(examples); err != nil {
		return err
	}
	r.Config.LearningRate, r.Config.Epochs, r.Config.CheckpointEvery, r.Config.ValidateEvery = rate, 1000, 0, 0
	c := &r.Config
	j := job{Name: name, Model: path, Backend: string(be.Kind), Layers: c.Layers, Rank: c.Rank, Alpha: c.Alpha, Batch: c.Batch, Rate: rate, MaxNorm: c.MaxGradNorm}
	if j.Examples, err = tokenize(path, be.Unwrap(), r.Train, c.Template); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(j); err != nil {
		return err
	}
	return passes(ctx, r, os.Stdin, out)
}

// passes trains a pass for each line of in.
func passes(ctx context.Context, r tune.Run, in io.Reader, out *json.Encoder) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	lines := bufio.NewScanner(in)
	if !lines.Scan() {
		return lines.Err()
	}
	steps := (len(r.Train) + r.Config.Batch - 1) / r.Config.Batch // of a pass
	var failed error
	tokens, seconds, start := 0, 0.0, time.Time{}
	r.Progress = func(p tune.Progress) {
		m := measured{Phase: p.Phase}
		if p.Phase == "hidden" {
			m.Tokens, m.Seconds = p.Done-tokens, p.Seconds-seconds
			tokens, seconds = p.Done, p.Seconds
		} else {
			m.Tokens, m.Seconds, m.Loss = p.Step.Tokens, time.Since(start).Seconds(), p.Step.Loss
		}
		failed = out.Encode(m)
		passed := p.Phase == "train" && p.Done%steps == 0
		if failed != nil || passed && !lines.Scan() {
			stop()
		}
		start = time.Now()
	}
	_, err := r.Start(ctx)
	if errors.Is(err, context.Canceled) {
		err = nil // the caller has enough
	}
	return errors.Join(err, failed, lines.Err())
}

// tokenize opens the model for its tokenizer, and closes it before the training opens it for itself.
func tokenize(path string, be compute.Backend, from []tune.Example, template string) (out []example, err error) {
	base, err := local.OpenBase(path, be)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	for _, e := range from {
		tokens, prompt, err := e.Tokenize(base, template)
		if err != nil {
			return nil, err
		}
		out = append(out, example{tokens, prompt})
	}
	return out, nil
}
