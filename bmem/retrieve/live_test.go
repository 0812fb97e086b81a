package retrieve

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// A refresh that was cancelled while it read the memory as a whole leaves nothing behind that the next one trips over.
func TestCancelledRebuild(t *testing.T) {
	wide := cutter
	wide.MaxTokens = 40 // so that the last chunk grows
	all := talk()
	for _, mode := range Modes() {
		for from := 1; from < len(all); from++ {
			for to := from + 1; to <= len(all); to++ {
				t.Run(fmt.Sprint(mode, from, to), func(t *testing.T) {
					s := newStore(t, nil)
					add := func(turns []chunk.Turn) {
						t.Helper()
						if _, err := s.Append(t.Context(), "m", turns, wide, store.AddOptions{}); err != nil {
							t.Fatal(err)
						}
					}
					add(all[:from])
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					refuse := false
					l, err := Load(t.Context(), s, bagEmbedder{}, "m", mode, LoadOptions{Prepare: func(_ []chunk.Chunk, _ text.Language, whole bool) bool {
						if refuse && whole {
							cancel()
						}
						return whole || !refuse
					}})
					if err != nil {
						t.Fatal(err)
					}
					add(all[from:to])
					refuse = true
					_ = l.Refresh(ctx) // a rebuild of few chunks may be done before it looks at ctx
					refuse = false
					if err := l.Refresh(t.Context()); err != nil {
						t.Fatal(err)
					}
					fresh, err := Load(t.Context(), s, bagEmbedder{}, "m", mode, LoadOptions{})
					if err != nil {
						t.Fatal(err)
					}
					q := ask(t, "Where did Bo's sister move?")
					q.Sees = func(chunk.Turn, time.Time) bool { return true }
					got, err := l.Retrieve(t.Context(), q, 2)
					if err != nil {
						t.Fatal(err)
					}
					want, err := fresh.Retrieve(t.Context(), q, 2)
					if err != nil {
						t.Fatal(err)
					}
					if l.Len() != fresh.Len() || len(got) != len(want) {
						t.Fatalf("%d chunks, %d hits, want %d and %d", l.Len(), len(got), fresh.Len(), len(want))
					}
					for i := range want {
						if fmt.Sprint(got[i].TurnIDs()) != fmt.Sprint(want[i].TurnIDs()) {
							t.Errorf("hit %d has turns %v, want %v", i, got[i].TurnIDs(), want[i].TurnIDs())
						}
					}
				})
			}
		}
	}
}
