// Package served runs models in a `bmem serve` on this machine, so that a program links no engine, and a notebook's cell,
// which is a new program each time, does not load weights. Models are identified by their weights, as in process, so caches,
// memories and traces are the same either way.
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
	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/serve/registry"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
	"github.com/budgetmem/budgetmem/tiers/llm/openai"
)

const (
	// patience is how long a call may take, waiting for other calls and for the model to be loaded included.
	patience = time.Hour
	// countLimit is how long it may take to count a prompt's tokens.
	countLimit = time.Minute
)

// Engine is a setup.Engine. Only one goroutine at a time may open models.
type Engine struct {
	url     string
	backend string
}

// New returns the engine of the server at a base URL, such as http://127.0.0.1:8177/v1; "" means the one in BUDGETMEM_SERVER,
// or else the one that notebooks share. The server's token, if it requires one, is read from BUDGETMEM_SERVE_TOKEN. The
// server is looked for when the first model is opened.
func New(url string) *Engine { return &Engine{url: url} }

// Name implements setup.Engine: the server's backend, such as "xla:cpu".
func (e *Engine) Name() string { return e.backend }

// Close implements setup.Engine. The server keeps its models open.
func (e *Engine) Close() error { return nil }

// Embedder implements setup.Engine. Only the tokenizer is opened here, from dir.
func (e *Engine) Embedder(ctx context.Context, name, dir string) (setup.Encoder, error) {
	tokens, err := embed.OpenTokenizer(dir)
	if err != nil {
		return nil, err
	}
	client, is, err := e.open(ctx, name, api.Embedding)
	if err != nil {
		return nil, err
	}
	return &encoder{tokens, client, is.ID, is.Dim}, nil
}

// Model implements setup.Engine. The server opens the model by its name, with the adapter of the name's last part. An adapter that
// is another one there than in the folder here is an error.
func (e *Engine) Model(ctx context.Context, name, path, folder string) (llm.Client, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, fmt.Errorf("open reranker %s: a server opens none; answer in this process instead", name)
	}
	client, is, err := e.open(ctx, name, api.Chat)
	if err != nil {
		return nil, err
	}
	m := &model{Client: client, id: is.ID}
	if folder == "" {
		return m, nil
	}
	a, err := adapter.ReadOf(folder, is.ID)
	if err != nil {
		return nil, fmt.Errorf("open model %s: %w", name, err)
	}
	m.template, m.templateHash = a.Info.Template, a.Info.TemplateHash
	return m, nil
}

// open has the server open a model of a kind.
func (e *Engine) open(ctx context.Context, name string, kind api.Kind) (*openai.Client, api.OpenReply, error) {
	var is api.OpenReply
	url, err := e.find(ctx)
	if err != nil {
		return nil, is, fmt.Errorf("open model %s: %w", name, err)
	}
	endpoint := openai.Endpoint{BaseURL: url}
	if os.Getenv(api.EnvToken) != "" {
		endpoint.KeyEnv = []string{api.EnvToken}
	}
	client, err := openai.New(openai.Config{Model: name, Endpoints: []openai.Endpoint{endpoint}, Timeout: patience, Exact: true})
	if err != nil {
		return nil, is, err
	}
	_, _, err = llm.Do(ctx, llm.Retry{Attempts: 3}, func(ctx context.Context) (struct{}, llm.Usage, error) {
		return struct{}{}, llm.Usage{}, client.Call(ctx, api.PathOpen, api.OpenRequest{Model: name}, &is)
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

// model is a language model of the server: llm.Client, llm.Scorer, llm.TokenCounter and llm.Tuned.
type model struct {
	*openai.Client
	id                     string
	template, templateHash string // of a tuned model; "" for another
}

// PromptTemplate implements llm.Tuned.
func (m *model) PromptTemplate() (name, sha256 string) { return m.template, m.templateHash }

// ID identifies the weights, as in process.
func (m *model) ID() string { return m.id }

// Score implements llm.Scorer.
func (m *model) Score(ctx context.Context, reqs []llm.ScoreRequest) ([]llm.Score, llm.Usage, error) {
	start := time.Now()
	var answer api.ScoreReply
	err := m.Call(ctx, api.PathScore, api.ScoreRequest{Model: m.Model(), Requests: reqs}, &answer)
	if err == nil && len(answer.Scores) != len(reqs) {
		err = fmt.Errorf("%d scores for %d requests", len(answer.Scores), len(reqs))
	}
	usage := llm.Usage{Calls: 1, In: answer.Usage.PromptTokens, Out: answer.Usage.CompletionTokens, MS: float64(time.Since(start)) / float64(time.Millisecond)}
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
	var answer api.TokensReply
	if err := m.Call(ctx, api.PathTokens, api.TokensRequest{Model: m.Model(), Messages: messages}, &answer); err != nil {
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

// ID identifies the weights, as in process.
func (e *encoder) ID() string { return e.id }

// Dim is the width of the vectors.
func (e *encoder) Dim() int { return e.dim }

// Embed implements embed.Embedder.
func (e *encoder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	some := make([]string, len(texts))
	for i, text := range texts {
		some[i] = cmp.Or(text, " ") // an endpoint refuses an empty text, which has the same tokens: none
	}
	vectors, _, err := e.client.Embeddings(ctx, some)
	return vectors, err
}
