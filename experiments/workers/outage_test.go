package workers_test

import (
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/experiments/workers"
	"github.com/budgetmem/budgetmem/experiments/workers/natsserver"
)

// A server that is away is said, and that it is back; workers that wait for it as the run does are not called gone.
func TestUserIsToldOfAnOutage(t *testing.T) {
	dir := t.TempDir()
	s, err := natsserver.Start(natsserver.Config{Addr: "127.0.0.1:0", Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	nats := s.ClientURL()
	_, url := newEndpoint(t, 300*time.Millisecond)
	cfg, _, notes := coordinate(t, nats, url, workers.DefaultLease)
	stop := startRun(t, cfg)
	startWorker(t, nats, url, "a", 1, nil)
	await(t, notes, "worker a answers up to 1 questions")
	s.Stop()
	await(t, notes, "the NATS server is away")
	if s, err = natsserver.Start(natsserver.Config{Addr: strings.TrimPrefix(nats, "nats://"), Dir: dir}); err != nil {
		t.Fatal(err)
	}
	await(t, notes, "the NATS server is back")
	time.Sleep(3 * time.Second) // the worker says that it is there every two seconds
	stop()
	for _, n := range notes() {
		if strings.Contains(n, "is gone") {
			t.Errorf("the user was told %q of an outage of the server", n)
		}
	}
}
