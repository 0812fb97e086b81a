//go:build unix

package workers_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/workers"
)

// A program that was built without its commit, as in a container, is told from another that was.
func TestWorkerBuiltOtherwiseRefuses(t *testing.T) {
	t.Parallel()
	other := filepath.Join(t.TempDir(), "other")
	data, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, append(data, 0), 0o700); err != nil { // it runs as before
		t.Fatal(err)
	}
	nats := startServer(t)
	_, url := newEndpoint(t, 0)
	c := child{Kind: "worker", NATS: nats, Endpoint: url, Dir: t.TempDir(), Name: "stranger", Capacity: 3, Lease: workers.DefaultLease, Program: other, Histories: 3}
	c.start(t)
	cfg, _, notes := coordinate(t, nats, url, workers.DefaultLease)
	cfg.Dataset = c.dataset()
	ended := make(chan error)
	go func() {
		_, err := run.Run(t.Context(), cfg)
		ended <- err
	}()
	await(t, notes, "worker stranger refuses the run: the run's program is version ")
	c.Program, c.Name, c.Dir = "", "friend", t.TempDir()
	c.start(t)
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatalf("the run does not end; the user was told %q", notes())
	}
}
