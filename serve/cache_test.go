package serve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/serve/api"
)

// fakeSource is a source of models named by their size, such as "4", of which "7" is broken.
type fakeSource struct {
	mu     sync.Mutex
	opened []string
	closed []string
	gate   chan struct{} // if not nil, every Open takes a value from it
}

func (d *fakeSource) Names(context.Context) []string { return []string{"2", "4", "7"} }

func (d *fakeSource) Size(_ context.Context, name string) (size int64, err error) {
	if _, err = fmt.Sscan(name, &size); err != nil {
		err = fmt.Errorf("no such model: %q", name)
	}
	return size, err
}

func (d *fakeSource) Open(_ context.Context, name string) (ClosableModel, error) {
	if d.gate != nil {
		<-d.gate
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opened = append(d.opened, name)
	if name == "7" {
		return nil, errors.New("broken file")
	}
	return &openedFake{newFake(), name, d}, nil
}

func (d *fakeSource) seen() (opened, closed []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.opened), slices.Clone(d.closed)
}

type openedFake struct {
	*fake
	name   string
	source *fakeSource
}

func (m *openedFake) Model() string { return m.name }
func (m *openedFake) ID() string    { return "opened:" + m.name }
func (m *openedFake) Close() error {
	m.source.mu.Lock()
	defer m.source.mu.Unlock()
	m.source.closed = append(m.source.closed, m.name)
	return nil
}

func newCache(d *fakeSource, limit int64) *modelCache {
	return &modelCache{source: d, limit: limit, open: map[string]*cached{}, changed: make(chan struct{})}
}

func TestModelCacheClosesWhatWasIdleLongest(t *testing.T) {
	d := &fakeSource{}
	s := newCache(d, 10)
	use := func(name string) {
		t.Helper()
		m, release, err := s.take(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if m.Model() != name {
			t.Errorf("took %s, got %s", name, m.Model())
		}
		release()
		release() // harmless
		time.Sleep(time.Millisecond)
	}
	for _, name := range []string{"4", "3", "2", "4", "5"} {
		use(name)
	}
	opened, closed := d.seen()
	if !slices.Equal(opened, []string{"4", "3", "2", "5"}) || !slices.Equal(closed, []string{"3", "2"}) {
		t.Errorf("opened %v, closed %v; want 3 and 2 closed for 5, as 4 was used again", opened, closed)
	}
	for name, want := range map[string]string{"11": "--max-memory", "7": "broken file", "x": `no such model: "x"`} {
		if _, _, err := s.take(t.Context(), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	use("4") // what 7 would have taken is free again
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if _, closed := d.seen(); len(closed) != 5 {
		t.Errorf("closed %v, want 3 and 2, then 4 and 5 for the broken one, and 4 at the end", closed)
	}
	if _, _, err := s.take(t.Context(), "2"); asAPIError(err).Status != 503 {
		t.Errorf("after the end: %v", err)
	}
}

// A model in use is not closed: who needs its room waits, or goes away.
func TestModelCacheWaitsForRoom(t *testing.T) {
	d := &fakeSource{}
	s := newCache(d, 10)
	_, release, err := s.take(t.Context(), "6")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, _, err := s.take(ctx, "5"); left <- err }()
	time.Sleep(5 * time.Millisecond)
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who went away got %v", err)
	}
	got := make(chan error, 1)
	go func() { _, _, err := s.take(t.Context(), "5"); got <- err }()
	select {
	case err := <-got:
		t.Fatalf("the room of a model in use was given away: %v", err)
	case <-time.After(5 * time.Millisecond):
	}
	release()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// Many ask for a model at one time, one of them gives up: it is opened once.
func TestModelCacheOpensOnce(t *testing.T) {
	d := &fakeSource{gate: make(chan struct{})}
	s := newCache(d, 0)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { time.Sleep(2 * time.Millisecond); cancel() }()
	if _, _, err := s.take(ctx, "4"); !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up got %v", err)
	}
	var wg sync.WaitGroup
	var served atomic.Int32
	for range 8 {
		wg.Go(func() {
			_, release, err := s.take(t.Context(), "4")
			if err != nil {
				t.Error(err)
				return
			}
			served.Add(1)
			release()
		})
	}
	d.gate <- struct{}{}
	wg.Wait()
	if opened, _ := d.seen(); len(opened) != 1 || served.Load() != 8 {
		t.Errorf("opened %v for %d", opened, served.Load())
	}
}

func TestOnDemandOverHTTP(t *testing.T) {
	d := &fakeSource{}
	s := start(t, Config{Source: d, MaxMemory: 5, Backend: "go"})
	if status, _, body := s.post(t, "/v1/open", `{"model": "4"}`); status != 200 || !strings.Contains(body, `"name":"4","kind":"chat","id":"opened:4"`) {
		t.Errorf("%d %s", status, body)
	}
	if status, _, body := s.post(t, "/v1/chat/completions", `{"model": "2", "messages": [{"role": "user", "content": "hi"}]}`); status != 200 || !strings.Contains(body, `"content":"hi"`) {
		t.Errorf("%d %s", status, body)
	}
	if opened, closed := d.seen(); len(opened) != 2 || !slices.Equal(closed, []string{"4"}) {
		t.Errorf("opened %v, closed %v", opened, closed)
	}
	for body, want := range map[string]string{`{"model": "x"}`: "model_not_found", `{"model": "6"}`: "model_too_large"} {
		if status, _, answer := s.post(t, "/v1/open", body); status < 400 || status >= 500 || apiErrorOf(t, answer).Code != want {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	h, err := api.GetHealth(t.Context(), s.addr, "")
	if err != nil || len(h.Models) != 3 || h.Models[1].ID != "opened:2" || h.Backend != "go" {
		t.Errorf("health %+v, %v", h, err)
	}
	list, err := s.client("").ListModels(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range list.Models {
		names = append(names, m.ID)
	}
	if want := []string{"fake", "fake-embedder", "2", "4", "7"}; !slices.Equal(names, want) {
		t.Errorf("models %v, want %v", names, want)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
