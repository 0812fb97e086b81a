package serve

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Operator's handlers are for the owner: who has no token or a tenant's is kept out, and so is a web page where there is no token.
func TestOperatorIsForTheOwner(t *testing.T) {
	inside := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "all of it") })
	tenants := serveTenants(t, openMemory(t), t.TempDir(), "- {name: ann, TOKENS, dollars: {}}")
	config := tenants.config
	config.Operator = map[string]http.Handler{"/metrics": inside, "/debug/pprof/": inside}
	with := start(t, config)
	config.Token = ""
	unowned := start(t, config)
	config.Tenants = nil
	open := start(t, config)
	for _, c := range []struct {
		server      *running
		token, host string
		want        int
	}{
		{with, "", "", 401}, {with, "other", "", 401}, {with, "ann-token", "", 403}, {with, ownerToken, "", 200},
		{unowned, "ann-token", "", 403}, {unowned, "", "", 401},
		{open, "", "", 200}, {open, "", "evil.example", 403},
		{tenants.running, ownerToken, "", 404},
	} {
		for _, path := range []string{"/metrics", "/debug/pprof/heap"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+c.server.addr+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = c.host
			if c.token != "" {
				req.Header.Set("Authorization", "Bearer "+c.token)
			}
			status, _, text := do(t, req)
			if status != c.want || strings.Contains(text, "all of it") != (c.want == 200) {
				t.Errorf("%s as %q at %q: status %d, want %d: %s", path, c.token, c.host, status, c.want, text)
			}
		}
	}
}

// routes notes the routes and statuses of requests.
type routes struct {
	mu  sync.Mutex
	got []string
}

func (o *routes) Request(r *http.Request, route string) (context.Context, func(int)) {
	return r.Context(), func(status int) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.got = append(o.got, route+" "+http.StatusText(status))
	}
}

func (o *routes) Computed(_ context.Context, model string, used llm.Usage, _ time.Duration, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.got = append(o.got, fmt.Sprint(model, " ", used.In, " ", err))
}

func TestObserver(t *testing.T) {
	o := &routes{}
	s := start(t, Config{Chats: []ChatModel{newFake()}, Observer: o})
	for _, path := range []string{"/v1/models", "/v1/models/fake", "/v1/nowhere/7"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		do(t, req)
	}
	for _, text := range []string{"hello", "fail"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.addr+"/v1/chat/completions", strings.NewReader(`{"model":"fake","messages":[{"role":"user","content":"`+text+`"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		do(t, req)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if want := []string{"GET /v1/models OK", "GET /v1/models/{name} OK", "/ Not Found",
		"fake 7 <nil>", "POST /v1/chat/completions OK", "fake 0 cannot", "POST /v1/chat/completions Internal Server Error"}; !slices.Equal(o.got, want) {
		t.Errorf("routes %q, want %q", o.got, want)
	}
}
