// Package embedtest has an embedder for tests that needs no model.
package embedtest

import (
	"context"
	"hash/fnv"
	"math"
	"strings"
	"sync/atomic"
)

const dim = 64

// Words embeds a text as its bag of words, hashed into unit vectors [64] float32, and counts words as tokens. The zero
// value is ready.
type Words struct {
	// Embedded counts the texts embedded so far.
	Embedded atomic.Int64
}

// ID implements embed.Embedder.
func (w *Words) ID() string { return "words-64" }

// Dim implements embed.Embedder.
func (w *Words) Dim() int { return dim }

// Count implements embed.Tokenizer.
func (w *Words) Count(text string) int { return len(strings.Fields(text)) }

// Embed implements embed.Embedder.
func (w *Words) Embed(_ context.Context, texts []string) ([][]float32, error) {
	w.Embedded.Add(int64(len(texts)))
	out := make([][]float32, len(texts))
	for i, text := range texts {
		v := make([]float32, dim)
		v[0] = 1 // so that a text without words has a direction too
		for _, word := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return r < 'a' || r > 'z' }) {
			h := fnv.New32a()
			h.Write([]byte(word))
			v[1+h.Sum32()%(dim-1)]++
		}
		var sum float64
		for _, x := range v {
			sum += float64(x) * float64(x)
		}
		for j := range v {
			v[j] /= float32(math.Sqrt(sum))
		}
		out[i] = v
	}
	return out, nil
}
