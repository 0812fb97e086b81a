package bmem

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
)

func turnsOf(t *testing.T, m *Memory, name string) []chunk.Turn {
	t.Helper()
	var turns []chunk.Turn
	for turn, err := range m.AllTurns(t.Context(), name) {
		if err != nil {
			t.Fatal(err)
		}
		turns = append(turns, turn.Turn)
	}
	return turns
}

// However a conversation changes, its one memory holds it as it is, and no file holds what is gone from it.
func TestSyncFollowsAConversation(t *testing.T) {
	dir := t.TempDir()
	e := &embedtest.Words{}
	m := open(t, Options{Path: filepath.Join(dir, "memory.db"), Embedder: e, Tokenizer: e})
	secret := chunk.Turn{ID: "4:1", Session: "4", Speaker: "Ann", Text: "My passport number is ZYXWORD."}
	edited := append([]chunk.Turn{}, talk...)
	edited[1].Text = "Nice, I gave up looking."
	swapped := append([]chunk.Turn{talk[1], talk[0]}, talk[2:]...)
	var name string
	for step, now := range [][]chunk.Turn{append(append([]chunk.Turn{}, talk...), secret), talk, edited, talk[1:], swapped, talk} {
		got, err := m.Sync(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		if name == "" {
			name = got
		}
		if got != name {
			t.Errorf("step %d: another memory", step)
		}
		if held := turnsOf(t, m, name); !reflect.DeepEqual(held, now) {
			t.Errorf("step %d: it holds %v, want %v", step, held, now)
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
			if step > 0 && strings.Contains(string(data), "ZYXWORD") {
				t.Errorf("step %d: forgotten text is left in %s", step, f)
			}
		}
	}
	if infos, err := m.Memories(t.Context()); err != nil || len(infos) != 1 {
		t.Errorf("memories %v (%v)", infos, err)
	}
	before := e.Embedded.Load()
	if _, err := m.Sync(t.Context(), talk); err != nil || e.Embedded.Load() != before {
		t.Errorf("the same again embedded %d texts (%v)", e.Embedded.Load()-before, err)
	}
	other := []chunk.Turn{{ID: "1:1", Session: "1", Text: "Something else."}}
	if got, err := m.Sync(t.Context(), other); err != nil || got == name {
		t.Errorf("another conversation got the same memory (%v)", err)
	}
}

// A question sees at once what another opening of the file added, changed or forgot.
func TestChangesAreSeenAtOnce(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "memory.db")
	a, b := open(t, Options{Path: path}), open(t, Options{Path: path})
	best := func() string {
		t.Helper()
		found, err := a.Search(ctx, "Who plays the harp?", WithMemory("talk"))
		if err != nil {
			t.Fatal(err)
		}
		return found[0].Text
	}
	if _, err := b.Add(ctx, "talk", talk); err != nil {
		t.Fatal(err)
	}
	best()
	if _, err := b.Add(ctx, "talk", []chunk.Turn{{ID: "new", Session: "3", Speaker: "Bob", Text: "Rita plays the harp."}}); err != nil {
		t.Fatal(err)
	}
	if got := best(); got != "Rita plays the harp." {
		t.Errorf("after an addition: %q", got)
	}
	if err := b.Edit(ctx, "talk", chunk.Turn{ID: "new", Speaker: "Bob", Text: "Omar plays the harp."}); err != nil {
		t.Fatal(err)
	}
	if got := best(); got != "Omar plays the harp." {
		t.Errorf("after an edit: %q", got)
	}
	if _, err := b.ForgetTurns(ctx, "talk", "new"); err != nil {
		t.Fatal(err)
	}
	if got := best(); strings.Contains(got, "harp") {
		t.Errorf("after forgetting: %q", got)
	}
}

func TestParseExpiry(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"never": {}, "36h": now.Add(36 * time.Hour), "30d": now.AddDate(0, 0, 30), "2w": now.AddDate(0, 0, 14),
		"2026-03-01": time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), "2026-03-01T12:00:00Z": time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	} {
		if got, err := ParseExpiry(in, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v (%v), want %v", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "soon", "-3d", "0h", "1e9d"} {
		if _, err := ParseExpiry(bad, now); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
