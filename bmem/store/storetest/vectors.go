package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/chunk/chunktest"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/bmem/store"
)

func numbered(n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprint("text ", i)
	}
	return texts
}

func checkVectors(t *testing.T, s *store.Store, e *embedtest.Counting, texts []string) {
	t.Helper()
	got, err := s.Vectors(t.Context(), "", e, texts)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(texts) {
		t.Fatalf("%d vectors for %d texts", len(got), len(texts))
	}
	for i, text := range texts {
		if !reflect.DeepEqual(got[i], e.Vector(text)) {
			t.Fatalf("text %d has the vector of another", i)
		}
	}
}

func nothingIsEmbeddedTwice(t *testing.T, p Place) {
	s := p.open(t)
	texts := append(numbered(700), "text 3", "text 3", "") // repeats within one call too
	first := embedtest.NewCounting("e1")
	checkVectors(t, s, first, texts)
	if first.Total != 701 {
		t.Errorf("embedded %d texts, want 701", first.Total)
	}
	again := embedtest.NewCounting("e1")
	checkVectors(t, p.open(t), again, texts) // another process
	checkVectors(t, s, again, nil)
	if again.Calls != 0 {
		t.Errorf("the second run embedded %d texts", again.Total)
	}
	other := embedtest.NewCounting("e2")
	checkVectors(t, s, other, texts[:5])
	if other.Total != 5 {
		t.Errorf("vectors of another embedder were used: %d embedded", other.Total)
	}
	// A text of two memories is embedded once, and a grown memory only where it has grown.
	e := embedtest.NewCounting("e3")
	for _, step := range []struct {
		memory string
		turns  int
		texts  int
	}{{"a", 10, 14}, {"b", 10, 14}, {"a", 10, 14}, {"a", 12, 17}} {
		add(t, s, step.memory, chunktest.History(step.turns))
		if err := s.Embed(t.Context(), step.memory, e, true, nil); err != nil || e.Total != step.texts {
			t.Errorf("%+v: %d texts embedded (%v)", step, e.Total, err)
		}
	}
}

func failureKeepsFinishedBatches(t *testing.T, p Place) {
	s := p.open(t)
	e := embedtest.NewCounting("e")
	broken := errors.New("endpoint down")
	e.Fail = func(call int) error {
		if call == 3 {
			return broken
		}
		return nil
	}
	if _, err := s.Vectors(t.Context(), "", e, numbered(500)); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	checkVectors(t, s, e, numbered(500))
	if e.Total != 500 {
		t.Errorf("embedded %d texts over both runs, want 500", e.Total)
	}
}

func wrongWidthsAreRefused(t *testing.T, p Place) {
	s := p.open(t)
	e := embedtest.NewCounting("e")
	checkVectors(t, s, e, numbered(3))
	wider := embedtest.NewCounting("e")
	wider.Width = 9
	if _, err := s.Vectors(t.Context(), "", wider, numbered(3)); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("stored vectors of another width: %v", err)
	}
}

func facts(t *testing.T, p Place) {
	s := p.open(t)
	calls := 0
	compute := func(context.Context) ([]string, error) {
		calls++
		return []string{fmt.Sprint("fact ", calls)}, nil
	}
	c := chunk.Chunk{ID: "s#1", Session: "s", Turns: []chunk.Turn{{ID: "t1", Session: "s", Text: "hello"}}}
	moved, changed, dated, nowhere := c, c, c, c
	moved.ID, moved.Tokens = "s#9", 3
	changed.Turns = []chunk.Turn{{ID: "t1", Session: "s", Text: "hello!"}}
	nowhere.Turns = []chunk.Turn{{ID: "t1", Session: "s", Text: "said by nobody"}}
	add(t, s, "a", c.Turns)
	add(t, s, "b", changed.Turns)
	dated.Time = "1 May"
	for _, tt := range []struct {
		method string
		c      chunk.Chunk
		want   string
	}{
		{"m1", c, "fact 1"}, {"m1", c, "fact 1"}, {"m1", moved, "fact 1"}, {"m2", c, "fact 2"}, {"m1", changed, "fact 3"}, {"m1", dated, "fact 4"},
		{"m2", c, "fact 2"}, {"m1", nowhere, "fact 5"}, {"m1", nowhere, "fact 6"}, // what no memory holds is not stored
	} {
		got, err := s.Facts(t.Context(), tt.method, tt.c, compute)
		if err != nil || !reflect.DeepEqual(got, []string{tt.want}) {
			t.Errorf("%s %v: got %q (%v), want %q", tt.method, tt.c, got, err, tt.want)
		}
	}
	broken := errors.New("no model")
	if _, err := s.Facts(t.Context(), "m3", c, func(context.Context) ([]string, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	empty := func(context.Context) ([]string, error) { calls++; return nil, nil }
	before := calls
	for range 2 {
		if got, err := s.Facts(t.Context(), "m3", c, empty); err != nil || len(got) != 0 { // a failure was not stored
			t.Errorf("got %q (%v)", got, err)
		}
	}
	if calls != before+1 {
		t.Errorf("an empty list was computed %d times", calls-before)
	}
}

// One wrong character of a chunk or a turn is noticed, when it is read and by a check.
func changedWordsAreFound(t *testing.T, p Place) {
	s := p.open(t)
	add(t, s, "a", chunktest.History(40))
	for _, damage := range []struct{ table, there, back string }{
		{"chunk", "UPDATE chunk SET body = replace(body, 'camping', 'camqing')", "UPDATE chunk SET body = replace(body, 'camqing', 'camping')"},
		{"turn", "UPDATE turn SET text = replace(text, 'camping', 'camqing')", ""},
	} {
		if err := s.Check(t.Context()); err != nil {
			t.Errorf("before it is damaged: %v", err)
		}
		p.Exec(t, damage.there)
		if err := s.Check(t.Context()); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("check of a changed %s: %v, want ErrCorrupt", damage.table, err)
		}
		if _, err := s.ReadIndex(t.Context(), "a", &embedtest.Words{}, true, -1, nil); damage.table == "chunk" && !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("a changed %s was read: %v, want ErrCorrupt", damage.table, err)
		}
		if damage.back != "" {
			p.Exec(t, damage.back)
		}
	}
}

// Whether the chunks of a memory lie together in the file or between those of others, and whichever was written last, they are
// read in their order, each with its vectors.
func indexIsReadInOrder(t *testing.T, p Place) {
	s, e := p.open(t), embedtest.NewCounting("e")
	near, far := chunktest.History(80), chunktest.History(6)
	add(t, s, "far", far[:3])
	add(t, s, "near", near)
	add(t, s, "far", far[3:])
	for _, name := range []string{"near", "far"} {
		turn := chunktest.History(1)[0]
		turn.Text = "This was said otherwise."
		if err := s.Edit(t.Context(), name, turn, cutter); err != nil {
			t.Fatal(err)
		}
		want := memoryOf(t, s, name).Chunks
		ix, err := s.ReadIndex(t.Context(), name, e, true, -1, nil)
		if err != nil || len(ix.Chunks) != len(want) {
			t.Fatalf("%s: %d chunks, want %d (%v)", name, len(ix.Chunks), len(want), err)
		}
		var rows []int64
		for i, c := range ix.Chunks {
			rows = append(rows, c.Row())
			texts := textsOf(want[i])
			if !reflect.DeepEqual(c.Chunk, want[i]) || !slices.Equal(c.Vector, e.Vector(texts[0])) {
				t.Errorf("%s: chunk %d is %+v, want %+v", name, i, c.Chunk, want[i])
			}
			for j, v := range c.TurnVectors {
				if !slices.Equal(v, e.Vector(texts[1+j])) {
					t.Errorf("%s: chunk %d: the vector of turn %d is of another text", name, i, j)
				}
			}
		}
		if slices.IsSorted(rows) {
			t.Errorf("%s: the rows %v are in order, so that nothing is tested", name, rows)
		}
		if apart := slices.Max(rows) - slices.Min(rows); (apart > int64(8*len(rows))) != (name == "far") {
			t.Errorf("%s: the rows are %v", name, rows)
		}
	}
}

// So is a changed time, which no word of the text shows, and a changed number of a vector.
func changedTimesAndVectorsAreFound(t *testing.T, p Place) {
	s, e := p.open(t), embedtest.NewCounting("e")
	add(t, s, "a", chunktest.History(40))
	_, err := s.ReadIndex(t.Context(), "a", e, true, -1, nil)
	if err == nil {
		_, err = s.Vectors(t.Context(), "a", e, []string{"a question"})
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, damage := range []struct {
		name, there, back string
		read              func() error
	}{
		{"time of a turn", "UPDATE turn SET time = '2' || substr(time, 2) WHERE pos = 3", "UPDATE turn SET time = '8' || substr(time, 2) WHERE pos = 3",
			func() error { return second(s.Turn(t.Context(), "a", "t3")) }},
		{"time of a chunk", `UPDATE chunk SET body = replace(body, '"time":"', '"time":"1')`, `UPDATE chunk SET body = replace(body, '"time":"1', '"time":"')`,
			func() error { return second(s.Memory(t.Context(), "a")) }},
		{"vectors", "UPDATE embedded SET sum = sum + 1", "UPDATE embedded SET sum = sum - 1",
			func() error { return second(s.ReadIndex(t.Context(), "a", e, true, -1, nil)) }},
		{"single vector", "UPDATE vector SET sum = sum + 1", "UPDATE vector SET sum = sum - 1",
			func() error { return second(s.Vectors(t.Context(), "a", e, []string{"a question"})) }},
	} {
		if err := errors.Join(s.Check(t.Context()), damage.read()); err != nil {
			t.Errorf("%s: before it is damaged: %v", damage.name, err)
		}
		p.Exec(t, damage.there)
		if err := s.Check(t.Context()); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: check says %v", damage.name, err)
		}
		if err := damage.read(); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: read with %v", damage.name, err)
		}
		p.Exec(t, damage.back)
	}
}

// Facts that are not as they were stored are computed again.
func changedFactsAreComputedAgain(t *testing.T, p Place) {
	s := p.open(t)
	add(t, s, "a", chunktest.History(3))
	m := memoryOf(t, s, "a")
	calls := 0
	read := func() string {
		got, err := s.Facts(t.Context(), "m", m.Chunks[0], func(context.Context) ([]string, error) { calls++; return []string{"Ann has a piano"}, nil })
		if err != nil || len(got) != 1 {
			t.Fatalf("%q, %v", got, err)
		}
		return got[0]
	}
	read()
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("before it is damaged: %v", err)
	}
	p.Exec(t, "UPDATE pool SET facts = replace(facts, 'piano', 'pianp')")
	if err := s.Check(t.Context()); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("check: %v, want ErrCorrupt", err)
	}
	if got := read() + read(); got != "Ann has a pianoAnn has a piano" || calls != 2 {
		t.Errorf("%q after %d calls", got, calls)
	}
	p.Exec(t, `UPDATE pool SET facts = '["from an earlier version"]'`)
	if got := read(); got != "from an earlier version" {
		t.Errorf("a list without a checksum became %q", got)
	}
}
