package bmem

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/conversation"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
)

// A history with a picture in a turn, as exports of chats have it, is added at once, and its text is found.
func TestAddWithAPicture(t *testing.T) {
	talk, err := conversation.ReadFile("testdata/picture.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	m := open(t, Options{})
	start := time.Now()
	if _, err := m.Add(t.Context(), DefaultMemory, talk.Turns); err != nil {
		t.Fatal(err)
	}
	hits, err := m.Retrieve(t.Context(), "Where do they meet?", WithTopK(1))
	if err != nil || len(hits) != 1 || !strings.Contains(hits[0].Text(), "[attachment: image/png, ") || len(hits[0].Text()) > 1000 {
		t.Errorf("got %.300v (%v)", hits, err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

// slowWords is a tokenizer that takes a millisecond for each text.
type slowWords struct{ embedtest.Words }

func (w *slowWords) Count(s string) int {
	time.Sleep(time.Millisecond)
	return w.Words.Count(s)
}

// A cancel ends an Add in the middle of cutting, and nothing is added.
func TestAddStopsWithinASecond(t *testing.T) {
	m := open(t, Options{Tokenizer: &slowWords{}, Embedder: &embedtest.Words{}})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	_, err := m.Add(ctx, DefaultMemory, []chunk.Turn{{ID: "1", Session: "1", Text: strings.Repeat("a long text of many words ", 1<<17)}})
	if took := time.Since(start); !errors.Is(err, context.Canceled) || took > time.Second {
		t.Errorf("%v after %s", err, took)
	}
	if _, err := m.Retrieve(t.Context(), "words?"); !errors.Is(err, ErrNoMemory) {
		t.Errorf("something was added: %v", err)
	}
}
