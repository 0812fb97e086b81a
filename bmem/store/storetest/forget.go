package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/chunk/chunktest"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/bmem/store"
)

// After any sequence of changes the chunks hold exactly the turns that are there, in their order, and every chunk name is unique.
func editAndForgetKeepTheRest(t *testing.T, p Place) {
	e := &embedtest.Words{}
	s := p.open(t)
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 2))
		name, want := fmt.Sprint("m", seed), randomTurns(rng, 30)
		add(t, s, name, want)
		for step := range 12 {
			switch i := rng.IntN(len(want)); rng.IntN(3) {
			case 0:
				if _, err := s.Forget(t.Context(), store.Selection{Memory: name, Turns: []string{want[i].ID}}); err != nil {
					t.Fatal(err)
				}
				want = slices.Delete(slices.Clone(want), i, i+1)
			case 1:
				want = slices.Clone(want)
				want[i].Text = strings.Repeat(fmt.Sprintf("new%d ", step), 1+rng.IntN(70)) + "end."
				if err := s.Edit(t.Context(), name, want[i], cutter); err != nil {
					t.Fatal(err)
				}
			case 2:
				more := randomTurns(rng, 2)
				for j := range more {
					more[j].ID = fmt.Sprint("n", step, "-", j)
				}
				add(t, s, name, more)
				want = append(slices.Clone(want), more...)
			}
			got := memoryOf(t, s, name)
			if !reflect.DeepEqual(got.Turns, want) {
				t.Fatalf("seed %d, step %d: the turns differ", seed, step)
			}
			if again := chunktest.Join(got.Chunks); !reflect.DeepEqual(again, want) {
				t.Fatalf("seed %d, step %d: the chunks hold other turns\n%v\n%v", seed, step, again, want)
			}
			names := map[string]bool{}
			for _, c := range got.Chunks {
				if names[c.ID] {
					t.Fatalf("seed %d, step %d: two chunks %s", seed, step, c.ID)
				}
				names[c.ID] = true
			}
			ix, err := s.ReadIndex(t.Context(), name, e, true, -1, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range ix.Chunks {
				vectors, _ := e.Embed(t.Context(), textsOf(c.Chunk))
				if !reflect.DeepEqual(append([][]float32{c.Vector}, c.TurnVectors...), vectors) {
					t.Fatalf("seed %d, step %d: chunk %s has other vectors", seed, step, c.ID)
				}
			}
		}
	}
}

// What is forgotten, edited or expired is nowhere in the store, at once.
func forgottenTextIsGone(t *testing.T, p Place) {
	ctx, e := t.Context(), &embedtest.Words{}
	s := p.open(t)
	for name, forget := range map[string]func() error{
		"turn": func() error {
			return second(s.Forget(ctx, store.Selection{Memory: "turn", Turns: []string{"secret"}}))
		},
		"session": func() error {
			session := "hidden"
			return second(s.Forget(ctx, store.Selection{Memory: "session", Session: &session}))
		},
		"speaker everywhere": func() error {
			speaker := "Rita"
			return second(s.Forget(ctx, store.Selection{Speaker: &speaker}))
		},
		"memory": func() error { return second(s.Forget(ctx, store.Selection{Memory: "memory", All: true})) },
		"edit": func() error {
			return s.Edit(ctx, "edit", chunk.Turn{ID: "secret", Speaker: "Ann", Text: "Nothing to see."}, cutter)
		},
		"expiry": func() error {
			return s.SetExpiry(ctx, "expiry", time.Now().Add(-time.Second), []string{"secret"})
		},
		"expiry of the memory": func() error {
			return s.SetExpiry(ctx, "expiry of the memory", time.Now().Add(-time.Second), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			turns := chunktest.History(200)
			turns[100] = chunk.Turn{ID: "secret", Session: "hidden", Speaker: "Rita", Text: "My passport number is ZYXWORD, keep it. " + strings.Repeat("QQLONG filler words follow here. ", 40)}
			for _, part := range [][]chunk.Turn{turns[:75], turns[75:125], turns[125:]} {
				add(t, s, name, part)
				if err := s.Embed(ctx, name, e, true, nil); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range memoryOf(t, s, name).Chunks {
				if _, err := s.Facts(ctx, "rules", c, func(context.Context) ([]string, error) { return []string{"fact: " + c.Text()}, nil }); err != nil {
					t.Fatal(err)
				}
			}
			if len(p.Holds(t, "ZYXWORD")) == 0 || len(p.Holds(t, "QQLONG")) == 0 {
				t.Fatal("the test does not see the text where it is")
			}
			if err := forget(); err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"ZYXWORD", "QQLONG"} {
				if places := p.Holds(t, text); len(places) > 0 {
					t.Errorf("%s is left in %v", text, places)
				}
			}
			if err := s.Check(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// replies notes what it was told to forget.
type replies struct {
	sources map[string]bool
	calls   int
}

func (r *replies) Forget(_ context.Context, sources map[string]bool, _ func(string) bool) error {
	r.sources = sources
	r.calls++
	return nil
}

// Replies that were made from what is forgotten are forgotten, also where that is known only when the store is opened next.
func repliesAreForgottenOnce(t *testing.T, p Place) {
	s := p.open(t)
	add(t, s, "m", chunktest.History(3))
	if _, err := s.Forget(t.Context(), store.Selection{Memory: "m", Turns: []string{"t1"}}); err != nil {
		t.Fatal(err)
	}
	var r replies
	s = p.open(t)
	if err := s.ForgetIn(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	if r.calls != 1 || !r.sources[string(store.SourceOf(chunktest.History(3)[1].Text))] || r.sources[string(store.SourceOf(chunktest.History(3)[0].Text))] {
		t.Errorf("%d calls, %d sources", r.calls, len(r.sources))
	}
	if err := p.open(t).ForgetIn(t.Context(), &r); err != nil || r.calls != 1 {
		t.Errorf("called %d times (%v)", r.calls, err)
	}
}
