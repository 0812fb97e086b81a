package llm_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// Where the ledger's file cannot be written, calls fail with an error of its own, before they are paid for. If that comes out
// after a call, its reply is used, and the next call fails.
func TestLedgerThatCannotBeWritten(t *testing.T) {
	for when, paid := range map[string]int{"INSERT": 0, "UPDATE OF cost": 1} {
		t.Run(when, func(t *testing.T) { testFullLedger(t, when, paid) })
	}
}

func testFullLedger(t *testing.T, when string, paid int) {
	path := filepath.Join(t.TempDir(), "spend.db")
	l, err := llm.OpenLedger(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TRIGGER full BEFORE " + when + " ON calls BEGIN SELECT RAISE(ABORT, 'no room'); END"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = llm.OpenLedger(path, 1); err != nil {
		t.Fatal(err)
	}
	model := &llmtest.Client{}
	c := stack(t, model, llm.StackOptions{Ledger: l})
	if paid > 0 {
		mustChat(t, c, ask("a b"))
	}
	_, err = c.Chat(t.Context(), ask("c"))
	if wantErr(t, err, llm.ErrLedger); model.Calls() != paid || l.Balance().Reserved != 0 {
		t.Errorf("%d calls, want %d, %+v", model.Calls(), paid, l.Balance())
	}
	if err := l.Close(); (err != nil) != (paid > 0) {
		t.Errorf("closed: %v", err)
	}
}
