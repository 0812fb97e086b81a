// Package chunktest makes conversations for tests.
package chunktest

import (
	"context"
	"fmt"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// MaxTokens is the size of the chunks that Split cuts, in the tokens of Count.
const MaxTokens = 20

// Count counts words as tokens.
func Count(text string) int { return len(strings.Fields(text)) }

// History makes n turns, five a session, which Split cuts two a chunk.
func History(n int) []chunk.Turn {
	words := []string{"piano", "camping", "pottery", "adoption", "violin", "marathon", "sunrise"}
	turns := make([]chunk.Turn, n)
	for i := range turns {
		turns[i] = chunk.Turn{ID: fmt.Sprint("t", i), Session: fmt.Sprint("s", i/5), Speaker: "Ann", Time: "8 May 2023",
			Text: fmt.Sprintf("I talked about %s and day %d.", words[i%len(words)], i)}
	}
	return turns
}

// Split cuts turns into chunks of at most MaxTokens.
func Split(turns []chunk.Turn) []chunk.Chunk {
	chunks, err := chunk.Split(context.Background(), turns, Count, MaxTokens)
	if err != nil {
		panic(err) // the context does not end
	}
	return chunks
}

// Join puts the turns of chunks together again, those too that were cut into parts.
func Join(chunks []chunk.Chunk) []chunk.Turn {
	var turns []chunk.Turn
	for _, c := range chunks {
		for _, t := range c.Turns {
			if n := len(turns); n > 0 && turns[n-1].ID == t.ID {
				turns[n-1].Text += " " + t.Text
			} else {
				turns = append(turns, t)
			}
		}
	}
	return turns
}
