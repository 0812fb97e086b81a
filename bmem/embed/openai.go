package embed

import (
	"context"
	"fmt"
	"math"
)

// Func asks an endpoint for the vectors of texts: one a text, in order, of any length. With an OpenAI-compatible endpoint
// it is the method Embeddings of a client of tiers/llm/openai, in a closure that does what the caller wants with the usage.
type Func func(ctx context.Context, texts []string) ([][]float32, error)

// OpenAI embeds at an OpenAI-compatible endpoint. Batches, retries and costs are its Func's matter.
type OpenAI struct {
	id   string
	dim  int
	call Func
}

// NewOpenAI returns an embedder on call. Endpoint is the base URL and model the name that the endpoint knows the model by:
// both go into the ID, and so does dim, the width of the vectors. If dim is 0, one word is embedded to learn it.
func NewOpenAI(ctx context.Context, endpoint, model string, dim int, call Func) (*OpenAI, error) {
	if dim <= 0 {
		vectors, err := call(ctx, []string{"width"})
		if err == nil && (len(vectors) != 1 || len(vectors[0]) == 0) {
			err = fmt.Errorf("the reply to one text holds %d vectors", len(vectors))
		}
		if err != nil {
			return nil, fmt.Errorf("learn the width of %s's vectors at %s: %w", model, endpoint, err)
		}
		dim = len(vectors[0])
	}
	return &OpenAI{id: fmt.Sprintf("%s@%s#%d", model, endpoint, dim), dim: dim, call: call}, nil
}

// ID is the model's name, the endpoint and the width.
func (o *OpenAI) ID() string { return o.id }

// Dim is the width of the vectors.
func (o *OpenAI) Dim() int { return o.dim }

// Embed returns one unit vector a text, in order: [n, d] float32. Vectors of another width than Dim are an error. Safe for concurrent
// use if the Func is.
func (o *OpenAI) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	vectors, err := o.call(ctx, texts)
	if err != nil {
		return nil, fmt.Errorf("embed %d texts with %s: %w", len(texts), o.id, err)
	}
	if len(vectors) != len(texts) {
		return nil, fmt.Errorf("embed with %s: %d vectors for %d texts", o.id, len(vectors), len(texts))
	}
	out := make([][]float32, len(vectors))
	for i, v := range vectors {
		if len(v) != o.dim {
			return nil, fmt.Errorf("embed with %s: vector %d has width %d instead of %d", o.id, i, len(v), o.dim)
		}
		if out[i], err = unit(v); err != nil {
			return nil, fmt.Errorf("embed with %s: vector %d: %w", o.id, i, err)
		}
	}
	return out, nil
}

// unit returns v scaled to length 1.
func unit(v []float32) ([]float32, error) {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	length := math.Sqrt(sum)
	if length == 0 || math.IsNaN(length) || math.IsInf(length, 0) {
		return nil, fmt.Errorf("length %g cannot be scaled to 1", length)
	}
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(float64(x) / length)
	}
	return out, nil
}
