package embed

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

// MiniLM embeds texts with a BERT encoder from local files: tokens, encoder, mean over the tokens, unit length. It is
// made for sentence-transformers/all-MiniLM-L6-v2 (d = 384). A text of more than 254 tokens is cut there, as
// sentence-transformers does it: what comes after has no influence on the vector.
type MiniLM struct {
	id     string
	config bert.Config
	tokens *bert.Tokenizer

	mu      sync.Mutex // serialises the device, and with it the building of graphs, which GoMLX wants
	exec    *graph.Exec
	weights []any
	ran     map[[2]int]bool // sizes of batches
}

// OpenMiniLM loads the model in dir (config.json, tokenizer.json, tokenizer_config.json, model.safetensors) onto a backend.
// The first text of each length bucket compiles a graph, which takes up to a second on XLA.
func OpenMiniLM(dir string, be compute.Backend) (*MiniLM, error) {
	defer osmem.GiveBack() // loading leaves much behind
	m := &MiniLM{ran: map[[2]int]bool{}}
	if err := m.load(dir, be); err != nil {
		return nil, fmt.Errorf("load embedder from %s: %w", dir, err)
	}
	return m, nil
}

func (m *MiniLM) load(dir string, be compute.Backend) error {
	read := func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }
	file, err := read("config.json")
	if err != nil {
		return err
	}
	if m.config, err = bert.ParseConfig(file); err != nil {
		return fmt.Errorf("config.json: %w", err)
	}
	if m.tokens, err = bert.OpenTokenizer(dir); err != nil {
		return err
	}
	if file, err = read("model.safetensors"); err != nil {
		return err
	}
	m.id = fmt.Sprintf("all-MiniLM-L6-v2@sha256:%x", sha256.Sum256(file))[:len("all-MiniLM-L6-v2@sha256:")+8]
	all, err := bert.ParseWeights(file)
	if err != nil {
		return fmt.Errorf("model.safetensors: %w", err)
	}
	weights, err := m.config.Weights(all)
	if err != nil {
		return fmt.Errorf("model.safetensors: %w", err)
	}
	for _, w := range weights {
		m.weights = append(m.weights, tensors.FromFlatDataAndDimensions(w.Data, w.Dims...))
	}
	if m.exec, err = graph.NewExec(be, m.config.Embeddings); err != nil {
		return err
	}
	m.exec.SetMaxCache(-1) // batch bounds the number of shapes
	return nil
}

// ID is the model's name and the start of the SHA-256 of its weights.
func (m *MiniLM) ID() string { return m.id }

// Dim is the width of the vectors.
func (m *MiniLM) Dim() int { return m.config.Hidden }

// Count is the number of tokens of text, special tokens left out and nothing cut.
func (m *MiniLM) Count(text string) int { return m.tokens.Count(text) }

// Encode returns the token ids of text, [CLS] first and [SEP] last, nothing cut.
func (m *MiniLM) Encode(text string) []int {
	return append(append([]int{m.tokens.CLS}, m.tokens.Encode(text)...), m.tokens.SEP)
}

// Embed returns one unit vector a text, in order: [n, d] float32. Safe for concurrent use.
func (m *MiniLM) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	rows := make([]bert.Row, len(texts))
	for i, text := range texts {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("tokenise text %d of %d: %w", i+1, len(texts), err)
		}
		ids := m.Encode(text)
		if len(ids) > bert.MaxTokens {
			ids = append(ids[:bert.MaxTokens-1], m.tokens.SEP)
		}
		rows[i] = bert.Row{Index: i, IDs: ids}
	}
	out := make([][]float32, len(texts))
	done := 0
	for _, b := range bert.Batches(rows) {
		if err := m.run(ctx, b, out); err != nil {
			return nil, fmt.Errorf("embed texts (%d of %d done): %w", done, len(texts), err)
		}
		done += len(b.Rows)
	}
	return out, nil
}

// run embeds one batch into the rows' places of out.
func (m *MiniLM) run(ctx context.Context, b bert.Batch, out [][]float32) error {
	ids, lengths, _ := b.Inputs()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.exec == nil {
		return errors.New("the embedder is closed")
	}
	args := append([]any{
		tensors.FromFlatDataAndDimensions(ids, b.Size, b.Length),
		tensors.FromFlatDataAndDimensions(lengths, b.Size),
	}, m.weights...)
	result, err := m.exec.Call1(args...)
	for _, input := range args[:2] {
		err = errors.Join(err, input.(*tensors.Tensor).FinalizeAll())
	}
	if err != nil {
		return err
	}
	if size := [2]int{b.Size, b.Length}; !m.ran[size] {
		m.ran[size] = true
		osmem.GiveBack() // compiling leaves much behind
	}
	flat, err := tensors.CopyFlatData[float32](result)
	if err = errors.Join(err, result.FinalizeAll()); err != nil {
		return err
	}
	d := m.Dim()
	for i, r := range b.Rows {
		out[r.Index] = flat[i*d : (i+1)*d : (i+1)*d]
	}
	return nil
}

// Close frees the weights. An Embed after it fails.
func (m *MiniLM) Close() error {
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

// OpenTokenizer opens the tokenizer of the model in dir (tokenizer.json, tokenizer_config.json) without its weights, to
// measure chunks where another process embeds them.
func OpenTokenizer(dir string) (Tokenizer, error) {
	t, err := bert.OpenTokenizer(dir)
	if err != nil {
		return nil, fmt.Errorf("load tokenizer from %s: %w", dir, err)
	}
	return t, nil
}
