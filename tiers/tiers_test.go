package tiers

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// realItems returns three chunks of a real conversation as retrieval would: with unit vectors [4] and turn scores.
func realItems(t testing.TB) []Item {
	t.Helper()
	data, err := os.ReadFile("testdata/locomo_train_chunks.json")
	if err != nil {
		t.Fatal(err)
	}
	var chunks []chunk.Chunk
	if err := json.Unmarshal(data, &chunks); err != nil {
		t.Fatal(err)
	}
	items := make([]Item, len(chunks))
	for i, c := range chunks {
		items[i] = Item{Chunk: c, Score: float64(len(chunks) - i), Vector: []float32{0, 0, 0, 0}}
		items[i].Vector[i] = 1
		for _, turn := range c.Turns {
			score := 0.0
			if strings.Contains(turn.Text, "yesterday") {
				score = 1
			}
			items[i].TurnScores = append(items[i].TurnScores, score)
		}
	}
	return items
}

const realQuery = "When did Caroline go to the LGBTQ support group?"

func realInput(t testing.TB) Input {
	return Input{Query: realQuery, QueryVector: []float32{0.6, 0, 0.8, 0}, Items: realItems(t), TopK: 2}
}
