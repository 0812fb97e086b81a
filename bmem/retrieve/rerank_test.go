package retrieve

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
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
			hits, err := r.Retrieve(t.Context(), ask(t, "What was item 77?"), 5)
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
		} else if _, err := again.Retrieve(t.Context(), ask(t, "What was item 77?"), 5); err != nil || len(e.texts) > 0 {
			t.Errorf("%s: %d texts are embedded again (%v)", mode, len(e.texts), err)
		}
		failing, cancel := context.WithCancel(t.Context())
		cancel()
		if hits, err := r.Retrieve(failing, ask(t, "And item 78?"), 5); !errors.Is(err, context.Canceled) || hits != nil {
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
