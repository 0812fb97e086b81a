package bmem

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
)

// However many histories are asked, only so many chunks of them stay ready; the others are read again and not embedded again.
func TestOpenChunksBoundsWhatIsKept(t *testing.T) {
	ctx := context.Background()
	e := &embedtest.Words{}
	m := open(t, Options{Path: filepath.Join(t.TempDir(), "memory.db"), Embedder: e, Tokenizer: e, OpenChunks: 7})
	name := func(i int) string { return fmt.Sprint("talk ", i) }
	for i := range 5 {
		if _, err := m.Add(ctx, name(i), talk); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Retrieve(ctx, "Where?", WithMemory(name(i))); err != nil {
			t.Fatal(err)
		}
	}
	v := view{name(4), m.options.Retrieval}
	size := m.open.get(v).chunks
	if size < 2 || size > 3 {
		t.Fatalf("a history has %d chunks; the test wants two or three to fit into seven", size)
	}
	if n := m.open.recent.Len(); n != 7/size {
		t.Errorf("%d histories of %d chunks are kept where 7 chunks are let be", n, size)
	}
	embedded := e.Embedded.Load()
	for i := range 5 {
		hits, err := m.Retrieve(ctx, "Where did Ann move?", WithMemory(name(i)), WithTopK(1))
		if err != nil || len(hits) != 1 {
			t.Fatalf("%s: %v, %v", name(i), hits, err)
		}
	}
	if n := e.Embedded.Load() - embedded; n != 1 { // the question
		t.Errorf("reading histories again embedded %d texts", n-1)
	}
	if m.open.chunks > 7 {
		t.Errorf("%d chunks are kept, 7 are let be", m.open.chunks)
	}
	m.open.forget(name(4))
	if m.open.recent.Contains(v) || m.open.chunks > 7-size {
		t.Errorf("after a history was forgotten %d chunks are kept", m.open.chunks)
	}
}

func TestALargeHistoryIsKept(t *testing.T) {
	m := open(t, Options{OpenChunks: 1})
	for _, name := range []string{"a", "b"} {
		if _, err := m.Add(t.Context(), name, talk); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Retrieve(t.Context(), "Where?", WithMemory(name)); err != nil {
			t.Fatal(err)
		}
	}
	if keys := m.open.recent.Keys(); len(keys) != 1 || keys[0].memory != "b" {
		t.Errorf("kept are %v, want the last one", keys)
	}
}

// A memory that another process forgets and makes again under its name is read again: what was kept open of it says what is forgotten.
func TestMemoryMadeAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "memory.db")
	m, other := open(t, Options{Path: path}), open(t, Options{Path: path})
	say := func(texts ...string) {
		t.Helper()
		if _, err := other.ForgetMemory(t.Context(), "talk"); err != nil && !errors.Is(err, ErrNoMemory) {
			t.Fatal(err)
		}
		for i, text := range texts {
			if _, err := other.Add(t.Context(), "talk", []chunk.Turn{{ID: fmt.Sprint(i), Session: fmt.Sprint(i), Text: text}}); err != nil {
				t.Fatal(err)
			}
		}
		hits, err := m.Retrieve(t.Context(), "What is it?", WithMemory("talk"), WithTopK(9))
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, h := range hits {
			for _, turn := range h.Turns {
				found = append(found, turn.Text)
			}
		}
		slices.Sort(found)
		if !slices.Equal(found, texts) {
			t.Errorf("found %q, want %q", found, texts)
		}
	}
	say("It is a cat.")
	say("It is a dog.")
	say("It is a bird.", "It is a newt.")
	say("It is a fox.")
}
