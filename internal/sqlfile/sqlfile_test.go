package sqlfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var things = Kind{What: "list of things", App: 0x12345, Schema: "CREATE TABLE thing (x INTEGER) STRICT", Wait: time.Minute}

// A file that was cut to nothing is no new one.
func TestEmptyFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "things.db")
	db, err := Open(path, things)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, things); !errors.Is(err, ErrDamaged) {
		t.Errorf("an empty file: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("it was changed: %v, %v", info.Size(), err)
	}
}

// A log without its file, which SQLite would play into a new one, stays where it is.
func TestLogAloneIsRefused(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(filepath.Join(dir, "old.db"), things)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE old (x)"); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "old.db-wal")) // while it is open
	if err != nil || len(log) == 0 {
		t.Fatalf("a log of %d bytes, %v", len(log), err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "things.db")
	if err := os.WriteFile(path+"-wal", log, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, things); !errors.Is(err, ErrDamaged) || !errors.Is(err, ErrCut) {
		t.Errorf("a log alone: %v", err)
	}
	if kept, err := os.ReadFile(path + "-wal"); err != nil || !bytes.Equal(kept, log) {
		t.Errorf("the log was changed, %v", err)
	}
}

// Of those that make the file at the same time, all get the same one, and nothing else is left.
func TestCreateTogether(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "things.db")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			db, err := Open(path, things)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := db.Exec("INSERT INTO thing VALUES (?)", i); err != nil {
				t.Error(err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	db, err := Open(path, things)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := db.QueryRow("SELECT count(*) FROM thing").Scan(&n); err != nil || n != 8 {
		t.Errorf("%d rows, %v", n, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// A file whose log was not written into it when it was closed does not become the file: without the log it is damaged.
func TestCreateRefusesALog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	err := Create(path, func(tmp string) error {
		return errors.Join(os.WriteFile(tmp, []byte("half"), 0o600), os.WriteFile(tmp+"-wal", []byte("the rest"), 0o600))
	})
	if err == nil || !strings.Contains(err.Error(), "log") {
		t.Errorf("error %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
