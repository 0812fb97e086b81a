package store

import (
	"context"
	"database/sql"
)

// fileTx is a transaction. Those that write keep their statements prepared.
type fileTx struct {
	ctx      context.Context
	tx       *sql.Tx
	prepared map[string]*sql.Stmt // nil in one that reads
}

// statement prepares a statement once.
func (t *fileTx) statement(query string) (*sql.Stmt, error) {
	if s := t.prepared[query]; s != nil {
		return s, nil
	}
	s, err := t.tx.PrepareContext(t.ctx, query)
	if err == nil {
		t.prepared[query] = s
	}
	return s, err
}

func (t *fileTx) close() {
	for _, s := range t.prepared {
		s.Close()
	}
}

// Exec implements Tx. Several statements at once have no values.
func (t *fileTx) Exec(query string, args ...any) error {
	if len(args) == 0 {
		_, err := t.tx.ExecContext(t.ctx, query)
		return err
	}
	s, err := t.statement(query)
	if err != nil {
		return err
	}
	_, err = s.ExecContext(t.ctx, args...)
	return err
}

// Query implements Tx.
func (t *fileTx) Query(query string, args ...any) (Rows, error) {
	if t.prepared == nil {
		return t.tx.QueryContext(t.ctx, query, args...)
	}
	s, err := t.statement(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(t.ctx, args...)
}

// Lock implements Tx: changes run one by one in any case.
func (t *fileTx) Lock(int64) error { return nil }
