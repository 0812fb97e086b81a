package openai

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Embeddings returns the vector of each text as the endpoint gives it, in the order of the texts: [n, d] float32, not
// scaled to unit length. Texts go in batches, each retried as Config.Retry says; an endpoint that takes fewer texts gets
// smaller batches. The usage has the tokens of all batches and no dollars; see Embedder. On error it covers what was
// consumed until then. Errors are *llm.Error.
func (c *Client) Embeddings(ctx context.Context, texts []string) ([][]float32, llm.Usage, error) {
	return c.inBatches(ctx, texts, func(ctx context.Context, batch []string) ([][]float32, llm.Usage, error) {
		return llm.Do(ctx, c.config.Retry, func(ctx context.Context) ([][]float32, llm.Usage, error) { return c.embed(ctx, batch) })
	})
}

// Embedder is Embeddings with prices, spend limits and retries around each batch: see llm.StackEmbedder. The error is an
// llm.ErrUnpriced.
func (c *Client) Embedder(o llm.StackOptions) (llm.EmbedFunc, error) {
	batch, err := llm.StackEmbedder(c.config.Model, c.embed, o)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, texts []string) ([][]float32, llm.Usage, error) {
		return c.inBatches(ctx, texts, batch)
	}, nil
}

// inBatches embeds texts by calls that are not larger than the endpoint takes.
func (c *Client) inBatches(ctx context.Context, texts []string, embed llm.EmbedFunc) ([][]float32, llm.Usage, error) {
	var total llm.Usage
	out := make([][]float32, 0, len(texts))
	for len(out) < len(texts) {
		batch := texts[len(out):min(len(out)+c.learned.now().batch, len(texts))]
		vectors, u, err := embed(ctx, batch)
		total = total.Add(u)
		if err != nil && c.smallerBatch(err, len(batch)) {
			total.Failed -= u.Failed
			total.Calls -= u.Calls // the same texts are sent again
			continue
		}
		if err != nil {
			return nil, total, fmt.Errorf("embed %d texts from text %d on with %s: %w%s", len(batch), len(out)+1, c.config.Model, err, advice(err))
		}
		out = append(out, vectors...)
		if len(vectors[0]) != len(out[0]) {
			return nil, total, fmt.Errorf("embed with %s: vectors of width %d and %d: the endpoint serves two models under one name",
				c.config.Model, len(out[0]), len(vectors[0]))
		}
	}
	return out, total, nil
}

// embed makes one attempt: it is an llm.EmbedFunc.
func (c *Client) embed(ctx context.Context, texts []string) ([][]float32, llm.Usage, error) {
	start := time.Now()
	u := llm.Usage{Calls: 1}
	request := map[string]any{"model": c.config.Model, "input": texts}
	for name, value := range c.config.Settings.Parameters {
		if value != nil {
			request[name] = value
		}
	}
	var vectors [][]float32
	err := c.try(ctx, http.MethodPost, "embeddings", mustJSON(request), func(x *exchange) error {
		reply, err := readEmbeddings(x.body)
		if err != nil {
			return c.unreadable(x, err)
		}
		if reply.said.words != "" {
			return c.errorInReply(x, chatReply{said: reply.said})
		}
		if u.In = reply.tokens; u.In == 0 && !c.config.Exact {
			u.In = 0
			for _, text := range texts {
				u.In += len(text)
			}
		}
		if vectors, err = inOrder(reply.data, len(texts)); err != nil { // the same texts would get the same reply
			return &llm.Error{Kind: llm.ErrUnavailable, Status: x.status, Final: true, Err: err, Message: c.snippet(x.body)}
		}
		return nil
	})
	u.MS = float64(time.Since(start)) / float64(time.Millisecond)
	if err != nil && !sent(err) {
		u.Calls = 0
	}
	if err != nil {
		u.Failed = u.Calls
	}
	return vectors, u, err
}

// inOrder puts the vectors where their index says, or takes them in order where none has an index or they
// count from another number than 0. It refuses an answer that is not one vector of one width a text.
func inOrder(data []vector, n int) ([][]float32, error) {
	if len(data) != n {
		return nil, fmt.Errorf("%d vectors for %d texts", len(data), n)
	}
	indexed, counted := false, true
	for i, d := range data {
		indexed = indexed || d.index >= 0
		counted = counted && d.index == data[0].index+i
	}
	indexed = indexed && !counted
	out := make([][]float32, n)
	for i, d := range data {
		at := d.index
		if !indexed {
			at = i
		}
		if at < 0 || at >= n || out[at] != nil {
			return nil, fmt.Errorf("index %d occurs twice or lies outside 0 to %d", at, n-1)
		}
		if len(d.values) == 0 || len(d.values) != len(data[0].values) {
			return nil, fmt.Errorf("vector %d has width %d, others %d", at, len(d.values), len(data[0].values))
		}
		out[at] = d.values
	}
	return out, nil
}
