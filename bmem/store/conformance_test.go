package store_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/bmem/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t testing.TB) storetest.Place {
		dir := t.TempDir()
		path := filepath.Join(dir, "memory.db")
		return storetest.Place{
			Database: func(t testing.TB) store.Database {
				t.Helper()
				db, err := store.SQLite(path)
				if err != nil {
					t.Fatal(err)
				}
				return db
			},
			Exec: func(t testing.TB, statement string) {
				t.Helper()
				db, err := sql.Open("sqlite", path)
				if err == nil {
					_, err = db.ExecContext(context.Background(), statement)
					err = errors.Join(err, db.Close())
				}
				if err != nil {
					t.Fatal(err)
				}
			},
			Holds: func(t testing.TB, text string) (files []string) {
				t.Helper()
				return store.Holds(t, dir, text)
			},
		}
	})
}
