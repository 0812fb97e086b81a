// Package embed turns texts into unit vectors: MiniLM on GoMLX in process, or any OpenAI-compatible embeddings endpoint.
package embed

import "context"

// Embedder maps texts to unit-length vectors.
type Embedder interface {
	// ID identifies model and weights, for example "all-MiniLM-L6-v2@sha256:1a2b3c4d". Vectors of different ids never mix.
	ID() string
	// Dim is the width d of the vectors.
	Dim() int
	// Embed returns one unit vector a text, in order: [n, d] float32. Safe for concurrent use.
	Embed(ctx context.Context, texts []string) ([][]float32, error)
}

// Tokenizer cuts texts by the tokens that chunk sizes are measured in.
type Tokenizer interface {
	// Count is the number of tokens of text, special tokens left out.
	Count(text string) int
}
