package setup

import (
	"context"

	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Engine runs the models that lie on this machine. It is apart from the rest of the set-up so that a program which has
// another process run them need not hold an engine itself.
type Engine interface {
	// Name says what computes, for reports; it may be "" until something is opened.
	Name() string
	// Embedder opens the embedder of this name, whose files lie in a folder.
	Embedder(ctx context.Context, name, dir string) (Encoder, error)
	// Model opens the language model of this name, with nothing around it, from its GGUF file, with the adapter in a folder if
	// one is given; or a reranker, if the path is that of its folder.
	Model(ctx context.Context, name, path, adapter string) (llm.Client, error)
	// Close closes everything that was opened.
	Close() error
}

// Encoder embeds texts and measures chunks.
type Encoder interface {
	embed.Embedder
	embed.Tokenizer
}
