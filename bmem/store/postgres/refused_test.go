package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/bmem/store/postgres"
	"github.com/budgetmem/budgetmem/internal/pgtest"
)

// silent listens and never answers.
func silent(t *testing.T) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestServerIsNotThere(t *testing.T) {
	t.Setenv("PGPASSWORD", "")
	port := silent(t)
	for name, tt := range map[string]struct{ address, want string }{
		"nobody listens":    {"postgres://u@127.0.0.1:1/d", "no PostgreSQL server answers there"},
		"no socket":         {"postgres://u@/d?host=/nowhere", "no PostgreSQL server answers there"},
		"no address":        {"memory.db", "want postgres://"},
		"a silent server":   {"postgres://u@127.0.0.1:" + port + "/d", "deadline exceeded"},
		"many schemas":      {"postgres://u@h/d?search_path=a,b", "search_path"},
		"the schema public": {"postgres://u@h/d?search_path=public", "search_path"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		start := time.Now()
		_, err := postgres.Open(ctx, tt.address)
		if took := time.Since(start); err == nil || !strings.Contains(err.Error(), tt.want) || took > 1300*time.Millisecond {
			t.Errorf("%s: after %v: %v", name, took, err)
		}
		cancel()
	}
	if _, err := postgres.Open(t.Context(), pgtest.Shared(t).URL("")+"&dbname=nowhere"); err == nil || !strings.Contains(err.Error(), "createdb") {
		t.Errorf("no such database: %v", err)
	}
}

// A password stands in no error and in no name, whatever is wrong with the address.
func TestPasswordIsNotShown(t *testing.T) {
	const secret = "hunter2"
	for _, address := range []string{
		"postgres://u:hunter2@127.0.0.1:1/d", "postgresql://u:hunter2@127.0.0.1:1/d?sslmode=disable", "postgres://u:hunter2@127.0.0.1:1/d?sslmode=never",
		"postgres://u:hunter2@127.0.0.1:1/d?pool_max_conns=many", "postgres://u:hunter2@127.0.0.1:1/d?connect_timeout=soon",
		"postgres://u:hunter2@h:port/d", "postgres://u:hunter2%zz@h/d", "postgres://u:hunter2/x@h/d", "postgres://u:hunter2#x@h/d", "postgres://u:hunter2?x@h/d",
		"postgres://u:hunter2@[::1/d", "postgres://u:a b hunter2@h/d", "postgres://u:hunter2@/d?host=/nowhere", "postgres://u@127.0.0.1:1/d?password=hunter2",
		"postgres://u:hunter2@127.0.0.1:1/d?search_path=A", "mysql://u:hunter2@h/d", "postgres://:hunter2@127.0.0.1:1/", "postgres://u:hunter2@127.0.0.1:1/d?sslrootcert=/nowhere",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := postgres.Open(ctx, address)
		if err == nil || strings.Contains(err.Error(), secret) || strings.Contains(fmt.Sprintf("%+v %#v", err, err), secret) {
			t.Errorf("%s: %v", address, err)
		}
		cancel()
	}
	t.Setenv("PGPASSWORD", secret)
	if _, err := postgres.Open(t.Context(), "postgres://u@127.0.0.1:1/d"); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("of PGPASSWORD: %v", err)
	}
	server := pgtest.Shared(t)
	s := openStore(t, strings.Replace(server.URL(pgtest.Schema()), "bm@", "bm:"+secret+"@", 1))
	_, err := s.Memory(t.Context(), "none")
	if shown := fmt.Sprint(s, err); strings.Contains(shown, secret) || !strings.Contains(shown, "postgres://bm@") {
		t.Errorf("shown as %s", shown)
	}
}

func TestWhatIsNoStore(t *testing.T) {
	server := pgtest.Shared(t)
	foreign, newer := pgtest.Schema(), pgtest.Schema()
	if err := server.Exec(t.Context(), "CREATE SCHEMA "+foreign, "CREATE TABLE "+foreign+".memory (x int)"); err != nil {
		t.Fatal(err)
	}
	if _, err := postgres.Open(t.Context(), server.URL(foreign)); !errors.Is(err, store.ErrNotStore) {
		t.Errorf("another program's schema: %v", err)
	}
	openStore(t, server.URL(newer))
	if err := server.Exec(t.Context(), "UPDATE "+newer+".schema_version SET version = 99"); err != nil {
		t.Fatal(err)
	}
	if _, err := postgres.Open(t.Context(), server.URL(newer)); !errors.Is(err, store.ErrNewer) {
		t.Errorf("a newer version: %v", err)
	}
}

// A role that may only read is told so where it would change something, and can ask.
func TestReadOnlyRole(t *testing.T) {
	server, schema := pgtest.Shared(t), pgtest.Schema()
	s, e := openStore(t, server.URL(schema)), &embedtest.Words{}
	if _, err := s.Append(t.Context(), "m", []chunk.Turn{turn("1", "There is something to read.")}, cutter, store.AddOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Embed(t.Context(), "m", e, true, nil); err != nil {
		t.Fatal(err)
	}
	if err := server.Exec(t.Context(), "DROP ROLE IF EXISTS reader", "CREATE ROLE reader LOGIN", "GRANT USAGE ON SCHEMA "+schema+" TO reader",
		"GRANT SELECT ON ALL TABLES IN SCHEMA "+schema+" TO reader"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Exec(context.Background(), "DROP OWNED BY reader", "DROP ROLE reader"); err != nil {
			t.Error(err)
		}
	})
	r := openStore(t, strings.Replace(server.URL(schema), "bm@", "reader@", 1))
	if ix, err := r.ReadIndex(t.Context(), "m", e, true, -1, nil); err != nil || len(ix.Chunks) != 1 {
		t.Errorf("%d chunks (%v)", len(ix.Chunks), err)
	}
	if _, err := r.Vectors(t.Context(), "m", e, []string{"a question"}); err != nil {
		t.Error(err)
	}
	_, added := r.Append(t.Context(), "m", []chunk.Turn{turn("2", "More.")}, cutter, store.AddOptions{})
	_, gone := r.Forget(t.Context(), store.Selection{Memory: "m", All: true})
	for what, err := range map[string]error{"add": added, "forget": gone} {
		if !errors.Is(err, store.ErrReadOnly) || strings.Contains(err.Error(), "file") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := postgres.Open(t.Context(), strings.Replace(server.URL(pgtest.Schema()), "bm@", "reader@", 1)); err == nil || !strings.Contains(err.Error(), "GRANT CREATE") {
		t.Errorf("a new schema: %v", err)
	}
}
