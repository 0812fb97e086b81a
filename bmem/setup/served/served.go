// Package served has a running `bmem serve` on this machine run the models, so that a program links no engine and a notebook's
// cell, which is a new program each time, need not load weights. Models have the names of their weights, as in process: caches,
// memories and traces are the same in both.
package served

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/serve/registry"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/openai"
)

const (
	// patience is how long a call may take: it may wait for others, and for a model to be loaded.
	patience = time.Hour
	// countLimit is how long it may take to count a prompt's tokens.
	countLimit = time.Minute
)

// Engine is a setup.Engine. Opening models is for one goroutine at a time.
type Engine struct {
	url     string
	backend string
}

// New returns the engine of the server at a base URL, such as http://127.0.0.1:8177/v1; "" means the one that notebooks share,
// or the one that BUDGETMEM_SERVER names. The server's token, if it wants one, is read from BUDGETMEM_SERVE_TOKEN. The server
// is looked for with the first model.
func New(url string) *Engine { return &Engine{url: url} }

// Name implements setup.Engine: what the server computes with, such as "xla:cpu".
func (e *Engine) Name() string { return e.backend }

// Close implements setup.Engine. The server keeps its models open.
func (e *Engine) Close() error { return nil }

// Embedder implements setup.Engine. Only the tokenizer is opened here, from dir.
func (e *Engine) Embedder(ctx context.Context, name, dir string) (setup.Encoder, error) {
	tokens, err := embed.OpenTokenizer(dir)
	if err != nil {
		return nil, err
	}
	client, is, err := e.open(ctx, name, "embedding")
	if err != nil {
		return nil, err
	}
	return &encoder{tokens, client, is.ID, is.Dim}, nil
}

// Model implements setup.Engine. The server opens the model by its name, if it can.
func (e *Engine) Model(ctx context.Context, name, _ string) (llm.Client, error) {
	client, is, err := e.open(ctx, name, "chat")
	if err != nil {
		return nil, err
	}
	return &model{client, is.ID}, nil
}

// identity is what the server says of a model.
type identity struct {
	Kind    string `json:"kind"`
	ID      string `json:"id"`
	Dim     int    `json:"dim"`
	Backend string `json:"backend"`
}

// open has the server open a model of a kind.
func (e *Engine) open(ctx context.Context, name, kind string) (*openai.Client, identity, error) {
	var is identity
	url, err := e.find(ctx)
	if err != nil {
		return nil, is, fmt.Errorf("open model %s: %w", name, err)
	}
	endpoint := openai.Endpoint{BaseURL: url}
	if os.Getenv(registry.EnvToken) != "" {
		endpoint.KeyEnv = []string{registry.EnvToken}
	}
	client, err := openai.New(openai.Config{Model: name, Endpoints: []openai.Endpoint{endpoint}, Timeout: patience, Exact: true})
	if err != nil {
		return nil, is, err
	}
	_, _, err = llm.Do(ctx, llm.Retry{Attempts: 3}, func(ctx context.Context) (struct{}, llm.Usage, error) {
		return struct{}{}, llm.Usage{}, client.Call(ctx, "open", map[string]string{"model": name}, &is)
	})
	switch {
	case err != nil:
		return nil, is, fmt.Errorf("open model %s at the server %s: %w", name, url, err)
	case is.Kind != kind || is.ID == "":
		return nil, is, fmt.Errorf("open model %s at the server %s: it is of kind %q, want %q: is the server `bmem serve` of this version?", name, url, is.Kind, kind)
	}
	e.backend = is.Backend
	return client, is, nil
}

func (e *Engine) find(ctx context.Context) (string, error) {
	if e.url == "" {
		url, err := registry.Find(ctx)
		if err != nil {
			return "", err
		}
		e.url = url
	}
	return strings.TrimRight(e.url, "/"), nil
}

// model is a language model of the server: llm.Client, llm.Scorer and llm.TokenCounter.
type model struct {
	*openai.Client
	id string
}

// ID names the weights, as in process.
func (m *model) ID() string { return m.id }

// Score implements llm.Scorer.
func (m *model) Score(ctx context.Context, reqs []llm.ScoreRequest) ([]llm.Score, llm.Usage, error) {
	start := time.Now()
	var answer struct {
		Scores []llm.Score `json:"scores"`
		Usage  struct {
			In  int `json:"prompt_tokens"`
			Out int `json:"completion_tokens"`
		} `json:"usage"`
	}
	err := m.Call(ctx, "score", map[string]any{"model": m.Model(), "requests": reqs}, &answer)
	if err == nil && len(answer.Scores) != len(reqs) {
		err = fmt.Errorf("%d scores for %d requests", len(answer.Scores), len(reqs))
	}
	usage := llm.Usage{Calls: 1, In: answer.Usage.In, Out: answer.Usage.Out, MS: float64(time.Since(start)) / float64(time.Millisecond)}
	if err != nil {
		usage.Failed = 1
		return nil, usage, fmt.Errorf("scoring with %s: %w", m.Model(), err)
	}
	return answer.Scores, usage, nil
}

// CountTokens implements llm.TokenCounter.
func (m *model) CountTokens(messages []llm.Message) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), countLimit)
	defer cancel()
	var answer struct {
		Tokens int `json:"tokens"`
	}
	if err := m.Call(ctx, "tokens", map[string]any{"model": m.Model(), "messages": messages}, &answer); err != nil {
		return 0, fmt.Errorf("count tokens with %s: %w", m.Model(), err)
	}
	return answer.Tokens, nil
}

// encoder is an embedder of the server.
type encoder struct {
	embed.Tokenizer
	client *openai.Client
	id     string
	dim    int
}

// ID names the weights, as in process.
func (e *encoder) ID() string { return e.id }

// Dim is the width of the vectors.
func (e *encoder) Dim() int { return e.dim }

// Embed implements embed.Embedder.
func (e *encoder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	some := make([]string, len(texts))
	for i, text := range texts {
		some[i] = cmp.Or(text, " ") // an endpoint refuses an empty text, which has the same tokens: none
	}
	vectors, _, err := e.client.Embeddings(ctx, "", some)
	return vectors, err
}
