// Package retrieve ranks the chunks of a memory for a question: dense, BM25, or both fused.
package retrieve

import (
	"context"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// Query is a question and its unit embedding [d] float32.
type Query struct {
	Text   string
	Vector []float32
}

// Hit is a retrieved chunk.
type Hit struct {
	chunk.Chunk
	// Vector is the chunk's unit embedding [d] float32.
	Vector []float32
	// Score is the mode's own score; larger is better.
	Score float64
	// TurnScores holds one score a turn of the chunk (larger is better, comparable within one query); nil in modes that rank chunks only.
	TurnScores []float64
}

// Retriever ranks the chunks of one memory.
type Retriever interface {
	// Retrieve returns at most k hits, best first; ties are broken by the chunks' order.
	Retrieve(ctx context.Context, q Query, k int) ([]Hit, error)
}
