package store

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/chunk/chunktest"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
)

// holds reports the files of a folder that hold a text.
func holds(t testing.TB, dir, text string) (files []string) {
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
	if again := chunktest.Join(m.Chunks); !reflect.DeepEqual(again, m.Turns) {
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
