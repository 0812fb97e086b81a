package llm_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// rawDB opens a file as another program does.
func rawDB(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// source is what a call is made from.
func source(name ...any) []byte {
	sum := sha256.Sum256(fmt.Append(nil, name...))
	return sum[:16]
}

// none quotes nothing.
func none(string) bool { return false }

// An open cache finds and stores replies though another process forgets in its file, and writes it anew, or gives it more columns.
func TestCacheFileIsChangedWhileOpen(t *testing.T) {
	path := cachePath(t)
	c := stack(t, &llmtest.Client{}, llm.StackOptions{Cache: openCache(t, path)})
	other := openCache(t, path)
	mustChat(t, c, ask("first"))
	for i, change := range []string{"VACUUM", "ALTER TABLE replies ADD COLUMN more BLOB", "CREATE INDEX by_client ON replies (client)"} {
		if _, err := rawDB(t, path).Exec(change); err != nil {
			t.Fatal(err)
		}
		if err := other.Forget(t.Context(), map[string]bool{string(source(i)): true}, none); err != nil {
			t.Fatal(err)
		}
		for _, cached := range []int{0, 1} {
			resp, err := c.Chat(llm.WithSources(t.Context(), source("s")), ask(change))
			if err != nil || resp.Usage.Cached != cached {
				t.Errorf("after %q: %+v, %v, want %d replies from the cache", change, resp.Usage, err, cached)
			}
		}
		if u := mustChat(t, c, ask("first")).Usage; u.Cached != 1 {
			t.Errorf("after %q: %+v, want the first reply from the cache", change, u)
		}
	}
}

// A reply is not stored if any of its sources was forgotten while it was made, however many there are, and is otherwise.
func TestForgottenWhileUnderWay(t *testing.T) {
	cache := openCache(t, cachePath(t))
	var sources [][]byte
	for i := range 40 {
		sources = append(sources, source(i))
	}
	for i, gone := range []struct {
		source []byte
		stored int
	}{{source("another"), 1}, {source(0), 0}, {source(17), 0}, {source(39), 0}} {
		c := stack(t, &llmtest.Client{}, llm.StackOptions{Cache: cache})
		ctx := llm.WithSources(t.Context(), sources...) // read before
		if err := cache.Forget(t.Context(), map[string]bool{string(gone.source): true}, none); err != nil {
			t.Fatal(err)
		}
		for again := range 2 {
			resp, err := c.Chat(ctx, ask(fmt.Sprint(i)))
			if want := again * gone.stored; err != nil || resp.Usage.Cached != want {
				t.Errorf("call %d of case %d: %+v, %v, want %d from the cache", again, i, resp.Usage, err, want)
			}
		}
	}
}

// What is forgotten by one process and stored by others at the same time fails none of them.
func TestForgetWhileStoring(t *testing.T) {
	path := cachePath(t)
	c := stack(t, &llmtest.Client{}, llm.StackOptions{Cache: openCache(t, path)})
	other := openCache(t, path)
	var all sync.WaitGroup
	end := time.Now().Add(time.Second)
	for i := range 4 {
		all.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				if _, err := c.Chat(llm.WithSources(t.Context(), source(i, n)), ask(fmt.Sprint(i, " ", n))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := 0; time.Now().Before(end); n++ {
		if err := other.Forget(context.Background(), map[string]bool{string(source(0, n)): true}, none); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
}

// Calls that find the cache closed fail with an ErrCache.
func TestCloseWhileInUse(t *testing.T) {
	for range 5 {
		cache := openCache(t, cachePath(t))
		c := stack(t, &llmtest.Client{}, llm.StackOptions{Cache: cache})
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				for n := 0; ; n++ {
					if _, err := c.Chat(llm.WithSources(t.Context(), source(i)), ask(fmt.Sprint(i, " ", n))); err != nil {
						if !errors.Is(err, llm.ErrCache) {
							t.Errorf("error %v, want that of the cache", err)
						}
						return
					}
				}
			})
		}
		time.Sleep(5 * time.Millisecond)
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
		all.Wait()
	}
}
