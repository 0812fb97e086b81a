package bmem

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite" // looks into the file

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
)

// inFile runs f on the tables of a closed store.
func inFile(t *testing.T, path string, f func(db *sql.DB)) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	f(db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// "never" takes back what turns were added with, and a list says when the first turn goes.
func TestNeverExpires(t *testing.T) {
	m := open(t, Options{})
	soon := time.Now().Add(time.Hour).Truncate(time.Second)
	if _, err := m.Add(t.Context(), "talk", talk, WithExpiry(soon)); err != nil {
		t.Fatal(err)
	}
	if i, err := m.Describe(t.Context(), "talk"); err != nil || !i.TurnExpires.Equal(soon) || !i.Expires.IsZero() {
		t.Errorf("%+v, %v", i, err)
	}
	if err := m.SetExpiry(t.Context(), "talk", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if i, err := m.Describe(t.Context(), "talk"); err != nil || !i.TurnExpires.IsZero() {
		t.Errorf("%+v, %v", i, err)
	}
	for turn, err := range m.AllTurns(t.Context(), "talk") {
		if err != nil || !turn.Expires.IsZero() {
			t.Errorf("%+v, %v", turn, err)
		}
	}
}

// A damaged memory can be forgotten whole, and nothing is left of it.
func TestDamagedMemoryIsForgotten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "memory.db")
	m := open(t, Options{Path: path})
	for _, name := range []string{"talk", "other", "third"} {
		if _, err := m.Add(t.Context(), name, talk); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	inFile(t, path, func(db *sql.DB) {
		for _, change := range []string{"UPDATE turn SET text = 'ZYXWORD' WHERE memory = 1 AND pos = 0", "UPDATE chunk SET body = replace(body, 'e', 'f') WHERE memory = 1", "UPDATE chunk SET body = '{ZYXWORD' WHERE memory = 1 AND id = 1", "UPDATE turn SET text = 'x' WHERE memory = 3 AND pos = 1"} {
			if _, err := db.Exec(change); err != nil {
				t.Fatal(err)
			}
		}
	})
	m = open(t, Options{Path: path})
	if err := m.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "talk") || !strings.Contains(err.Error(), "third") {
		t.Errorf("the damage is not seen, or not all of it: %v", err)
	}
	if gone, err := m.ForgetMemory(t.Context(), "talk"); err != nil || gone.Turns != len(talk) || gone.Memories != 1 {
		t.Fatalf("%+v, %v", gone, err)
	}
	if _, err := m.ForgetMemory(t.Context(), "third"); err != nil {
		t.Fatal(err)
	}
	if err := m.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	inFile(t, path, func(db *sql.DB) {
		for _, table := range []string{"turn", "chunk", "session"} {
			var n int
			if err := db.QueryRow("SELECT count(*) FROM " + table + " WHERE memory = 1").Scan(&n); err != nil || n != 0 {
				t.Errorf("%d rows are left in %s, %v", n, table, err)
			}
		}
	})
	if data, err := os.ReadFile(path); err != nil || bytes.Contains(data, []byte("ZYXWORD")) {
		t.Errorf("its text is left (%v)", err)
	}
}

// The name of a session says something too: it goes with its last turn.
func TestForgottenSessionLeavesNoName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "memory.db")
	m := open(t, Options{Path: path})
	diary := []chunk.Turn{{ID: "a", Session: "Trip / ZYXWORD", Text: "We went by train."}, {ID: "b", Session: "Home", Text: "We are back."}}
	if _, err := m.Add(t.Context(), "diary", diary); err != nil {
		t.Fatal(err)
	}
	if _, err := m.ForgetSession(t.Context(), "diary", diary[0].Session); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{path, path + "-wal"} {
		if data, err := os.ReadFile(f); err == nil && bytes.Contains(data, []byte("ZYXWORD")) {
			t.Errorf("the session's name is left in %s", f)
		}
	}
	again := chunk.Turn{ID: "c", Session: diary[0].Session, Text: "We went again."}
	if _, err := m.Add(t.Context(), "diary", []chunk.Turn{again}); err != nil {
		t.Fatal(err)
	}
	if held := turnsOf(t, m, "diary"); len(held) != 2 || held[1] != again {
		t.Errorf("it holds %v", held)
	}
	if err := m.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// gate is an embedder that waits once, when it has begun.
type gate struct {
	embedtest.Words
	begun, open chan struct{}
	once        sync.Once
}

func (g *gate) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	g.once.Do(func() { close(g.begun); <-g.open })
	return g.Words.Embed(ctx, texts)
}

// What is forgotten while another process embeds it leaves no vector.
func TestForgottenWhileItIsEmbedded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "memory.db")
	g := &gate{begun: make(chan struct{}), open: make(chan struct{})}
	adds, forgets := open(t, Options{Path: path, Embedder: g, Tokenizer: g}), open(t, Options{Path: path})
	added := make(chan error, 1)
	go func() {
		_, err := adds.Add(context.WithoutCancel(t.Context()), "talk", talk)
		added <- err
	}()
	<-g.begun
	if _, err := forgets.ForgetMemory(t.Context(), "talk"); err != nil {
		t.Error(err)
	}
	close(g.open)
	<-added // whether it says that the memory is gone does not matter here
	for _, m := range []*Memory{adds, forgets} {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	inFile(t, path, func(db *sql.DB) {
		for _, table := range []string{"vector", "embedded", "text"} {
			var n int
			if err := db.QueryRow("SELECT count(*) FROM " + table).Scan(&n); err != nil || n != 0 {
				t.Errorf("%d rows are left in %s, %v", n, table, err)
			}
		}
	})
}

// Two processes that bring the memory of a file up to date at one time both succeed.
func TestSyncOfTwo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "memory.db")
	both := []*Memory{open(t, Options{Path: path}), open(t, Options{Path: path})}
	without := func(from int) (turns []chunk.Turn) {
		for i := range 120 {
			if i < from || i >= from+20 {
				turns = append(turns, chunk.Turn{ID: fmt.Sprint("1:", i), Session: "1", Speaker: "Ann", Text: fmt.Sprintf("I said number %d to Bob.", i)})
			}
		}
		return turns
	}
	for round := range 5 {
		want := without(20 * round)
		var all sync.WaitGroup
		for _, m := range both {
			all.Go(func() {
				if _, err := m.Sync(t.Context(), want, WithSource("x")); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		all.Wait()
		name, err := both[0].Sync(t.Context(), want, WithSource("x"))
		if err != nil || len(turnsOf(t, both[1], name)) != len(want) {
			t.Errorf("round %d: %d turns, want %d (%v)", round, len(turnsOf(t, both[1], name)), len(want), err)
		}
	}
}

// A file grows into its memory also where a turn was corrected.
func TestKnownTurnsAreKept(t *testing.T) {
	m := open(t, Options{})
	if _, err := m.Add(t.Context(), "talk", talk[:2]); err != nil {
		t.Fatal(err)
	}
	corrected := talk[0]
	corrected.Text = "Something else."
	if err := m.Edit(t.Context(), "talk", corrected); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Add(t.Context(), "talk", talk); !errors.Is(err, ErrTurnExists) {
		t.Errorf("another text: %v", err)
	}
	added, err := m.Add(t.Context(), "talk", talk, WithKnownKept())
	if err != nil || added.New != len(talk)-2 || added.Skipped != 2 {
		t.Errorf("%+v, %v", added, err)
	}
	if held := turnsOf(t, m, "talk"); len(held) != len(talk) || held[0] != corrected {
		t.Errorf("it holds %v", held)
	}
}
