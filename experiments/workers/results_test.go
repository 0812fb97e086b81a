//go:build unix

package workers_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/workers"
)

// A message among the results that is not what its place says, from an earlier version or a damaged disk, is taken for no answer: left
// there it would keep out the answer, and the run would wait for ever.
func TestStrangeResults(t *testing.T) {
	nats := startServer(t)
	_, url := newEndpoint(t, 0)
	startWorker(t, nats, url, "a", 3, nil)
	js := dial(t, nats)
	another, err := json.Marshal(map[string]any{"record": run.Record{Prediction: run.Prediction{ID: "h0-q1", Policy: "low", Prediction: "Lima"}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"packed in another way": {0x1f, 0x8b, 8, 0, 0, 0, 0, 0}, "of no question": s2.Encode(nil, []byte("null")), "of another question": s2.Encode(nil, another),
		"of a run's end": s2.Encode(nil, []byte(`{"stop": "spent"}`)),
	} {
		cfg, c, _ := coordinate(t, nats, url, workers.DefaultLease)
		cfg.Policies = []string{"low"}
		place := sha256.Sum256([]byte("h0-q0"))
		policy := sha256.Sum256([]byte("low"))
		put := func() {
			if _, err := js.Publish(t.Context(), "bmem.results."+c.Folder.ID+"."+hex.EncodeToString(place[:12])+"."+hex.EncodeToString(policy[:12]), data); err != nil {
				t.Fatal(err)
			}
		}
		execute := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := run.Run(ctx, cfg)
			return err
		}
		put() // before the run
		if err := execute(); err != nil {
			t.Errorf("a result %s: %v", name, err)
		}
		// While it is under way: nobody has answered yet.
		cfg, c, notes := coordinate(t, nats, "http://127.0.0.1:1/v1", workers.DefaultLease)
		cfg.Policies, cfg.System.Prompts = []string{"low"}, "others"
		ended := make(chan error)
		go func() { ended <- execute() }()
		await(t, notes, "worker a refuses")
		put()
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "which a new start asks for again") {
			t.Errorf("a result %s came in: error %v, want one that says what to do", name, err)
		}
	}
}
