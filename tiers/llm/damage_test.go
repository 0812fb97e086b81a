package llm_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// A stored reply that changed on the disk is never used, wherever in it the damage is.
func TestFlippedBits(t *testing.T) {
	path := cachePath(t)
	const answer = "The answer is forty-two."
	model := &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) { return answer, nil }}
	cache := openCache(t, path)
	mustChat(t, stack(t, model, llm.StackOptions{Cache: cache}), ask("q"))
	if n, err := cache.Check(t.Context()); n != 1 || err != nil {
		t.Errorf("%d sound entries, %v", n, err)
	}
	cache.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(whole, []byte(`{"text"`))
	if at < 0 {
		t.Fatal("the reply is not where it was looked for")
	}
	for i := at; i < min(len(whole), at+100); i += 7 {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 2
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		broken, err := llm.OpenCache(path)
		if err != nil {
			continue // refused, which is as good
		}
		resp, err := stack(t, model, llm.StackOptions{Cache: broken}).Chat(t.Context(), ask("q"))
		if err == nil {
			t.Errorf("bit of byte %d: got %q, $%v from a damaged entry", i, resp.Text, resp.Usage.Dollars)
		} else if wantErr(t, err, llm.ErrCache); !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), path) {
			t.Errorf("error %v, want one that names the file", err)
		}
		if _, err := broken.Check(t.Context()); err == nil {
			t.Errorf("byte %d: Check finds nothing", i)
		}
		broken.Close()
	}
	if model.Calls() != 1 {
		t.Errorf("%d calls, want 1: nothing is paid again without a word", model.Calls())
	}
}

// A file that was cut is refused, and not taken for an empty one.
func TestCutFile(t *testing.T) {
	path := cachePath(t)
	cache := openCache(t, path)
	for _, q := range []string{"a", "b", "c"} {
		mustChat(t, stack(t, &llmtest.Client{}, llm.StackOptions{Cache: cache}), ask(q))
	}
	cache.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 50, 100, 4000, 4096, 6000, len(whole) - 1} {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := llm.OpenCache(path)
		if err == nil {
			c.Close()
			t.Errorf("cut to %d of %d bytes: opened", n, len(whole))
			continue
		}
		wantErr(t, err, llm.ErrCache)
	}
}

// Files of the version before, without checksums, are taken over; those of a newer one are refused.
func TestFileVersions(t *testing.T) {
	path := cachePath(t)
	cache := openCache(t, path)
	model := &llmtest.Client{}
	mustChat(t, stack(t, model, llm.StackOptions{Cache: cache}), ask("q"))
	cache.Close()
	change := func(statements string) {
		t.Helper()
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(statements); err != nil {
			t.Fatal(err)
		}
	}
	change("ALTER TABLE replies DROP COLUMN sum; ALTER TABLE replies DROP COLUMN sources; DROP TABLE forgotten; PRAGMA user_version = 0")
	for range 2 {
		cache = openCache(t, path)
		mustChat(t, stack(t, model, llm.StackOptions{Cache: cache}), ask("q"))
		cache.Close()
	}
	if model.Calls() != 1 {
		t.Errorf("%d calls, want 1: what an earlier version stored is still there", model.Calls())
	}
	change("PRAGMA user_version = 99")
	if _, err := llm.OpenCache(path); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("a file of a newer version: %v", err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	cache := openCache(t, filepath.Join(dir, "replies.db"))
	mustChat(t, stack(t, &llmtest.Client{}, llm.StackOptions{Cache: cache}), ask("q"))
	ledger, err := llm.OpenLedger(filepath.Join(dir, "spend.db"), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	err = filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A ledger whose numbers changed on the disk is refused.
func TestDamagedLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spend.db")
	l, err := llm.OpenLedger(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	mustChat(t, stack(t, &llmtest.Client{}, llm.StackOptions{Ledger: l}), ask("a b"))
	l.Close()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec("UPDATE calls SET cost = 1")
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := llm.OpenLedger(path, 1); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("a changed cost: %v", err)
	}
}
