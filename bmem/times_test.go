package bmem

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/bmem/retrieve"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// A question that may see no turn is not answered out of nothing: no model is asked, whatever ranks.
func TestNoTurnsThen(t *testing.T) {
	model := &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) { return "cat", nil }}
	m := open(t, Options{Client: model})
	if _, err := m.Add(t.Context(), "talk", talk); err != nil {
		t.Fatal(err)
	}
	day := func(month, n int) time.Time { return time.Date(2024, time.Month(month), n, 0, 0, 0, 0, time.UTC) }
	for _, mode := range retrieve.Modes() {
		for want, opts := range map[string][]Option{
			"no turns before 2024-01-01":                               {WithBefore(day(1, 1))},
			"no turns from 2024-08-01":                                 {WithAfter(day(8, 1))},
			"no turns from 2024-05-04 and before 2024-06-01":           {WithAfter(day(5, 4)), WithBefore(day(6, 1))},
			"no turns from 2024-05-04 and before 2024-05-04T10:00:00Z": {WithAfter(day(5, 4)), WithBefore(day(5, 4).Add(10 * time.Hour))},
		} {
			a, err := m.Ask(t.Context(), "What lives here?", append(opts, WithMemory("talk"), WithRetrieval(mode))...)
			if !errors.Is(err, ErrNoTurnsThen) || err.Error() != want || a.Text != "" {
				t.Errorf("%s: answer %q, error %v, want %q", mode, a.Text, err, want)
			}
		}
		// What can be seen is found, also if it shares no word with the question.
		if _, err := m.Ask(t.Context(), "Xyzzy?", WithMemory("talk"), WithRetrieval(mode), WithBefore(day(5, 4))); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
	if n := model.Calls(); n != len(retrieve.Modes()) {
		t.Errorf("%d calls of the model, want one for each mode", n)
	}
}

// A memory whose mode embeds what is found embeds nothing when turns are added, and what it embeds for a question is in the trace.
func TestEmbeddingIsCounted(t *testing.T) {
	for _, mode := range retrieve.Modes() {
		e := &countingEmbedder{}
		m := open(t, Options{Embedder: e, Tokenizer: e, Retrieval: mode, Client: &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) { return "cat", nil }}})
		if _, err := m.Add(t.Context(), "talk", talk); err != nil || (e.texts > 0) != mode.EmbedsAll() {
			t.Errorf("%s: %d texts are embedded when turns are added (%v)", mode, e.texts, err)
		}
		added := e.texts
		a, err := m.Ask(t.Context(), "What lives here?", WithMemory("talk"), WithTiers("low"))
		if err != nil {
			t.Fatal(err)
		}
		if n := a.Trace.Embedding.Texts; n < e.texts-added || (n > 1) == mode.EmbedsAll() {
			t.Errorf("%s: the trace has %d texts, %d were embedded", mode, n, e.texts-added)
		}
	}
}

// countingEmbedder counts the texts that it embeds.
type countingEmbedder struct {
	embedtest.Words
	texts int
}

func (c *countingEmbedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	c.texts += len(texts)
	return c.Words.Embed(ctx, texts)
}
