package bmem

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
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
		got, err := m.Sync(t.Context(), now, WithSource("talk.jsonl"))
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
	if _, err := m.Sync(t.Context(), talk, WithSource("talk.jsonl")); err != nil || e.Embedded.Load() != before {
		t.Errorf("the same again embedded %d texts (%v)", e.Embedded.Load()-before, err)
	}
	other := []chunk.Turn{{ID: "1:1", Session: "1", Text: "Something else."}}
	if got, err := m.Sync(t.Context(), other); err != nil || got == name {
		t.Errorf("another conversation got the same memory (%v)", err)
	}
}

// Conversations that share turns are memories of their own, and no file's memory loses a turn to another file.
func TestSyncLosesNothing(t *testing.T) {
	e := &embedtest.Words{}
	m := open(t, Options{Embedder: e, Tokenizer: e})
	own := func(n int) []chunk.Turn {
		return []chunk.Turn{{ID: "4:1", Session: "4", Text: strings.Repeat("Only here. ", n)}, {ID: "5:1", Session: "5", Text: strings.Repeat("Here too. ", n)},
			{ID: "6:1", Session: "6", Text: strings.Repeat("And here. ", n)}, {ID: "7:1", Session: "7", Text: strings.Repeat("As well. ", n)}}
	}
	files := map[string][]chunk.Turn{
		"a":       append(append([]chunk.Turn{}, talk...), own(1)...),
		"b":       append(append([]chunk.Turn{}, talk...), own(2)...), // shares half
		"excerpt": talk[:2],
		"copy":    append(append([]chunk.Turn{}, talk...), own(1)[:3]...), // lacks one
	}
	names := map[string]string{}
	for range 2 {
		for _, file := range []string{"a", "b", "excerpt", "copy"} {
			name, err := m.Sync(t.Context(), files[file], WithSource("/dir/"+file))
			if err != nil {
				t.Fatal(err)
			}
			if names[file] != "" && names[file] != name {
				t.Errorf("%s: another memory the second time", file)
			}
			names[file] = name
		}
		for file, turns := range files {
			if held := turnsOf(t, m, names[file]); !reflect.DeepEqual(held, turns) {
				t.Errorf("%s: it holds %v", file, held)
			}
		}
	}
	if infos, err := m.Memories(t.Context()); err != nil || len(infos) != len(files) {
		t.Errorf("%d memories of %d files (%v)", len(infos), len(files), err)
	}

	// A file that moved is another memory, for which nothing is embedded again.
	before := e.Embedded.Load()
	grown := append(append([]chunk.Turn{}, files["b"]...), chunk.Turn{ID: "8:1", Session: "8", Text: "Grown."})
	if _, err := m.Sync(t.Context(), grown, WithSource("/elsewhere/b")); err != nil {
		t.Fatal(err)
	}
	if n := e.Embedded.Load() - before; n > 2 {
		t.Errorf("%d texts were embedded for one turn", n)
	}
	if infos, err := m.Memories(t.Context()); err != nil || len(infos) != len(files)+1 {
		t.Errorf("%d memories after a file moved (%v)", len(infos), err)
	}

	// Without a source, what shares half is another conversation; what has changed in a turn is the same one.
	m = open(t, Options{Embedder: e, Tokenizer: e})
	first, err := m.Sync(t.Context(), files["a"])
	if err != nil {
		t.Fatal(err)
	}
	if second, err := m.Sync(t.Context(), files["b"]); err != nil || second == first {
		t.Errorf("half of it is shared: %q for %q, %v", second, first, err)
	}
	if again, err := m.Sync(t.Context(), files["copy"]); err != nil || again != first {
		t.Errorf("a turn is gone: %q, not %q, %v", again, first, err)
	}
	// What was made without a source becomes the file's, unless a turn of it would be lost.
	for file, memories := range map[string]int{"excerpt": 3, "b": 3} {
		if _, err := m.Sync(t.Context(), files[file], WithSource(file)); err != nil {
			t.Fatal(err)
		}
		if infos, err := m.Memories(t.Context()); err != nil || len(infos) > memories {
			t.Errorf("%s: %d memories (%v)", file, len(infos), err)
		}
	}
}

// A copy from which turns were cut takes the memory over, and what was cut is gone. A file that is older, has turns of its own, or
// lacks more is another conversation.
func TestSyncForgetsWhatWasCut(t *testing.T) {
	var whole []chunk.Turn
	for i := range 8 {
		whole = append(whole, chunk.Turn{ID: fmt.Sprint("1:", i+1), Session: "1", Speaker: "Ann", Text: fmt.Sprint("Line ", i, " of what we said.")})
	}
	whole[7].Text = "My passport number is ZYXWORD."
	redacted := slices.Clone(whole)
	redacted[7].Text = "My passport number is secret."
	grown := append(slices.Clone(whole[:7]), chunk.Turn{ID: "2:1", Session: "2", Text: "Another thing."})
	for name, c := range map[string]struct {
		turns []chunk.Turn
		age   time.Duration
		cut   bool
	}{
		"a turn less":      {whole[:7], 0, true},
		"a turn redacted":  {redacted, 0, true},
		"older":            {whole[:7], time.Hour, false},
		"turns of its own": {grown, 0, false},
		"half":             {whole[:4], 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			e := &embedtest.Words{}
			m := open(t, Options{Path: filepath.Join(dir, "memory.db"), Embedder: e, Tokenizer: e})
			first, err := m.Sync(t.Context(), whole, WithSource(filepath.Join(dir, "whole.jsonl")))
			if err != nil {
				t.Fatal(err)
			}
			copied := filepath.Join(dir, "copy.jsonl")
			if err := os.WriteFile(copied, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			written := time.Now().Add(time.Second - c.age)
			if err := os.Chtimes(copied, written, written); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time it is known by its path
				second, err := m.Sync(t.Context(), c.turns, WithSource(copied))
				if err != nil || second == first {
					t.Fatalf("memory %q, first %q: %v", second, first, err)
				}
				if held := turnsOf(t, m, second); !reflect.DeepEqual(held, c.turns) {
					t.Errorf("it holds %v", held)
				}
			}
			files, err := filepath.Glob(filepath.Join(dir, "memory.db*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if data, err := os.ReadFile(f); err != nil || c.cut && strings.Contains(string(data), "ZYXWORD") {
					t.Errorf("what was cut is left in %s (%v)", f, err)
				}
			}
			if _, err := m.Describe(t.Context(), first); errors.Is(err, ErrNoMemory) != c.cut {
				t.Errorf("the first memory: %v", err)
			}
			if again, err := m.Sync(t.Context(), whole, WithSource(filepath.Join(dir, "whole.jsonl"))); err != nil || again != first {
				t.Errorf("%q, not %q: %v", again, first, err)
			}
			if held := turnsOf(t, m, first); !reflect.DeepEqual(held, whole) {
				t.Errorf("asked again, the first file's memory holds %v", held)
			}
		})
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
