package retrieve

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/bmem/store"
)

// counting counts the texts that are embedded, each once.
type counting struct {
	bagEmbedder
	texts map[string]bool
}

func (c counting) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	for _, t := range texts {
		c.texts[t] = true
	}
	return c.bagEmbedder.Embed(ctx, texts)
}

// asking is a question of the memory m, whose store keeps what e embeds.
func asking(t *testing.T, s *store.Store, e embed.Embedder, text string) Query {
	q := ask(t, text)
	q.Embed = func(ctx context.Context, texts []string) ([][]float32, error) { return s.Vectors(ctx, "m", e, texts) }
	return q
}

// Nothing is embedded before there is a question, then what it finds, once. What it finds is forgotten with the memory.
func TestEmbedsWhatIsFound(t *testing.T) {
	var turns []chunk.Turn
	for i := range 400 {
		turn := talk()[i%8]
		turn.ID, turn.Session = fmt.Sprint(i), fmt.Sprint(i/20)
		turn.Text += fmt.Sprintf(" Item %d came up.", i)
		turns = append(turns, turn)
	}
	for _, mode := range []Mode{BM25, Rerank} {
		s, e := newStore(t, turns), counting{texts: map[string]bool{}}
		r, err := Load(t.Context(), s, e, "m", mode, LoadOptions{})
		if err != nil || len(e.texts) > 0 {
			t.Fatalf("%s: %d texts are embedded before a question (%v)", mode, len(e.texts), err)
		}
		for range 2 {
			hits, err := r.Retrieve(t.Context(), asking(t, s, e, "What was item 77?"), 5)
			if err != nil || len(hits) != 5 || !slices.Contains(hits[0].TurnIDs(), "77") || len(hits[4].Vector) != e.Dim() {
				t.Fatalf("%s: %v (%v)", mode, hits, err)
			}
		}
		most := 5
		if mode == Rerank {
			most = 3 * rerankedChunks * (1 + len(turns)/r.Len())
		}
		if n := len(e.texts); n == 0 || n > most {
			t.Errorf("%s: %d texts are embedded, want at most %d", mode, n, most)
		}
		clear(e.texts)
		if again, err := Load(t.Context(), s, e, "m", mode, LoadOptions{}); err != nil {
			t.Error(err)
		} else if _, err := again.Retrieve(t.Context(), asking(t, s, e, "What was item 77?"), 5); err != nil || len(e.texts) > 0 {
			t.Errorf("%s: %d texts are embedded again (%v)", mode, len(e.texts), err)
		}
		failing, cancel := context.WithCancel(t.Context())
		cancel()
		if hits, err := r.Retrieve(failing, asking(t, s, e, "And item 78?"), 5); !errors.Is(err, context.Canceled) || hits != nil {
			t.Errorf("%s: %d hits (%v)", mode, len(hits), err)
		}
	}
}

// With every chunk a candidate and Hybrid's weights, Rerank is Hybrid.
func TestRerankOfAllIsHybrid(t *testing.T) {
	s := newStore(t, talk())
	var found [2][]Hit
	for i, mode := range []Mode{Hybrid, Rerank} {
		r, err := Load(t.Context(), s, bagEmbedder{}, "m", mode, LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if r.ranker.(*hybrid).model, err = fittedHybrid(); err != nil {
			t.Fatal(err)
		}
		if found[i], err = r.Retrieve(t.Context(), ask(t, "What did Ann make in the pottery class?"), 100); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(found[0], found[1]) {
		t.Errorf("hybrid %v\nrerank %v", found[0], found[1])
	}
}

// What a question may not see keeps nothing from being found.
func TestHiddenTurnsAreNoCandidates(t *testing.T) {
	var turns []chunk.Turn
	for i := range 800 {
		turn := talk()[i%8]
		turn.ID, turn.Session = fmt.Sprint(i), fmt.Sprint(i/200)
		if i >= 200 {
			turn.Text += " And the pottery class was fun, the blue bowl too."
		}
		turns = append(turns, turn)
	}
	for _, mode := range Modes() {
		r, err := Load(t.Context(), newStore(t, turns), bagEmbedder{}, "m", mode, LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if h, ok := r.ranker.(*hybrid); ok {
			h.exhaustive, h.perRanking = 0, rerankedChunks
		}
		q := ask(t, "What was the blue bowl of the pottery class?")
		q.Sees = func(turn chunk.Turn, _ time.Time) bool { return turn.Session == "0" }
		hits, err := r.Retrieve(t.Context(), q, 5)
		if err != nil || len(hits) != 5 {
			t.Errorf("%s finds %d chunks (%v)", mode, len(hits), err)
		}
	}
}

// blocking waits before it embeds.
type blocking struct {
	bagEmbedder
	called, goOn chan struct{}
}

func (b blocking) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	b.called <- struct{}{}
	select {
	case <-b.goOn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return b.bagEmbedder.Embed(ctx, texts)
}

// A memory grows, and others ask it, while a question waits for what it embeds.
func TestEmbedsBesideChanges(t *testing.T) {
	for _, mode := range []Mode{BM25, Rerank} {
		s, e := newStore(t, talk()), blocking{called: make(chan struct{}, 8), goOn: make(chan struct{})}
		r, err := Load(t.Context(), s, e, "m", mode, LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		found := make(chan []Hit, 1)
		go func() {
			hits, err := r.Retrieve(t.Context(), asking(t, s, e, "pottery class"), 3)
			if err != nil {
				t.Error(err)
			}
			found <- hits
		}()
		<-e.called
		before := r.Len()
		added := chunk.Turn{ID: "D3:1", Session: "D3", Speaker: "Ann", Text: "Another pottery class."}
		if _, err := s.Append(t.Context(), "m", []chunk.Turn{added}, store.Cutter{Count: func(s string) int { return len(s) }, MaxTokens: 40}, store.AddOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := r.Refresh(t.Context()); err != nil || r.Len() != before+1 {
			t.Errorf("%s: %d chunks, were %d (%v)", mode, r.Len(), before, err)
		}
		close(e.goOn)
		if hits := <-found; len(hits) != 3 {
			t.Errorf("%s: %d hits", mode, len(hits))
		}
	}
}

func TestRerankRefusesOtherWidths(t *testing.T) {
	r, err := Load(t.Context(), newStore(t, talk()), bagEmbedder{}, "m", Rerank, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, width := range []int{0, 16, 64} {
		if _, err := r.Retrieve(t.Context(), Query{Text: "pottery", Vector: make([]float32, width), Embed: bagEmbedder{}.Embed}, 3); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("width %d", width)) {
			t.Errorf("a question of width %d: %v", width, err)
		}
	}
}

// A memory that is forgotten while it is asked leaves no vectors behind.
func TestForgottenWhileItIsAsked(t *testing.T) {
	cut := store.Cutter{Count: func(s string) int { return len(s) }, MaxTokens: 40}
	for _, mode := range []Mode{BM25, Rerank} {
		s, e := newStore(t, talk()), blocking{called: make(chan struct{}, 8), goOn: make(chan struct{})}
		r, err := Load(t.Context(), s, e, "m", mode, LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = r.Retrieve(t.Context(), asking(t, s, e, "pottery class"), 3) // that it finds what was there is as well as an error
		}()
		<-e.called
		if _, err := s.Forget(t.Context(), store.Selection{Memory: "m", All: true}); err != nil {
			t.Fatal(err)
		}
		close(e.goOn)
		<-done
		if _, err := s.Append(t.Context(), "m", talk(), cut, store.AddOptions{}); err != nil {
			t.Fatal(err)
		}
		fresh := counting{texts: map[string]bool{}}
		again, err := Load(t.Context(), s, fresh, "m", mode, LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		hits, err := again.Retrieve(t.Context(), asking(t, s, fresh, "pottery class"), 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hits {
			if !fresh.texts[h.Text()] {
				t.Errorf("%s: the vector of %q was there still", mode, h.Text())
			}
		}
	}
}
