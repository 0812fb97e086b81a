package store

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

// randomTurns makes turns of mixed lengths, some longer than a chunk, in sessions that may come back.
func randomTurns(rng *rand.Rand, n int) []chunk.Turn {
	turns := make([]chunk.Turn, n)
	session := 0
	for i := range turns {
		if rng.IntN(6) == 0 {
			session = rng.IntN(4)
		}
		words := make([]string, 1+rng.IntN(12))
		if rng.IntN(12) == 0 {
			words = make([]string, 60)
		}
		for j := range words {
			words[j] = fmt.Sprintf("w%d", rng.IntN(500))
		}
		turns[i] = chunk.Turn{ID: fmt.Sprint("t", i), Session: fmt.Sprint("s", session), Speaker: []string{"Ann", "Bo"}[i%2], Text: strings.Join(words, " ") + "."}
	}
	return turns
}

// However turns come, the chunks are those of the whole history cut at once.
func TestAppendCutsAsSplitDoes(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		all := randomTurns(rng, 60)
		s := newStore(t)
		for rest := all; len(rest) > 0; {
			n := min(1+rng.IntN(7), len(rest))
			mustAdd(t, s, "m", rest[:n])
			rest = rest[n:]
		}
		got, err := s.Memory(t.Context(), "m")
		if err != nil || !reflect.DeepEqual(got, Memory{"m", all, split(all)}) {
			t.Fatalf("seed %d: the chunks differ (%v)", seed, err)
		}
	}
}

// turnsOfChunks puts the turns of chunks together again.
func turnsOfChunks(chunks []chunk.Chunk) []chunk.Turn {
	var turns []chunk.Turn
	for _, c := range chunks {
		for _, t := range c.Turns {
			if n := len(turns); n > 0 && turns[n-1].ID == t.ID {
				turns[n-1].Text += " " + t.Text
			} else {
				turns = append(turns, t)
			}
		}
	}
	return turns
}

// After any sequence of changes the chunks hold exactly the turns that are there, in their order, and every chunk name is unique.
func TestEditAndForgetKeepTheRest(t *testing.T) {
	e := &embedtest.Words{}
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 2))
		s := newStore(t)
		want := randomTurns(rng, 30)
		mustAdd(t, s, "m", want)
		for step := range 15 {
			switch i := rng.IntN(len(want)); rng.IntN(3) {
			case 0:
				if _, err := s.Forget(t.Context(), Selection{Memory: "m", Turns: []string{want[i].ID}}); err != nil {
					t.Fatal(err)
				}
				want = slices.Delete(slices.Clone(want), i, i+1)
			case 1:
				want = slices.Clone(want)
				want[i].Text = strings.Repeat(fmt.Sprintf("new%d ", step), 1+rng.IntN(70)) + "end."
				if err := s.Edit(t.Context(), "m", want[i], cutter); err != nil {
					t.Fatal(err)
				}
			case 2:
				more := randomTurns(rng, 2)
				for j := range more {
					more[j].ID = fmt.Sprint("n", step, "-", j)
				}
				mustAdd(t, s, "m", more)
				want = append(slices.Clone(want), more...)
			}
			got, err := s.Memory(t.Context(), "m")
			if err != nil || !reflect.DeepEqual(got.Turns, want) {
				t.Fatalf("seed %d, step %d: the turns differ (%v)", seed, step, err)
			}
			if again := turnsOfChunks(got.Chunks); !reflect.DeepEqual(again, want) {
				t.Fatalf("seed %d, step %d: the chunks hold other turns\n%v\n%v", seed, step, again, want)
			}
			names := map[string]bool{}
			for _, c := range got.Chunks {
				if names[c.ID] {
					t.Fatalf("seed %d, step %d: two chunks %s", seed, step, c.ID)
				}
				names[c.ID] = true
			}
			ix, err := s.ReadIndex(t.Context(), "m", e, true, -1, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range ix.Chunks {
				texts := textsOf(c.Chunk, true)
				vectors, _ := e.Embed(t.Context(), texts)
				if !reflect.DeepEqual(append([][]float32{c.Vector}, c.TurnVectors...), vectors) {
					t.Fatalf("seed %d, step %d: chunk %s has other vectors", seed, step, c.ID)
				}
			}
		}
	}
}

// holds reports the files of a folder that hold a text.
func holds(t *testing.T, dir, text string) (files []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte(text)) {
			files = append(files, e.Name())
		}
	}
	return files
}

// What is forgotten, edited or expired is in no file of the store, at once.
func TestForgottenTextIsGone(t *testing.T) {
	ctx, e := t.Context(), &embedtest.Words{}
	for name, forget := range map[string]func(s *Store) error{
		"turn": func(s *Store) error {
			return second1(s.Forget(ctx, Selection{Memory: "a", Turns: []string{"secret"}}))
		},
		"session": func(s *Store) error {
			session := "hidden"
			return second1(s.Forget(ctx, Selection{Memory: "a", Session: &session}))
		},
		"speaker everywhere": func(s *Store) error {
			speaker := "Rita"
			return second1(s.Forget(ctx, Selection{Speaker: &speaker}))
		},
		"memory": func(s *Store) error { return second1(s.Forget(ctx, Selection{Memory: "a", All: true})) },
		"edit": func(s *Store) error {
			return s.Edit(ctx, "a", chunk.Turn{ID: "secret", Speaker: "Ann", Text: "Nothing to see."}, cutter)
		},
		"expiry": func(s *Store) error { return s.SetExpiry(ctx, "a", time.Now().Add(-time.Second), []string{"secret"}) },
		"expiry of the memory": func(s *Store) error {
			return s.SetExpiry(ctx, "a", time.Now().Add(-time.Second), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open1(t, filepath.Join(dir, "memory.db"))
			turns := history(400)
			turns[200] = chunk.Turn{ID: "secret", Session: "hidden", Speaker: "Rita", Text: "My passport number is ZYXWORD, keep it. " + strings.Repeat("QQLONG filler words follow here. ", 40)}
			for _, part := range [][]chunk.Turn{turns[:150], turns[150:250], turns[250:]} {
				mustAdd(t, s, "a", part)
				if err := s.Embed(ctx, "a", e, true, nil); err != nil {
					t.Fatal(err)
				}
			}
			m, err := s.Memory(ctx, "a")
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range m.Chunks {
				if _, err := s.Facts(ctx, "rules", c, func(context.Context) ([]string, error) { return []string{"fact: " + c.Text()}, nil }); err != nil {
					t.Fatal(err)
				}
			}
			if len(holds(t, dir, "ZYXWORD")) == 0 || len(holds(t, dir, "QQLONG")) == 0 {
				t.Fatal("the test does not see the text where it is")
			}
			if err := forget(s); err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"ZYXWORD", "QQLONG"} {
				if files := holds(t, dir, text); len(files) > 0 {
					t.Errorf("%s is left in %v", text, files)
				}
			}
			if err := s.Check(ctx); err != nil {
				t.Error(err)
			}
			var left int
			if err := raw(s).QueryRow("SELECT count(*) FROM text WHERE chunk NOT IN (SELECT id FROM chunk)").Scan(&left); err != nil || left > 0 {
				t.Errorf("%d texts of no chunk (%v)", left, err)
			}
		})
	}
}

func TestPagesOfTurns(t *testing.T) {
	s := newStore(t)
	all := history(23)
	mustAdd(t, s, "m", all)
	var got []chunk.Turn
	q := TurnQuery{Limit: 5}
	for pages := 1; ; pages++ {
		page, next, err := s.Turns(t.Context(), "m", q)
		if err != nil {
			t.Fatal(err)
		}
		for _, turn := range page {
			got = append(got, turn.Turn)
			if turn.Added.IsZero() {
				t.Errorf("%s was added at no time", turn.ID)
			}
		}
		if q.Cursor = next; next == "" {
			if pages != 5 {
				t.Errorf("%d pages", pages)
			}
			break
		}
	}
	if !reflect.DeepEqual(got, all) {
		t.Errorf("got %v", got)
	}
	if page, next, err := s.Turns(t.Context(), "m", TurnQuery{Session: "s1"}); err != nil || len(page) != 5 || next != "" {
		t.Errorf("a session: %d turns, %q, %v", len(page), next, err)
	}
	if page, _, err := s.Turns(t.Context(), "m", TurnQuery{Speaker: "Nobody"}); err != nil || len(page) != 0 || page == nil {
		t.Errorf("of nobody: %v, %v", page, err)
	}
	for _, bad := range []string{"x", "!!", "dC0x"} {
		if _, _, err := s.Turns(t.Context(), "m", TurnQuery{Cursor: bad}); !errors.Is(err, ErrCursor) {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
	info, err := s.Describe(t.Context(), "m")
	if err != nil || info.Turns != 23 || info.Sessions != 5 || info.Bytes < 23*20 || info.Created.IsZero() || info.Changed.IsZero() {
		t.Errorf("described as %+v (%v)", info, err)
	}
}

func TestWhatIsNotThere(t *testing.T) {
	s := newStore(t)
	ctx, nobody := t.Context(), "Nobody"
	mustAdd(t, s, "m", history(3))
	for name, tt := range map[string]struct{ got, want error }{
		"describe":              {second1(s.Describe(ctx, "x")), ErrNoMemory},
		"turn of no memory":     {second1(s.Turn(ctx, "x", "t1")), ErrNoMemory},
		"turn":                  {second1(s.Turn(ctx, "m", "t9")), ErrNoTurn},
		"no id":                 {second1(s.Turn(ctx, "m", "")), ErrNoTurn},
		"forget a turn":         {second1(s.Forget(ctx, Selection{Memory: "m", Turns: []string{"t1", "t9"}})), ErrNoTurn},
		"forget nothing":        {second1(s.Forget(ctx, Selection{Memory: "m"})), ErrNoTurn},
		"forget a speaker":      {second1(s.Forget(ctx, Selection{Speaker: &nobody})), ErrNoTurn},
		"edit":                  {s.Edit(ctx, "m", chunk.Turn{ID: "t9", Text: "x"}, cutter), ErrNoTurn},
		"edit to other session": {s.Edit(ctx, "m", chunk.Turn{ID: "t1", Session: "s7", Text: "x"}, cutter), ErrSession},
		"expire":                {s.SetExpiry(ctx, "m", time.Now(), []string{"t9"}), ErrNoTurn},
	} {
		if !errors.Is(tt.got, tt.want) {
			t.Errorf("%s: got %v, want %v", name, tt.got, tt.want)
		}
	}
	if m, err := s.Memory(ctx, "m"); err != nil || len(m.Turns) != 3 {
		t.Errorf("a refused change changed something: %v, %v", m, err)
	}
}

// A store of the version before opens with what it holds, embeds nothing again, and forgets all the same.
func TestOpensSchemaTwo(t *testing.T) {
	dir := t.TempDir()
	unpack(t, "testdata/v2.db.gz", filepath.Join(dir, "memory.db"))
	s, e := open1(t, filepath.Join(dir, "memory.db")), &embedtest.Words{}
	m, err := s.Memory(t.Context(), "talk")
	if err != nil || len(m.Turns) != 12 {
		t.Fatalf("%d turns (%v)", len(m.Turns), err)
	}
	chunks, err := chunk.Split(t.Context(), m.Turns, e.Count, 20)
	if err != nil || !reflect.DeepEqual(m.Chunks, chunks) {
		t.Fatalf("other chunks (%v)", err)
	}
	if again := turnsOfChunks(m.Chunks); !reflect.DeepEqual(again, m.Turns) {
		t.Errorf("the chunks hold %v", again)
	}
	for _, name := range []string{"talk", "other"} {
		if _, err := s.ReadIndex(t.Context(), name, e, true, -1, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := e.Embedded.Load(); n > 0 {
		t.Errorf("%d texts were embedded again", n)
	}
	// It goes on growing where it stopped.
	more := chunk.Turn{ID: "new", Session: "s2", Speaker: "Ann", Text: "One more."}
	if _, err := s.Append(t.Context(), "talk", []chunk.Turn{more}, Cutter{e.Count, 20}, AddOptions{}); err != nil {
		t.Fatal(err)
	}
	want, _ := chunk.Split(t.Context(), append(m.Turns, more), e.Count, 20)
	if m, err = s.Memory(t.Context(), "talk"); err != nil || !reflect.DeepEqual(m.Chunks, want) {
		t.Errorf("grown to %v (%v)", m.Chunks, err)
	}
	if _, err := s.Forget(t.Context(), Selection{Memory: "talk", Turns: []string{"t6", "t5"}}); err != nil {
		t.Fatal(err)
	}
	if files := holds(t, dir, "orchard"); len(files) > 0 {
		t.Errorf("forgotten text is left in %v", files)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func unpack(t *testing.T, from, to string) {
	t.Helper()
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
