package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/telemetry"
	"github.com/budgetmem/budgetmem/tiers"
)

// unwatched takes OpenTelemetry's variables of this machine out of a test.
func unwatched(t *testing.T) {
	t.Helper()
	for _, name := range []string{telemetry.EnvEndpoint, telemetry.EnvTracesEndpoint, telemetry.EnvExporter, telemetry.EnvDisabled, "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		t.Setenv(name, "")
	}
}

func get(t *testing.T, url, token string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestMetricsAddr(t *testing.T) {
	unwatched(t)
	for _, c := range []struct{ addr, env, token, profile string }{
		{"127.0.0.1:0", "", "", "ok"},
		{":0", "", "", "ok"}, // this machine alone
		{"0.0.0.0:0", "s3cret", "s3cret", "ok"},
		{"127.0.0.1:0", "s3cret", "", ""},
	} {
		t.Setenv(api.EnvToken, c.env)
		var out bytes.Buffer
		w := &watch{metricsAddr: c.addr, profiles: true}
		if err := w.open(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		_, url, _ := strings.Cut(strings.TrimSpace(out.String()), "metrics at ")
		url = strings.Replace(url, "[::]", "127.0.0.1", 1)
		if c.addr == ":0" && !strings.HasPrefix(url, "http://127.0.0.1:") {
			t.Errorf("%s serves at %s", c.addr, url)
		}
		want := 200
		if c.profile == "" {
			want = 401
		}
		if status, body := get(t, url, c.token); status != want || strings.Contains(body, "go_goroutines") != (want == 200) {
			t.Errorf("%v: metrics: %d %.200s", c, status, body)
		}
		if status, _ := get(t, strings.Replace(url, "/metrics", "/debug/pprof/goroutine?debug=1", 1), c.token); status != want {
			t.Errorf("%v: profiles: %d", c, status)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if _, err := http.Get(url); err == nil {
			t.Errorf("%v: metrics are still served", c)
		}
	}
	t.Setenv(api.EnvToken, "")
	for want, w := range map[string]*watch{
		"--metrics-addr":            {profiles: true},
		api.EnvToken:                {metricsAddr: "0.0.0.0:0"},
		"--metrics-addr: serve on ": {metricsAddr: "nowhere"},
	} {
		if err := w.open(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", w, err, want)
		}
	}
}

// Traces go to the collector that OpenTelemetry's variables name, and what it refuses is said once.
func TestTracesByEnvironment(t *testing.T) {
	var got atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/v1/traces" && r.Header.Get("Content-Type") == "application/x-protobuf" && bytes.Contains(body, []byte("bmem-eval")) && bytes.Contains(body, []byte("budgetmem.policy")) {
			got.Add(1)
		}
	}))
	defer collector.Close()
	for _, c := range []struct {
		env     map[string]string
		on      bool
		refused string
	}{
		{env: map[string]string{}},
		{env: map[string]string{telemetry.EnvEndpoint: collector.URL}, on: true},
		{env: map[string]string{telemetry.EnvTracesEndpoint: collector.URL + "/v1/traces", telemetry.EnvExporter: "otlp"}, on: true},
		{env: map[string]string{telemetry.EnvEndpoint: collector.URL, telemetry.EnvDisabled: "true"}},
		{env: map[string]string{telemetry.EnvEndpoint: collector.URL, telemetry.EnvExporter: "none"}},
		{env: map[string]string{telemetry.EnvEndpoint: collector.URL, telemetry.EnvExporter: "jaeger"}, refused: `"jaeger"`},
		{env: map[string]string{telemetry.EnvEndpoint: collector.URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, refused: "http/protobuf"},
	} {
		unwatched(t)
		for name, value := range c.env {
			t.Setenv(name, value)
		}
		got.Store(0)
		w := &watch{service: "eval"}
		err := w.open(t.Context(), io.Discard)
		if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%v: error %v, want %q", c.env, err, c.refused)
		}
		if (w.observer != nil) != c.on {
			t.Errorf("%v: traced %v, want %v", c.env, w.observer != nil, c.on)
		}
		if w.observer != nil {
			_, end := w.observer.Begin(t.Context(), "ask")
			end(tiers.Step{Method: "low"}, nil)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if want := c.on; (got.Load() == 1) != want {
			t.Errorf("%v: the collector got %d batches", c.env, got.Load())
		}
	}
}

// A question of the command line: what the collector gets tells nothing of what was said, and the endpoint is told of the trace and, as
// it asked for, of the question's session.
func TestAskIsTraced(t *testing.T) {
	unwatched(t)
	a := newAsker(t)
	t.Setenv("TRACED_KEY", "sk-not-to-be-seen")
	var mu sync.Mutex
	var traces bytes.Buffer
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = traces.ReadFrom(r.Body)
	}))
	defer collector.Close()
	t.Setenv(telemetry.EnvEndpoint, collector.URL)
	var header http.Header
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		header = r.Header.Clone()
		_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"the old mill"},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"completion_tokens":3}}`)
	}))
	defer endpoint.Close()
	answer, err := a.ask("traced", "--endpoint", endpoint.URL+"/v1", "--api-key-env", "TRACED_KEY", "--model", "m", "--session-header", "X-Session-Id")
	if err != nil || answer.Text != "the old mill" {
		t.Fatalf("answer %q, %v", answer.Text, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if header.Get("X-Session-Id") == "" || !strings.HasPrefix(header.Get("traceparent"), "00-") {
		t.Errorf("the endpoint got %v", header)
	}
	for _, want := range []string{"ask", "retrieve", "filter", "chat m", "POST", "gen_ai.usage.input_tokens", "budgetmem.dollars"} {
		if !bytes.Contains(traces.Bytes(), []byte(want)) {
			t.Errorf("the collector got nothing of %s", want)
		}
	}
	for _, secret := range []string{"sk-not-to-be-seen", "meet", "mill", "pottery", "Rita", a.dir} {
		if bytes.Contains(traces.Bytes(), []byte(secret)) {
			t.Errorf("the collector got %q", secret)
		}
	}
}

// A collector that is not there ends nothing, and is told of once.
func TestTracesWithoutCollector(t *testing.T) {
	unwatched(t)
	t.Setenv(telemetry.EnvEndpoint, "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "500")
	t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "500")
	var out bytes.Buffer
	w := &watch{}
	if err := w.open(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	_, end := w.observer.Begin(t.Context(), "ask")
	end(tiers.Step{}, nil)
	start := time.Now()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(out.String(), "note: traces are not sent: "); n != 1 || time.Since(start) > 8*time.Second {
		t.Errorf("%d notes after %v: %s", n, time.Since(start), &out)
	}
}
