package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/chunk/chunktest"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
)

func open1(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newStore(t testing.TB) *Store { return open1(t, filepath.Join(t.TempDir(), "memory.db")) }

var cutter = Cutter{chunktest.Count, chunktest.MaxTokens}

func mustAdd(t testing.TB, s *Store, name string, turns []chunk.Turn) {
	t.Helper()
	if _, err := s.Append(t.Context(), name, turns, cutter, AddOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestMemoryRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), `odd name ?#%20&"é.db`)
	s := open1(t, path)
	for _, n := range []int{12, 12, 30} { // new, the same again, grown
		turns := chunktest.History(n)
		mustAdd(t, s, "a", turns)
		mustAdd(t, s, "b", turns[:3])
		got, err := s.Memory(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if want := (Memory{Name: "a", Turns: turns, Chunks: chunktest.Split(turns)}); !reflect.DeepEqual(got, want) {
			t.Fatalf("%d turns: got %+v\nwant %+v", n, got, want)
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Error("the store is not where it was asked for:", err)
	}
	second := open1(t, path)
	if names, err := second.Memories(t.Context()); err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("memories %v (%v)", names, err)
	}
	if _, err := second.Forget(t.Context(), Selection{Memory: "a", All: true}); err != nil {
		t.Error(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"Memory": second1(s.Memory(t.Context(), "a")),
		"Forget": second1(s.Forget(t.Context(), Selection{Memory: "a", All: true})),
	} {
		if !errors.Is(err, ErrNoMemory) || !strings.Contains(err.Error(), `"a"`) {
			t.Errorf("%s of a deleted memory: %v", what, err)
		}
	}
}

func second1[T any](_ T, err error) error { return err }

func TestAddingTheSameWritesNothing(t *testing.T) {
	s := newStore(t)
	mustAdd(t, s, "a", chunktest.History(20))
	changes := func() (n int) {
		// One connection: total_changes is counted by connection.
		if err := raw(s).QueryRow("SELECT total_changes()").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	raw(s).SetMaxOpenConns(1)
	before := changes()
	mustAdd(t, s, "a", chunktest.History(20))
	if after := changes(); after != before {
		t.Errorf("putting the same again changed %d rows", after-before)
	}
	mustAdd(t, s, "a", chunktest.History(21))
	if changes() == before {
		t.Error("the counter does not count")
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	database := func(name, statements string) string {
		path := filepath.Join(dir, name)
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(statements); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		path string
		want error
	}{
		{write("text", []byte(strings.Repeat("not a database. ", 300))), ErrNotStore},
		{write("short", []byte("x")), ErrNotStore},
		{dir, ErrNotStore},
		{filepath.Join(dir, "no", "such"), os.ErrNotExist},
		{database("foreign", "CREATE TABLE memory (x)"), ErrNotStore},
		{database("foreign id", "PRAGMA application_id = 7; CREATE TABLE memory (x)"), ErrNotStore},
		{database("newer", fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = 99; CREATE TABLE x (x)", applicationID)), ErrNewer},
		{database("older", fmt.Sprintf("PRAGMA application_id = %d; CREATE TABLE x (x)", applicationID)), ErrCorrupt},
	} {
		before, _ := os.ReadFile(tt.path)
		_, err := Open(tt.path)
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.path) {
			t.Errorf("%s: got %v, want %v", tt.path, err, tt.want)
		}
		if after, _ := os.ReadFile(tt.path); !bytes.Equal(before, after) {
			t.Errorf("%s was changed", tt.path)
		}
	}
}

// A store whose file was cut to nothing, or is gone while its log is not, is no new one.
func TestCutStoreIsRefused(t *testing.T) {
	from := filepath.Join(t.TempDir(), "memory.db")
	mustAdd(t, open1(t, from), "a", chunktest.History(20)) // it stays open, so that there is a log
	log, err := os.ReadFile(from + "-wal")
	if err != nil || len(log) == 0 {
		t.Fatalf("a log of %d bytes, %v", len(log), err)
	}
	for _, tt := range []struct {
		name        string
		files, says string
	}{
		{"empty", "memory.db", "it is empty"},
		{"empty, with its log", "memory.db memory.db-wal", "it is empty"},
		{"gone, with its log", "memory.db-wal", "memory.db-wal is left"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "memory.db")
			for _, name := range strings.Fields(tt.files) {
				data := log
				if name == "memory.db" {
					data = nil
				}
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Open(path)
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want ErrCorrupt saying %q", err, tt.says)
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != len(strings.Fields(tt.files)) {
				t.Errorf("it left %v, %v", left, err)
			}
			if kept, err := os.ReadFile(path + "-wal"); err == nil && !bytes.Equal(kept, log) {
				t.Error("the log was changed")
			}
		})
	}
}

func TestDamageIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "memory.db")
	s := open1(t, path)
	mustAdd(t, s, "a", chunktest.History(400))
	if _, err := raw(s).Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 3 * 4096; i < len(data); i++ { // all but the first three pages
		data[i] ^= 0x5a
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	broken, err := Open(path)
	if err == nil {
		defer broken.Close()
		err = broken.Check(t.Context())
	}
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
}

// So is a changed time, which no word of the text shows, and a changed number of a vector. Rows of schema 3, which have no
// checksum, are read.
func TestChangedTimesAndVectorsAreFound(t *testing.T) {
	e := &embedtest.Words{}
	for name, change := range map[string]string{
		"time of a turn":  "UPDATE turn SET time = '2' || substr(time, 2) WHERE pos = 3",
		"time of a chunk": "UPDATE chunk SET body = replace(body, '\"time\":\"', '\"time\":\"1')",
		"vector":          "UPDATE embedded SET vectors = zeroblob(length(vectors))",
		"single vector":   "UPDATE vector SET value = zeroblob(length(value))",
		"":                "ALTER TABLE turn DROP COLUMN sum; ALTER TABLE chunk DROP COLUMN sum; ALTER TABLE embedded DROP COLUMN sum; ALTER TABLE vector DROP COLUMN sum; PRAGMA user_version = 3",
	} {
		path := filepath.Join(t.TempDir(), "memory.db")
		s := open1(t, path)
		mustAdd(t, s, "a", chunktest.History(40))
		_, err := s.ReadIndex(t.Context(), "a", e, true, -1, nil)
		if err == nil {
			_, err = s.Vectors(t.Context(), "a", e, []string{"a question"})
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Check(t.Context()); err != nil {
			t.Errorf("before it is damaged: %v", err)
		}
		result, err := raw(s).Exec(change)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n, _ := result.RowsAffected(); name != "" && n == 0 {
			t.Fatalf("%s: nothing was changed", name)
		}
		if name == "" {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open1(t, path)
			mustAdd(t, s, "a", chunktest.History(44)[40:])
		}
		err = s.Check(t.Context())
		if name == "" && err != nil || name != "" && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: check says %v", name, err)
		}
		if name == "vector" || name == "" {
			if _, err := s.ReadIndex(t.Context(), "a", e, true, -1, nil); (name == "") != (err == nil) {
				t.Errorf("%s: read with %v", name, err)
			}
		}
		if _, err := s.Vectors(t.Context(), "a", e, []string{"a question"}); name == "single vector" && !errors.Is(err, ErrCorrupt) {
			t.Errorf("a changed vector was read: %v", err)
		}
	}
}

// TestTwoProcesses has this process and a second one write and read the same file at once.
func TestTwoProcesses(t *testing.T) {
	const env = "BMEM_STORE_TEST_CHILD"
	work := func(s *Store, who string) error {
		var wg sync.WaitGroup
		errs := make([]error, 4)
		for g := range errs {
			wg.Go(func() {
				for i := range 10 {
					own := []chunk.Turn{{ID: fmt.Sprint(who, g, "-", i), Session: who, Text: "hello"}}
					_, err := s.Append(context.Background(), "shared", own, cutter, AddOptions{})
					if err == nil {
						_, err = s.Memory(context.Background(), "shared")
					}
					if err != nil {
						errs[g] = err
						return
					}
				}
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	}
	if path := os.Getenv(env); path != "" {
		s, err := Open(path)
		if err == nil {
			err = errors.Join(work(s, "child"), s.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "memory.db")
	child := exec.Command(os.Args[0], "-test.run=^TestTwoProcesses$")
	child.Env = append(os.Environ(), env+"="+path)
	var out bytes.Buffer
	child.Stdout, child.Stderr = &out, &out
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	s := open1(t, path) // both may create the file
	if err := work(s, "parent"); err != nil {
		t.Error(err)
	}
	if err := child.Wait(); err != nil {
		t.Fatalf("child: %v\n%s", err, out.String())
	}
	m, err := s.Memory(t.Context(), "shared")
	if err != nil || len(m.Turns) != 80 {
		t.Errorf("%d turns (%v), want the 80 of both processes", len(m.Turns), err)
	}
}

// raw is the SQLite database under a store.
func raw(s *Store) *sql.DB { return s.db.(*file).db }
