package bmem

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// Replies that quote what is forgotten go with it, those that say what they were made from and those of earlier versions; the
// others stay.
func TestForgettingReachesTheReplies(t *testing.T) {
	dir := t.TempDir()
	cache, err := llm.OpenCache(filepath.Join(dir, "replies.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	model := &llmtest.Client{Reply: func(_ context.Context, req llm.Request) (string, error) {
		return "Reply to: " + req.Messages[len(req.Messages)-1].Content, nil
	}}
	client, err := llm.Stack(model, llm.StackOptions{Cache: cache, Prices: llm.DefaultPrices().AllowUnpriced("test-model")})
	if err != nil {
		t.Fatal(err)
	}
	m := open(t, Options{Path: filepath.Join(dir, "memory.db"), Client: client, Replies: cache, Tiers: tiers.Implementation})
	secret := chunk.Turn{ID: "4:1", Session: "4", Speaker: "Ann", Text: "My passport number is ZYXWORD."}
	if _, err := m.Add(t.Context(), "talk", append(append([]chunk.Turn{}, talk...), secret)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Ask(t.Context(), "What is the passport number?", WithMemory("talk"), WithTiers("low"), WithTopK(1)); err != nil {
		t.Fatal(err)
	}
	for _, question := range []string{"An old reply about zyxword", "Something else of old"} { // made from nothing that is known
		if _, err := client.Chat(t.Context(), llm.Request{Messages: []llm.Message{{Role: "user", Content: question}}}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := cache.Check(t.Context()); err != nil || n != 3 {
		t.Fatalf("%d replies (%v)", n, err)
	}
	if _, err := m.ForgetTurns(t.Context(), "talk", "4:1"); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.ToLower(string(data)), "zyxword") {
			t.Errorf("the text is left in %s", f)
		}
	}
	if n, err := cache.Check(t.Context()); err != nil || n != 1 {
		t.Errorf("%d replies are left (%v), want the one that has nothing to do with it", n, err)
	}
}
