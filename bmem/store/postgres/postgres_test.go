package postgres_test

import (
	"context"
	"os"
	"slices"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
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

// cache notes the sources that it is told to forget.
type cache struct {
	name    string
	sources []string
}

func (c *cache) String() string { return c.name }

func (c *cache) Forget(_ context.Context, sources map[string]bool, _ func(string) bool) error {
	for source := range sources {
		c.sources = append(c.sources, source)
	}
	return nil
}

// What one machine forgets, all forget in their replies: those that are running by their next question, others when they are back, and once.
// Nothing that tells of it is kept longer.
func TestAllMachinesForgetReplies(t *testing.T) {
	server, schema := pgtest.Shared(t), pgtest.Schema()
	running, away, alone := &cache{name: "running"}, &cache{name: "away"}, &cache{name: "alone"}
	with := func(c *cache) *store.Store {
		t.Helper()
		s := openStore(t, server.URL(schema))
		if err := s.ForgetIn(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		return s
	}
	here := with(running)
	if _, err := here.Append(t.Context(), "m", []chunk.Turn{turn("1", "My secret."), turn("2", "Another one."), turn("3", "No secret.")}, cutter, store.AddOptions{}); err != nil {
		t.Fatal(err)
	}
	with(away)
	there := with(alone)
	for _, id := range []string{"1", "2"} {
		if _, err := there.Forget(t.Context(), store.Selection{Memory: "m", Turns: []string{id}}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := here.Describe(t.Context(), "m"); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{string(store.SourceOf("My secret.")), string(store.SourceOf("Another one."))}
	for _, c := range []*cache{running, alone} {
		if !slices.Equal(c.sources, want) {
			t.Errorf("%s has forgotten %q, want %q", c.name, c.sources, want)
		}
	}
	rows := func(table string) string { return "(SELECT count(*) FROM " + schema + "." + table + ")" }
	expect := func(condition string) {
		t.Helper()
		if err := server.Exec(t.Context(), "DO $$ BEGIN ASSERT "+condition+"; END $$"); err != nil {
			t.Error(err)
		}
	}
	expect(rows("forgotten") + " = 2 AND " + rows("reader") + " = 3")
	with(away)
	slices.Sort(away.sources) // both at once
	slices.Sort(want)
	if !slices.Equal(away.sources, want) {
		t.Errorf("away has forgotten %q", away.sources)
	}
	expect(rows("forgotten") + " = 0")

	// One that does not come back is given up.
	if err := server.Exec(t.Context(), "UPDATE "+schema+".reader SET seen = seen - 31 * 86400 WHERE cache LIKE '%away'"); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Forget(t.Context(), store.Selection{Memory: "m", Turns: []string{"3"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := there.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(rows("forgotten") + " = 0 AND " + rows("reader") + " = 2")
	if len(running.sources) != 3 || len(alone.sources) != 3 {
		t.Errorf("%d and %d sources", len(running.sources), len(alone.sources))
	}
}
