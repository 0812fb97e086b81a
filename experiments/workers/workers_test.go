package workers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/experiments/workers"
	"github.com/budgetmem/budgetmem/experiments/workers/natsserver"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// endpoint is a model with latency that counts what it answers.
type endpoint struct {
	latency time.Duration

	mu       sync.Mutex
	answered map[string]int // by body
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	if _, err := body.ReadFrom(r.Body); err != nil {
		return
	}
	var req struct {
		Messages []llm.Message `json:"messages"`
	}
	if err := json.Unmarshal(body.Bytes(), &req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(e.latency):
	case <-r.Context().Done():
		return
	}
	e.mu.Lock()
	e.answered[body.String()]++
	e.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]any{
		"choices": []any{map[string]any{"message": map[string]any{"content": runtest.Reply(llmtest.Call{Messages: req.Messages})}, "finish_reason": "stop"}},
		"usage":   map[string]int{"prompt_tokens": body.Len() / 4, "completion_tokens": 5},
	})
}

// counts returns how many different calls were answered, and how often one came again.
func (e *endpoint) counts() (different, again int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.answered {
		different++
		again += n - 1
	}
	return different, again
}

func newEndpoint(t testing.TB, latency time.Duration) (*endpoint, string) {
	e := &endpoint{latency: latency, answered: map[string]int{}}
	s := httptest.NewServer(e)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return e, s.URL + "/v1"
}

// startServer starts a NATS server for the time of a test.
func startServer(t testing.TB) string {
	t.Helper()
	s, err := natsserver.Start(natsserver.Config{Addr: "127.0.0.1:0", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s.ClientURL()
}

func connect(t testing.TB, url, name string, lease time.Duration) *workers.Conn {
	t.Helper()
	c, err := workers.Connect(t.Context(), url, name, lease)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// opener opens the test's system for a worker, in a cache folder of its own.
func opener(c *workers.Conn, url, dir string, change func(*run.Config)) func(context.Context, workers.Job) (workers.Opened, error) {
	return func(ctx context.Context, job workers.Job) (workers.Opened, error) {
		rig := runtest.Rig{URL: url, Dir: dir, Replies: c.Replies(), Timeout: time.Minute}
		var slot *workers.Slot
		if job.Limit > 0 {
			var err error
			if slot, _, err = workers.TakeSlots(filepath.Join(dir, "ledgers"), job.Run); err != nil {
				return workers.Opened{}, err
			}
			rig.LedgerFile, rig.Allowance = slot.Path, c.Allowance(job.Run, slot.Holder)
		}
		m, _, closeAll, err := runtest.Open(rig)
		if err != nil {
			return workers.Opened{}, err
		}
		cfg := runtest.Config("", m)
		job.Configure(&cfg)
		if change != nil {
			change(&cfg)
		}
		a, err := run.NewAsker(ctx, cfg)
		return workers.Opened{Asker: a, Close: func() error { closeAll(); slot.Close(); return nil }}, err
	}
}

// tracedAs is the trace that every task of these tests comes with.
const tracedAs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// startWorker runs a worker in this process until the test ends.
func startWorker(t testing.TB, nats, url, name string, capacity int, change func(*run.Config)) {
	t.Helper()
	c := connect(t, nats, name, workers.DefaultLease)
	w := &workers.Worker{Conn: c, Name: name, Capacity: capacity, Open: opener(c, url, t.TempDir(), change), Received: func(ctx context.Context, h http.Header) context.Context {
		if got := h.Get("traceparent"); got != tracedAs {
			t.Errorf("a task came with the trace %q, want %q", got, tracedAs)
		}
		return ctx
	}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.Work(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("worker %s: %v", name, err)
		}
	})
}

// coordinate returns the configuration of a run that workers answer, and what the user is told.
func coordinate(t testing.TB, nats, url string, lease time.Duration) (run.Config, *workers.Coordinator, func() []string) {
	t.Helper()
	m, _, closeAll, err := runtest.Open(runtest.Rig{URL: url, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeAll)
	cfg := runtest.Config(t.TempDir(), m)
	folder, err := workers.OpenFolder(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var notes []string
	c := &workers.Coordinator{Sending: func(_ context.Context, h http.Header) { h.Set("traceparent", tracedAs) },
		Conn: connect(t, nats, "coordinator", lease), Folder: folder, Note: func(s string) {
			mu.Lock()
			defer mu.Unlock()
			notes = append(notes, s)
		}}
	cfg.Executor = c
	return cfg, c, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(notes)
	}
}

// localRun runs the same configuration in this process alone, against an endpoint without latency.
func localRun(t testing.TB, change func(*run.Config)) string {
	t.Helper()
	_, url := newEndpoint(t, 0)
	m, _, closeAll, err := runtest.Open(runtest.Rig{URL: url, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeAll)
	cfg := runtest.Config(t.TempDir(), m)
	if change != nil {
		change(&cfg)
	}
	if _, err := run.Run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	return cfg.Dir
}

// sameRun compares the folders of two runs in all but times, and who paid.
func sameRun(t testing.TB, got, want string) {
	t.Helper()
	for _, name := range []string{"predictions.jsonl", "traces.jsonl", "metrics.jsonl"} {
		a, b := content(t, filepath.Join(got, name)), content(t, filepath.Join(want, name))
		if len(a) != len(b) {
			t.Errorf("%s has %d lines, want %d", name, len(a), len(b))
			continue
		}
		for i := range a {
			if a[i] != b[i] {
				t.Errorf("%s differs in a line:\n%s\nwant\n%s", name, a[i], b[i])
				break
			}
		}
	}
}

// content returns the lines of a run's file without what may differ between two runs; traces.jsonl in a fixed order.
func content(t testing.TB, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(path)
	var lines []string
	for line := range bytes.Lines(data) {
		if name == "predictions.jsonl" {
			lines = append(lines, string(line))
			continue
		}
		var v map[string]any
		if err := json.Unmarshal(line[:bytes.LastIndexByte(line, '}')+1], &v); err != nil {
			t.Fatalf("%s: %v in %s", path, err, line)
		}
		b, err := json.Marshal(calm(v))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(b))
	}
	if name == "traces.jsonl" {
		slices.Sort(lines)
		lines = slices.Compact(lines)
	}
	return lines
}

// calm removes times and payments at any depth.
func calm(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, x := range v {
			if name == "ms" || strings.HasSuffix(name, "_ms") || name == "paid" || name == "cached" || name == "retries" || name == "crc" || name == "sum" {
				delete(v, name)
			} else {
				v[name] = calm(x)
			}
		}
	case []any:
		for i := range v {
			v[i] = calm(v[i])
		}
	}
	return v
}

// Two workers answer what one process would, and pay for every call once between them.
func TestWorkersAnswerAsOneProcessDoes(t *testing.T) {
	nats := startServer(t)
	e, url := newEndpoint(t, time.Millisecond)
	startWorker(t, nats, url, "a", 3, nil)
	startWorker(t, nats, url, "b", 3, nil)
	cfg, _, _ := coordinate(t, nats, url, workers.DefaultLease)
	o, err := run.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if o.Failed > 0 || o.Done != o.Total || o.Paid <= 0 {
		t.Errorf("progress %+v", o.Progress)
	}
	sameRun(t, cfg.Dir, localRun(t, nil))
	if different, again := e.counts(); again > 0 {
		t.Errorf("%d of %d calls were paid twice", again, different)
	}
	// A second start has nothing to do and needs no worker.
	if o, err = run.Run(t.Context(), cfg); err != nil || o.Done != o.Total {
		t.Errorf("second start: %v, %+v", err, o.Progress)
	}
}

// What workers collect for training has the states that routers see.
func TestWorkersCollectStates(t *testing.T) {
	nats := startServer(t)
	_, url := newEndpoint(t, 0)
	startWorker(t, nats, url, "a", 4, nil)
	cfg, _, _ := coordinate(t, nats, url, workers.DefaultLease)
	_, f, err := run.Collect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if want := 12 * len(runtest.Policies); len(f.Episodes) < want-12 || len(f.Episodes[0].Query) == 0 { // two policies may agree
		t.Errorf("%d episodes, want about %d, with states", len(f.Episodes), want)
	}
}

// A worker with other settings refuses and says in what; another one does the work.
func TestWorkerWithOtherSettingsRefuses(t *testing.T) {
	nats := startServer(t)
	_, url := newEndpoint(t, 0)
	startWorker(t, nats, url, "stranger", 3, func(c *run.Config) { c.System.Prompts = "other" })
	cfg, _, notes := coordinate(t, nats, url, workers.DefaultLease)
	ended := make(chan error)
	go func() {
		_, err := run.Run(t.Context(), cfg)
		ended <- err
	}()
	await(t, notes, "worker stranger refuses the run: prompts is ")
	startWorker(t, nats, url, "friend", 3, nil)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// The user is told that nobody works, and then who does.
func TestUserIsToldOfWorkers(t *testing.T) {
	nats := startServer(t)
	_, url := newEndpoint(t, 200*time.Millisecond)
	cfg, _, notes := coordinate(t, nats, url, workers.DefaultLease)
	stop := startRun(t, cfg)
	await(t, notes, "no worker is there yet")
	startWorker(t, nats, url, "a", 3, nil)
	await(t, notes, "worker a answers up to 3 questions")
	stop()
}

// startRun begins a run whose result nobody wants; stop ends it.
func startRun(t *testing.T, cfg run.Config) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = run.Run(ctx, cfg)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// await waits until the user has been told something.
func await(t *testing.T, notes func() []string, want string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !slices.ContainsFunc(notes(), func(s string) bool { return strings.Contains(s, want) }); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the user was told %q, want %q", notes(), want)
		}
	}
}

// The spend limit of a run holds over its workers, and its end ends the run.
func TestWorkersStopAtTheSpendLimit(t *testing.T) {
	nats := startServer(t)
	e, url := newEndpoint(t, time.Millisecond)
	startWorker(t, nats, url, "a", 3, nil)
	startWorker(t, nats, url, "b", 3, nil)
	cfg, c, _ := coordinate(t, nats, url, workers.DefaultLease)
	const limit = 0.02
	c.Limit = limit
	if err := c.Conn.OpenLimit(t.Context(), c.Folder.ID, limit, c.Folder.Books); err != nil {
		t.Fatal(err)
	}
	o, err := run.Run(t.Context(), cfg)
	if !errors.Is(err, llm.ErrBudget) {
		t.Fatalf("error %v after %+v, want the spend limit's", err, o.Progress)
	}
	if calls, _ := e.counts(); calls == 0 || o.Paid > limit || o.Done == o.Total {
		t.Errorf("%d calls, progress %+v: want some for less than $%v", calls, o.Progress, limit)
	}
	kept, err := workers.OpenFolder(cfg.Dir)
	if err != nil || kept.Elsewhere() <= 0 || kept.Elsewhere() > limit {
		t.Errorf("the folder knows of $%v spent by workers, %v", kept.Elsewhere(), err)
	}
	// With more money the same run goes on.
	c.Limit = 10
	if err := c.Conn.OpenLimit(t.Context(), c.Folder.ID, c.Limit, kept.Books); err != nil {
		t.Fatal(err)
	}
	if o, err = run.Run(t.Context(), cfg); err != nil || o.Done != o.Total {
		t.Fatalf("with more money: %v, %+v", err, o.Progress)
	}
	sameRun(t, cfg.Dir, localRun(t, nil))
	// The calls in flight when the limit was reached were cancelled.
	if different, again := e.counts(); again > 2*3*parallel {
		t.Errorf("%d of %d calls were paid twice", again, different)
	}
}

// parallel is how many calls a question makes at one time: entity, temporal and topic run side by side.
const parallel = 3

// A run that is cancelled ends within a second.
func TestCancelledRunEnds(t *testing.T) {
	nats := startServer(t)
	_, url := newEndpoint(t, time.Minute)
	startWorker(t, nats, url, "a", 3, nil)
	cfg, _, _ := coordinate(t, nats, url, workers.DefaultLease)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := run.Run(ctx, cfg)
		ended <- err
	}()
	time.Sleep(300 * time.Millisecond)
	cancel()
	start := time.Now()
	if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(start) > 3*time.Second {
		t.Errorf("ended after %v: %v", time.Since(start), err)
	}
}

func TestConnectSaysWhatIsWrong(t *testing.T) {
	for url, want := range map[string]string{"nats://user:secret@127.0.0.1:4": workers.EnvToken, "nats://127.0.0.1:1": "bmem nats"} {
		_, err := workers.Connect(t.Context(), url, "test", workers.DefaultLease)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%s: error %v, want one with %q", url, err, want)
		}
	}
}
