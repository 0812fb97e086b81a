package openai

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// replica is an endpoint that remembers which sessions it has had, as a server with a prefix cache does.
type replica struct {
	fails  bool
	header http.Header // sent with every reply
	// slower makes a reply wait until another endpoint has had many calls more, however busy this machine is.
	slower *replica

	mu          sync.Mutex
	calls, hits int
	seen        map[string]bool
}

func (r *replica) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	session := req.Header.Get("X-Session-Id")
	r.mu.Lock()
	r.calls++
	if r.seen[session] {
		r.hits++
	}
	r.seen[session] = true
	r.mu.Unlock()
	for name, values := range r.header {
		w.Header()[name] = values
	}
	if r.fails {
		http.Error(w, `{"error": {"message": "out of memory"}}`, http.StatusServiceUnavailable)
		return
	}
	if r.slower != nil {
		began := r.slower.count()
		for deadline := time.Now().Add(time.Second); r.slower.count() < began+24 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}
	_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":1}}`)
}

// count is the number of calls so far.
func (r *replica) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

func fleet(t *testing.T, replicas ...*replica) *Client {
	t.Helper()
	cfg := Config{Model: "m", Settings: llm.Settings{SessionHeader: "X-Session-Id"}}
	for _, r := range replicas {
		r.seen = map[string]bool{}
		s := httptest.NewServer(r)
		t.Cleanup(s.Close)
		cfg.Endpoints = append(cfg.Endpoints, Endpoint{BaseURL: s.URL + "/v1"})
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Of three endpoints one is slow and one fails: every question is answered, the slow one gets fewer calls, and most calls meet an
// endpoint that has had their question.
func TestFleetWithASlowAndAFailingEndpoint(t *testing.T) {
	fast, failing := &replica{}, &replica{fails: true}
	slow := &replica{slower: fast}
	c := retried(t, quick, fleet(t, fast, slow, failing))
	const questions, modules = 120, 5
	var all sync.WaitGroup
	slots := make(chan struct{}, 16)
	for q := range questions {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			ctx := llm.WithSession(t.Context(), "memory", fmt.Sprint(q))
			for range modules {
				if _, err := c.Chat(ctx, hello); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	answered := fast.calls + slow.calls
	t.Logf("fast %d, slow %d, failing %d; %d hits", fast.calls, slow.calls, failing.calls, fast.hits+slow.hits)
	if answered != questions*modules {
		t.Errorf("%d calls were answered, want %d", answered, questions*modules)
	}
	if slow.calls*2 > fast.calls {
		t.Errorf("the slow endpoint got %d calls, the fast one %d", slow.calls, fast.calls)
	}
	if failing.calls > answered/5 {
		t.Errorf("the failing endpoint got %d calls", failing.calls)
	}
	if rate := float64(fast.hits+slow.hits) / float64(answered); rate < 0.75 {
		t.Errorf("%.2f of the calls met an endpoint that had their question, want 0.75 of the possible 0.80", rate)
	}
}

// A session stays where it is, sessions spread over all, and they stay when another endpoint goes.
func TestSessionsStay(t *testing.T) {
	r := newRotation([]int{0, 1, 2}, 0)
	place := func(session string) int {
		i, err := r.take(session, leg{})
		if err != nil {
			t.Fatal(err)
		}
		r.routes[i].inFlight--
		return i
	}
	at, count := map[string]int{}, [3]int{}
	for k := range 300 {
		s := fmt.Sprint("session", k)
		at[s] = place(s)
		count[at[s]]++
		if again := place(s); again != at[s] {
			t.Fatalf("%s moved from %d to %d", s, at[s], again)
		}
	}
	for i, n := range count {
		if n < 60 {
			t.Errorf("endpoint %d has %d of 300 sessions", i, n)
		}
	}
	r.routes[1].until = time.Now().Add(time.Hour)
	for s, was := range at {
		if now := place(s); was != 1 && now != was || now == 1 {
			t.Errorf("%s moved from %d to %d", s, was, now)
		}
	}
}

// After its cooldown an endpoint that failed is tried by one call at a time.
func TestOneCallTriesAnEndpointThatFailed(t *testing.T) {
	r := newRotation([]int{0, 1}, time.Second)
	clock := time.Now()
	r.now = func() time.Time { return clock }
	for range failuresInRow {
		r.record(0, &llm.Error{Kind: llm.ErrUnavailable, Status: 503})
	}
	take := func() int {
		t.Helper()
		i, err := r.take("", leg{})
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	if i, j := take(), take(); i != 1 || j != 1 {
		t.Errorf("routes %d and %d during the cooldown, want 1 only", i, j)
	}
	clock = clock.Add(time.Second)
	trials := 0
	for range 6 {
		if take() == 0 {
			trials++
		}
	}
	if trials != 1 {
		t.Errorf("%d calls try the endpoint at one time, want 1", trials)
	}
	r.routes[0].inFlight--
	r.record(0, nil)
	if i := take(); i != 0 {
		t.Errorf("route %d after the trial succeeded, want the idle one", i)
	}
}

// An endpoint whose headers say that nothing is left gets no call until its limit is reset.
func TestRateLimitHeadersPace(t *testing.T) {
	limited := &replica{header: http.Header{"X-Ratelimit-Remaining-Requests": {"0"}, "X-Ratelimit-Reset-Requests": {"1h"}}}
	free := &replica{}
	c := fleet(t, limited, free)
	for range 10 {
		if _, err := c.Chat(t.Context(), hello); err != nil {
			t.Fatal(err)
		}
	}
	if limited.calls != 1 || free.calls != 9 {
		t.Errorf("the limited endpoint got %d calls, the free one %d; want 1 and 9", limited.calls, free.calls)
	}
}

func TestRatePause(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		h     map[string]string
		bytes int
		want  time.Duration
	}{
		{"nothing said", nil, 100, 0},
		{"requests left", map[string]string{"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "6s"}, 100, 0},
		{"no request left", map[string]string{"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6s"}, 100, 6 * time.Second},
		{"few tokens left", map[string]string{"x-ratelimit-remaining-tokens": "20", "x-ratelimit-reset-tokens": "20ms"}, 400, 20 * time.Millisecond},
		{"enough tokens left", map[string]string{"x-ratelimit-remaining-tokens": "100", "x-ratelimit-reset-tokens": "20ms"}, 400, 0},
		{"the longer of both", map[string]string{"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1.5", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2s"}, 400, 2 * time.Second},
		{"a time", map[string]string{"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2026-05-01T12:00:07Z"}, 0, 7 * time.Second},
		{"a Unix time", map[string]string{"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": fmt.Sprint(now.Unix() + 8)}, 0, 8 * time.Second},
		{"a day", map[string]string{"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "24h0m0s"}, 0, longestPause},
		{"no number", map[string]string{"x-ratelimit-remaining-requests": "none", "x-ratelimit-reset-requests": "6s"}, 0, 0},
		{"no reset", map[string]string{"x-ratelimit-remaining-requests": "0"}, 0, 0},
	} {
		h := http.Header{}
		for name, value := range c.h {
			h.Set(name, value)
		}
		if got := ratePause(h, c.bytes, now); got != c.want {
			t.Errorf("%s: pause %v, want %v", c.name, got, c.want)
		}
	}
}

func FuzzParseReset(f *testing.F) {
	for _, s := range []string{"6m0s", "20ms", "1.5", "2026-05-01T12:00:07Z", "1777636807", "-3s", "1e309", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if wait, ok := parseReset(value, time.Now()); wait < 0 || !ok && wait != 0 {
			t.Errorf("%q: %v, %v", value, wait, ok)
		}
	})
}
