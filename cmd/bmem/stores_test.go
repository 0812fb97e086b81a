package main

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/serve/tenant"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// A reply that cannot be stored ends the program with the reason, and where none can be, nothing is paid for.
func TestNothingIsPaidThatCannotBeStored(t *testing.T) {
	for name, tt := range map[string]struct {
		when string // of an entry that the disk has no room for
		paid int
	}{"no room at all": {"1", 0}, "no room for the reply": {"NEW.client != ''", 1}} {
		t.Run(name, func(t *testing.T) {
			a := newAsker(t)
			s := llmtest.New(llmtest.Config{Reply: func(llmtest.Call) string { return "no list" }})
			defer s.Close()
			flags := []string{"--policy", "high", "--model", "m", "--endpoint", s.URL()}
			if _, err := a.ask("c", flags...); err != nil {
				t.Fatal(err)
			}
			db, err := sql.Open("sqlite", filepath.Join(a.dir, "c", "replies.db"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec("CREATE TRIGGER full BEFORE INSERT ON replies WHEN " + tt.when + " BEGIN SELECT RAISE(ABORT, 'no room'); END"); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			before := s.Count()
			if _, err := a.ask("c", append(flags, "--model-set", "weights=other")...); err == nil || !strings.Contains(err.Error(), "no room") {
				t.Errorf("error %v, want the reason", err)
			}
			if n := s.Count() - before; n != tt.paid {
				t.Errorf("%d calls were paid for in vain, want %d", n, tt.paid)
			}
		})
	}
}

// What is private stays so, and damage to a store is found, named and not used.
func TestStores(t *testing.T) {
	a := newAsker(t)
	s := llmtest.New(llmtest.Config{Reply: func(llmtest.Call) string { return "The old mill it is" }})
	defer s.Close()
	flags := []string{"--model", "m", "--endpoint", s.URL()}
	if _, err := a.ask("c", flags...); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(a.dir, "c")
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
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
	if out, err := runVerb(t, "", "doctor", "--check", "--cache", dir); err != nil || !strings.Contains(out, "1 replies, all sound") {
		t.Errorf("wrote %q, %v", out, err)
	}
	checkDamagedSpending(t, dir)
	path := filepath.Join(dir, "replies.db")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Replace(whole, []byte("The old mill it is"), []byte("The odd mill it is"), 1)
	for name, data := range map[string][]byte{"a bit": damaged, "the end": whole[:6000]} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := a.ask("c", flags...); err == nil || !strings.Contains(err.Error(), "damaged") || s.Count() != 1 {
			t.Errorf("%s: error %v after %d calls", name, err, s.Count())
		}
		if _, err := runVerb(t, "", "doctor", "--check", "--cache", dir); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the doctor finds %v", name, err)
		}
	}
}

// checkDamagedSpending lets the doctor look at a ledger of tenants' spending in dir, whole and damaged, and removes it.
func checkDamagedSpending(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, tenant.LedgerFile)
	l, err := tenant.OpenLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	h, err := tenant.None(l).Owner().Account.Reserve(t.Context(), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Settle(0.5); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := runVerb(t, "", "doctor", "--check", "--cache", dir); err != nil || !strings.Contains(out, "spending in 1 entries, all sound") {
		t.Errorf("wrote %q, %v", out, err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	amount := binary.BigEndian.AppendUint64(nil, 5e11)[3:] // in 1e-12 dollars, in as few bytes as SQLite keeps
	if !bytes.Contains(whole, amount) {
		t.Fatal("the amount is not where it was looked for")
	}
	if err := os.WriteFile(path, bytes.Replace(whole, amount, binary.BigEndian.AppendUint64(nil, 1e11)[3:], 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := runVerb(t, "", "doctor", "--check", "--cache", dir); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("the doctor finds %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
