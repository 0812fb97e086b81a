package openai

import (
	"context"
	"fmt"
	"time"

	goopenai "github.com/sashabaranov/go-openai"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Embeddings returns the vector of each text as the endpoint gives it, in the order of the texts: [n, d] float32, not
// scaled to unit length. model "" means the configured one. Texts go in batches, each retried like a chat. The usage has
// the tokens of all batches, and no dollars: Price.Dollars(usage.In, 0) is what they cost. On error it covers what was
// consumed until then.
func (c *Client) Embeddings(ctx context.Context, model string, texts []string) ([][]float32, llm.Usage, error) {
	if model == "" {
		model = c.config.Model
	}
	var total llm.Usage
	out := make([][]float32, 0, len(texts))
	for len(out) < len(texts) {
		batch := texts[len(out):min(len(out)+c.config.EmbedBatch, len(texts))]
		vectors, u, err := llm.Do(ctx, c.config.Retry, func(ctx context.Context) ([][]float32, llm.Usage, error) {
			return c.embedBatch(ctx, model, batch)
		})
		total = total.Add(u)
		if err != nil {
			return nil, total, fmt.Errorf("embed %d texts from text %d on with %s at %s: %w", len(batch), len(out)+1, model, c.config.Family, err)
		}
		out = append(out, vectors...)
		if len(vectors[0]) != len(out[0]) {
			return nil, total, fmt.Errorf("embed with %s at %s: vectors of width %d and %d: the endpoint serves two models under one name",
				model, c.config.Family, len(out[0]), len(vectors[0]))
		}
	}
	return out, total, nil
}

// embedBatch makes one attempt.
func (c *Client) embedBatch(ctx context.Context, model string, texts []string) ([][]float32, llm.Usage, error) {
	start := time.Now()
	x := &exchange{}
	u := llm.Usage{}
	var vectors [][]float32
	err := c.try(ctx, x, func(ctx context.Context, r route) error {
		u.Calls = 1
		reply, err := r.api.CreateEmbeddings(ctx, goopenai.EmbeddingRequest{Input: texts, Model: goopenai.EmbeddingModel(model)})
		if err != nil {
			return err
		}
		u.In = reply.Usage.PromptTokens
		vectors, err = inOrder(reply.Data, len(texts))
		if err != nil {
			return &llm.Error{Kind: llm.ErrUnavailable, Status: x.status, Err: err, Message: c.snippet(x.body)}
		}
		return nil
	})
	u.MS = float64(time.Since(start)) / float64(time.Millisecond)
	if err != nil {
		u.Failed = u.Calls
	}
	return vectors, u, err
}

// inOrder puts the vectors where their index says, and refuses an answer that is not one vector of one width a text.
func inOrder(data []goopenai.Embedding, n int) ([][]float32, error) {
	if len(data) != n {
		return nil, fmt.Errorf("%d vectors for %d texts", len(data), n)
	}
	out := make([][]float32, n)
	for _, d := range data {
		if d.Index < 0 || d.Index >= n || out[d.Index] != nil {
			return nil, fmt.Errorf("index %d occurs twice or lies outside 0 to %d", d.Index, n-1)
		}
		if len(d.Embedding) == 0 || len(d.Embedding) != len(data[0].Embedding) {
			return nil, fmt.Errorf("vector %d has width %d, others %d", d.Index, len(d.Embedding), len(data[0].Embedding))
		}
		out[d.Index] = d.Embedding
	}
	return out, nil
}
