package embed

import (
	"context"
	"fmt"

	"github.com/gomlx/compute"

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

	program *bert.Program
}

// OpenMiniLM loads the model in dir (config.json, tokenizer.json, tokenizer_config.json, model.safetensors) onto a backend.
// The first text of each length bucket compiles a graph, which takes up to a second on XLA.
func OpenMiniLM(dir string, be compute.Backend) (*MiniLM, error) {
	defer osmem.GiveBack() // loading leaves much behind
	m := &MiniLM{}
	if err := m.load(dir, be); err != nil {
		return nil, fmt.Errorf("load embedder from %s: %w", dir, err)
	}
	return m, nil
}

func (m *MiniLM) load(dir string, be compute.Backend) error {
	f, err := bert.Read(dir)
	if err != nil {
		return err
	}
	weights, err := f.Config.Weights(f.Tensors)
	if err != nil {
		return fmt.Errorf("model.safetensors: %w", err)
	}
	m.id = fmt.Sprintf("all-MiniLM-L6-v2@sha256:%.4x", f.SHA256)
	m.config, m.tokens = f.Config, f.Tokens
	m.program, err = bert.NewProgram(be, m.config.Embeddings, weights)
	return err
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
	flat, err := m.program.Run(ctx, b, ids, lengths)
	if err != nil {
		return err
	}
	d := m.Dim()
	for i, r := range b.Rows {
		out[r.Index] = flat[i*d : (i+1)*d : (i+1)*d]
	}
	return nil
}

// Close frees the weights. An Embed after it fails.
func (m *MiniLM) Close() error { return m.program.Close() }

// OpenTokenizer opens the tokenizer of the model in dir (tokenizer.json, tokenizer_config.json) without its weights, to
// measure chunks where another process embeds them.
func OpenTokenizer(dir string) (Tokenizer, error) {
	t, err := bert.OpenTokenizer(dir)
	if err != nil {
		return nil, fmt.Errorf("load tokenizer from %s: %w", dir, err)
	}
	return t, nil
}
