package postgres_test

import (
	"context"
	"os"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/bmem/store/postgres"
	"github.com/budgetmem/budgetmem/bmem/store/storetest"
	"github.com/budgetmem/budgetmem/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// place returns where a new store lies in the shared server.
func place(t testing.TB) storetest.Place {
	t.Helper()
	server, schema := pgtest.Shared(t), pgtest.Schema()
	return storetest.Place{
		Database: func(t testing.TB) store.Database {
			t.Helper()
			db, err := postgres.Database(t.Context(), server.URL(schema))
			if err != nil {
				t.Fatal(err)
			}
			return db
		},
		Exec: func(t testing.TB, statement string) {
			t.Helper()
			if err := server.Exec(context.Background(), "SET search_path = "+schema, statement); err != nil {
				t.Fatal(err)
			}
		},
		Holds: func(t testing.TB, text string) []string {
			t.Helper()
			tables, err := server.Holds(t.Context(), schema, text)
			if err != nil {
				t.Fatal(err)
			}
			return tables
		},
	}
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t testing.TB) storetest.Place {
		return withVectors(t, "CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public", "_vector")
	})
}

// Without the extension pgvector, vectors are bytes.
func TestVectorsAsBytes(t *testing.T) {
	storetest.Vectors(t, func(t testing.TB) storetest.Place {
		return withVectors(t, "DROP EXTENSION IF EXISTS vector CASCADE", "bytea")
	})
}

// withVectors returns a place whose columns with vectors have a type, after a statement that installs or removes the extension.
func withVectors(t testing.TB, statement, column string) storetest.Place {
	t.Helper()
	p := place(t)
	p.Exec(t, statement)
	t.Cleanup(func() {
		p.Exec(t, "DO $$ BEGIN ASSERT 2 = (SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema() AND "+
			"column_name IN ('vectors', 'value') AND udt_name = '"+column+"'); END $$")
	})
	return p
}

func TestIsURL(t *testing.T) {
	for address, want := range map[string]bool{"postgres://h/d": true, "postgresql://h/d": true, "memory.db": false, "postgres": false, "": false, "/postgres://": false} {
		if postgres.IsURL(address) != want {
			t.Errorf("%q: want %v", address, want)
		}
	}
}
