package tenant

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// damageNow is the clock of these tests: noon of today, since OpenLedger drops what is old by the clock of the machine.
func damageNow() time.Time { return time.Now().UTC().Truncate(24 * time.Hour).Add(12 * time.Hour) }

// filled makes a ledger in which ann's hour is full, and returns its bytes.
func filled(t *testing.T, path string) []byte {
	t.Helper()
	l := open(t, path, damageNow)
	a := account(t, mustParse(t, ann, l), "x")
	for _, cost := range []float64{0.01, 0.01} {
		h, err := a.Reserve(t.Context(), 0.01, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Settle(cost); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Reserve(t.Context(), 0.005, 0); err != nil { // never settled
		t.Fatal(err)
	}
	if n, err := l.Check(t.Context()); n != 2 || err != nil {
		t.Errorf("%d entries, %v; want what was spent and what is held", n, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A bit that flips anywhere in the file lets nobody spend more: the ledger is refused, or says the same.
func TestFlippedBits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spending.db")
	whole := filled(t, path)
	refused := 0
	flip := func(i int, bit byte) {
		damaged := bytes.Clone(whole)
		damaged[i] ^= bit
		os.Remove(path + "-wal")
		os.Remove(path + "-shm")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLedger(path)
		if err != nil {
			refused++
			return
		}
		defer l.Close()
		l.now, l.patience = damageNow, time.Millisecond
		if h, err := account(t, mustParse(t, ann, l), "x").Reserve(t.Context(), 0.005, 0.0001); err == nil {
			t.Errorf("byte %d, bit %d: $%v of a full hour may be spent", i, bit, h.Dollars())
		}
	}
	// Of the pages, the bytes that hold something, and some of the others.
	for i, b := range whole {
		if at := bytes.Index(whole, []byte("ann")); i > at-40 && i < at+40 {
			for bit := range 8 {
				flip(i, 1<<bit)
			}
		} else if b != 0 && i%17 == 0 || i%1021 == 0 {
			flip(i, 1<<(i%8))
		}
	}
	if refused < 50 {
		t.Errorf("%d files were refused", refused)
	}
}

// An entry that changes while the ledger is open is not believed either.
func TestFlippedWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spending.db")
	filled(t, path)
	l := open(t, path, damageNow)
	defer l.Close()
	l.patience = time.Millisecond
	a := account(t, mustParse(t, ann, l), "x")
	other, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Exec("UPDATE spent SET amount = amount - 1"); err != nil {
		t.Fatal(err)
	}
	_, err = a.Reserve(t.Context(), 0.001, 0)
	if err == nil || !strings.Contains(err.Error(), `"ann": its checksum is wrong`) {
		t.Errorf("a question: %v", err)
	}
	if _, err := a.Spending(t.Context()); err == nil {
		t.Error("the spending is shown")
	}
	if _, err := l.Check(t.Context()); err == nil {
		t.Error("Check finds nothing")
	}
	if _, err := OpenLedger(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("opened again: %v", err)
	}
}

// A ledger of an earlier version, without checksums, is read, and has them from then on.
func TestLedgerWithoutChecksums(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spending.db")
	filled(t, path)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("ALTER TABLE spent DROP COLUMN sum; ALTER TABLE held DROP COLUMN sum; PRAGMA user_version = 0"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	l := open(t, path, damageNow)
	defer l.Close()
	if n, err := l.Check(t.Context()); n != 2 || err != nil {
		t.Errorf("%d entries, %v", n, err)
	}
	if s, err := account(t, mustParse(t, ann, l), "x").Spending(t.Context()); err != nil || s.Accounts[0].Budget.Hour.Left != 0 || s.Accounts[0].Days[0].Asked != 2 {
		t.Errorf("%+v, %v", s, err)
	}
}
