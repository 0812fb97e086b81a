// Package rerank tells how likely a turn is evidence for a question, by a BERT cross-encoder that reads both together (Nogueira
// and Cho, 2019). `bmem tune reranker` trains one.
package rerank

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/internal/bert"
	"github.com/budgetmem/budgetmem/internal/osmem"
)

// The tokens that a question and a pair may have; what is beyond is cut, the question at its end and then the turn at its end.
const (
	MaxQuestionTokens = 48
	MaxPairTokens     = 128
)

// Model is a cross-encoder from local files. It is safe for concurrent use.
type Model struct {
	id     string
	config bert.Config
	tokens *bert.Tokenizer

	mu      sync.Mutex // serialises the device, and with it the building of graphs
	exec    *graph.Exec
	weights []any
}

// Open loads the model in dir onto a backend: config.json, tokenizer.json, tokenizer_config.json, model.safetensors, as Hugging
// Face's BertForSequenceClassification with one label writes them.
func Open(dir string, be compute.Backend) (*Model, error) {
	defer osmem.GiveBack() // loading leaves much behind
	m := &Model{}
	if err := m.load(dir, be); err != nil {
		return nil, fmt.Errorf("load reranker from %s: %w", dir, err)
	}
	return m, nil
}

func (m *Model) load(dir string, be compute.Backend) error {
	file, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return err
	}
	if m.config, err = bert.ParseConfig(file); err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	if m.tokens, err = bert.OpenTokenizer(dir); err != nil {
		return err
	}
	if file, err = os.ReadFile(filepath.Join(dir, "model.safetensors")); err != nil {
		return err
	}
	m.id = fmt.Sprintf("reranker@sha256:%.4x", sha256.Sum256(file))
	all, err := bert.ParseWeights(file)
	if err != nil {
		return fmt.Errorf("model.safetensors: %w", err)
	}
	if _, ok := all["classifier.weight"]; !ok {
		return errors.New("model.safetensors: no tensor \"classifier.weight\"; this is an encoder, not a cross-encoder")
	}
	weights, err := m.config.PairWeights(all)
	if err != nil {
		return fmt.Errorf("model.safetensors: %w", err)
	}
	for _, w := range weights {
		m.weights = append(m.weights, tensors.FromFlatDataAndDimensions(w.Data, w.Dims...))
	}
	if m.exec, err = graph.NewExec(be, m.config.Pairs); err != nil {
		return err
	}
	m.exec.SetMaxCache(-1) // batches come in few shapes
	return nil
}

// ID is the model's kind and the start of the SHA-256 of its weights.
func (m *Model) ID() string { return m.id }

// Pair returns the tokens of a question and a turn as the model reads them: [CLS] question [SEP] turn [SEP].
func Pair(t *bert.Tokenizer, question, turn string) bert.Row {
	q, p := t.Encode(question), t.Encode(turn)
	q = q[:min(len(q), MaxQuestionTokens)]
	ids := append(append([]int{t.CLS}, q...), t.SEP)
	first := len(ids)
	p = p[:min(len(p), MaxPairTokens-first-1)]
	return bert.Row{IDs: append(append(ids, p...), t.SEP), First: first}
}

// Tokens is how many tokens the model reads to score the turns.
func (m *Model) Tokens(question string, turns []string) int {
	n := 0
	for _, t := range turns {
		n += len(Pair(m.tokens, question, t).IDs)
	}
	return n
}

// Score returns a score a turn, in order: what the log-odds of its being evidence change by, up to a constant of the question.
func (m *Model) Score(ctx context.Context, question string, turns []string) ([]float64, error) {
	rows := make([]bert.Row, len(turns))
	for i, turn := range turns {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("rerank: %w", err)
		}
		rows[i] = Pair(m.tokens, question, turn)
		rows[i].Index = i
	}
	out := make([]float64, len(turns))
	for _, b := range bert.Batches(rows) {
		if err := m.run(ctx, b, out); err != nil {
			return nil, fmt.Errorf("rerank %d turns: %w", len(turns), err)
		}
	}
	return out, nil
}

func (m *Model) run(ctx context.Context, b bert.Batch, out []float64) error {
	ids, lengths, firsts := b.Inputs()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.exec == nil {
		return errors.New("the reranker is closed")
	}
	args := append([]any{
		tensors.FromFlatDataAndDimensions(ids, b.Size, b.Length),
		tensors.FromFlatDataAndDimensions(lengths, b.Size),
		tensors.FromFlatDataAndDimensions(firsts, b.Size),
	}, m.weights...)
	result, err := m.exec.Call1(args...)
	for _, input := range args[:3] {
		err = errors.Join(err, input.(*tensors.Tensor).FinalizeAll())
	}
	if err != nil {
		return err
	}
	scores, err := tensors.CopyFlatData[float32](result)
	if err = errors.Join(err, result.FinalizeAll()); err != nil {
		return err
	}
	for i, r := range b.Rows {
		out[r.Index] = float64(scores[i])
	}
	return nil
}

// Close frees the weights. A Score after it fails.
func (m *Model) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.exec == nil {
		return nil
	}
	m.exec.Finalize()
	m.exec = nil
	var err error
	for _, w := range m.weights {
		err = errors.Join(err, w.(*tensors.Tensor).FinalizeAll())
	}
	m.weights = nil
	return err
}
