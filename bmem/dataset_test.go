package bmem

import (
	"errors"
	"slices"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
)

func TestOpenDataset(t *testing.T) {
	words := &embedtest.Words{}
	m := open(t, Options{Embedder: words, Tokenizer: words})
	conversation := DatasetConversation{Dataset: "mine", ID: "team", Hash: "0123456789abcdef", Turns: talk}
	// What an earlier version put there is taken over, without being embedded again.
	if _, err := m.Add(t.Context(), "mine/team@0123456789ab/256", talk); err != nil {
		t.Fatal(err)
	}
	embedded := words.Embedded.Load()
	opened := func(c DatasetConversation) *DatasetMemory {
		t.Helper()
		d, err := m.OpenDataset(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := m.holds(t.Context(), d.Name, c.Turns); err != nil || !same {
			t.Errorf("%s does not hold the conversation as it is (%v)", d.Name, err)
		}
		return d
	}
	d := opened(conversation)
	if infos, err := m.Memories(t.Context()); err != nil || len(infos) != 1 || infos[0].Name != d.Name || words.Embedded.Load() != embedded {
		t.Errorf("%+v, %v, %d texts embedded, want %d", infos, err, words.Embedded.Load(), embedded)
	}
	// The name tells the turns, not the questions about them.
	conversation.Hash = "fedcba9876543210"
	if again := opened(conversation); again.Name != d.Name || again.Check(t.Context()) != nil || d.Check(t.Context()) != nil {
		t.Errorf("opened again as %s, %v, %v", again.Name, again.Check(t.Context()), d.Check(t.Context()))
	}
	if longer := opened(DatasetConversation{"mine", "team", "", append(slices.Clone(talk), chunk.Turn{ID: "4:1", Session: "4", Text: "Bye."})}); longer.Name == d.Name {
		t.Error("another edition has the same memory")
	}
	if err := d.Check(t.Context()); err != nil {
		t.Error(err)
	}
	// Any change is seen, and put back in the conversation's order by the next opening.
	for what, change := range map[string]func() error{
		"a speaker": func() error { _, err := m.ForgetSpeaker(t.Context(), "", "Ann"); return err },
		"all":       func() error { _, err := m.ForgetMemory(t.Context(), d.Name); return err },
		"a turn":    func() error { _, err := m.ForgetTurns(t.Context(), d.Name, "1:2"); return err },
		"an edit": func() error {
			return m.Edit(t.Context(), d.Name, chunk.Turn{ID: "2:1", Time: "9 June 2024", Speaker: "Ann", Text: "The harp arrived."})
		},
		"a new turn": func() error {
			_, err := m.Add(t.Context(), d.Name, []chunk.Turn{{ID: "9:1", Session: "9", Text: "More."}})
			return err
		},
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if err := d.Check(t.Context()); !errors.Is(err, ErrMemoryChanged) {
			t.Errorf("%s: %v", what, err)
		}
		before := d
		if d = opened(conversation); d.Name != before.Name || d.Check(t.Context()) != nil {
			t.Errorf("%s: reopened as %s, %v", what, d.Name, d.Check(t.Context()))
		}
		if err := before.Check(t.Context()); !errors.Is(err, ErrMemoryChanged) {
			t.Errorf("%s: put back under a question that was asked: %v", what, err)
		}
	}
}

func TestIsDataset(t *testing.T) {
	m := open(t, Options{})
	d, err := m.OpenDataset(t.Context(), DatasetConversation{Dataset: "d", ID: "c", Turns: talk})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{d.Name: true, "locomo/conv-26@0123456789ab/256": true, "hotpotqa/a/b@0123456789ab/64": true,
		"talk": false, "ann/talk": false, "ann/talk@0123456789ab": false, "conversation 0123": false, "a/b/c": false} {
		if got := IsDataset(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
