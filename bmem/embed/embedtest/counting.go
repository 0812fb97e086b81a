package embedtest

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"
)

// Counting makes vectors [Width] float32 of the hashes of texts, and counts what it embeds. Make one with NewCounting; set Width, Delay
// and Fail before it is used, and read the counts when no call is under way.
type Counting struct {
	Width int
	Delay time.Duration        // of each call
	Fail  func(call int) error // asked with the number of each call, from 1; nil for none
	Calls int                  // so far
	Texts map[string]int       // how often each was embedded
	Total int                  // of Texts

	id string
	mu sync.Mutex
}

// NewCounting returns an embedder of that id with vectors of 8 numbers.
func NewCounting(id string) *Counting { return &Counting{Width: 8, Texts: map[string]int{}, id: id} }

// ID implements embed.Embedder.
func (c *Counting) ID() string { return c.id }

// Dim implements embed.Embedder.
func (c *Counting) Dim() int { return c.Width }

// Embed implements embed.Embedder.
func (c *Counting) Embed(_ context.Context, texts []string) ([][]float32, error) {
	time.Sleep(c.Delay)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Calls++
	if c.Fail != nil {
		if err := c.Fail(c.Calls); err != nil {
			return nil, err
		}
	}
	c.Total += len(texts)
	vectors := make([][]float32, len(texts))
	for i, text := range texts {
		c.Texts[text]++
		vectors[i] = c.Vector(text)
	}
	return vectors, nil
}

// Vector is that of a text.
func (c *Counting) Vector(text string) []float32 {
	sum := sha256.Sum256([]byte(c.id + text))
	v := make([]float32, c.Width)
	for i := range v {
		v[i] = float32(sum[i]) / 3
	}
	return v
}
