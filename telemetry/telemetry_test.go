package telemetry_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/serve"
	"github.com/budgetmem/budgetmem/telemetry"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
	"github.com/budgetmem/budgetmem/tiers/llm/openai"
)

const (
	secret   = "sk-not-to-be-seen"
	question = "Where did Person1 move, as Zanzibar says?"
	model    = "llama-3.1-8b"
)

// world is a memory whose model is at an endpoint, watched by an observer.
type world struct {
	mem    *bmem.Memory
	client *openai.Client
	ledger *llm.Ledger

	mu      sync.Mutex
	parents []string // the traceparent of each request to the endpoint
}

// Transport notes what is sent.
func (w *world) transport(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		w.mu.Lock()
		w.parents = append(w.parents, r.Header.Get("traceparent"))
		w.mu.Unlock()
		return next.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func newWorld(t testing.TB, o *telemetry.Observer, script llmtest.Script) *world {
	t.Helper()
	t.Setenv("TELEMETRY_TEST_KEY", secret)
	server := llmtest.New(llmtest.Config{Keys: []string{secret}, Reply: runtest.Reply, Script: script})
	t.Cleanup(server.Close)
	w := &world{}
	var err error
	w.client, err = openai.New(openai.Config{Model: model, Endpoints: []openai.Endpoint{{BaseURL: server.URL(), KeyEnv: []string{"TELEMETRY_TEST_KEY"}}},
		Transport: func(next http.RoundTripper) http.RoundTripper { return o.Transport(w.transport(next)) }})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := llm.OpenCache(filepath.Join(t.TempDir(), "replies.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cache.Close() })
	if w.ledger, err = llm.NewLedger(1); err != nil {
		t.Fatal(err)
	}
	client, err := llm.Stack(w.client, llm.StackOptions{Prices: llm.DefaultPrices(), Cache: cache, Ledger: w.ledger, Around: []llm.Middleware{o.Calls(model, false)}})
	if err != nil {
		t.Fatal(err)
	}
	words := &embedtest.Words{}
	w.mem, err = bmem.Open(t.Context(), bmem.Options{Path: filepath.Join(t.TempDir(), "memory.db"), Embedder: words, Tokenizer: words, Client: client, ChunkTokens: 40, Observer: o})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.mem.Close() })
	history, err := (runtest.Tiny{Histories: 1, Each: 3}).History(t.Context(), "h0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.mem.Add(t.Context(), bmem.DefaultMemory, append(history.Turns, chunk.Turn{ID: "x", Session: "x", Text: "Zanzibar is secret."})); err != nil {
		t.Fatal(err)
	}
	return w
}

// tree draws the spans below a parent, one a line, in the order of their beginning.
func tree(spans tracetest.SpanStubs, parent string, indent int) string {
	var b strings.Builder
	slices.SortStableFunc(spans, func(x, y tracetest.SpanStub) int { return x.StartTime.Compare(y.StartTime) })
	for _, s := range spans {
		if id := s.Parent.SpanID(); id.IsValid() && id.String() == parent || !id.IsValid() && parent == "" {
			fmt.Fprintf(&b, "%s%s\n%s", strings.Repeat("  ", indent), s.Name, tree(spans, s.SpanContext.SpanID().String(), indent+1))
		}
	}
	return b.String()
}

func attributes(s tracetest.SpanStub) map[attribute.Key]attribute.Value {
	out := map[attribute.Key]attribute.Value{}
	for _, kv := range s.Attributes {
		out[kv.Key] = kv.Value
	}
	return out
}

func named(t *testing.T, spans tracetest.SpanStubs, name string) map[attribute.Key]attribute.Value {
	t.Helper()
	for _, s := range spans {
		if s.Name == name {
			return attributes(s)
		}
	}
	t.Fatalf("no span %q", name)
	return nil
}

func tracer() (*tracetest.InMemoryExporter, *sdktrace.TracerProvider) {
	exporter := tracetest.NewInMemoryExporter()
	return exporter, sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
}

func TestSpansOfAQuestion(t *testing.T) {
	exporter, provider := tracer()
	w := newWorld(t, telemetry.New(nil, provider), nil)
	ask := func() (bmem.Answer, tracetest.SpanStubs) {
		exporter.Reset()
		a, err := w.mem.Ask(t.Context(), question, bmem.WithTiers("low,high,low,low,low"))
		if err != nil {
			t.Fatal(err)
		}
		return a, exporter.GetSpans()
	}
	a, spans := ask()
	chat := "chat " + model
	want := "ask\n  retrieve\n  filter\n  entity\n    " + chat + "\n      POST\n  temporal\n  topic\n  summary\n  answer\n    " + chat + "\n      POST\n"
	sorted := func(tree string) string { // entity, temporal and topic begin at once
		lines := strings.Split(tree, "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	if got := tree(spans, "", 0); sorted(got) != sorted(want) || !strings.HasPrefix(got, "ask\n  retrieve\n  filter\n") || !strings.HasSuffix(got, "  answer\n    "+chat+"\n      POST\n") {
		t.Errorf("spans\n%swant\n%s", got, want)
	}
	usage := a.Trace.Usage()
	if s := named(t, spans, "ask"); s["budgetmem.dollars"].AsFloat64() != usage.Dollars || s["budgetmem.tokens.input"].AsInt64() != int64(usage.In) || s["budgetmem.policy"].AsString() == "" {
		t.Errorf("the question's span has %v, want %+v", s, usage)
	}
	if s := named(t, spans, "entity"); s["budgetmem.tier"].AsString() != "high" || s["budgetmem.tier.asked"].AsString() != "high" || s["budgetmem.dollars.paid"].AsFloat64() <= 0 {
		t.Errorf("entity's span has %v", s)
	}
	s := named(t, spans, chat)
	for key, want := range map[attribute.Key]string{"gen_ai.operation.name": "chat", "gen_ai.request.model": model, "gen_ai.response.model": model, "gen_ai.provider.name": "openai_compatible"} {
		if got := s[key].AsString(); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if s["gen_ai.usage.input_tokens"].AsInt64() == 0 || s["gen_ai.request.max_tokens"].AsInt64() == 0 || s["budgetmem.cached"].AsBool() {
		t.Errorf("the call's span has %v", s)
	}
	if s := named(t, spans, "POST"); s["http.response.status_code"].AsInt64() != 200 || s["server.address"].AsString() != "127.0.0.1" {
		t.Errorf("the request's span has %v", s)
	}
	var sent []string
	for _, s := range spans {
		if s.Name == "POST" {
			sent = append(sent, "00-"+s.SpanContext.TraceID().String()+"-"+s.SpanContext.SpanID().String()+"-01")
		}
	}
	slices.Sort(sent)
	if slices.Sort(w.parents); !slices.Equal(sent, w.parents) {
		t.Errorf("the endpoint was told of %v, want %v", w.parents, sent)
	}
	mustNotTell(t, fmt.Sprintf("%+v", spans), a.Text)

	_, spans = ask()
	s = named(t, spans, chat)
	if _, used := s["gen_ai.usage.input_tokens"]; used || !s["budgetmem.cached"].AsBool() || s["budgetmem.dollars.paid"].AsFloat64() != 0 || strings.Contains(tree(spans, "", 0), "POST") {
		t.Errorf("from the cache: %v", s)
	}
}

// mustNotTell finds what somebody said, or a key, in what is shown outside.
func mustNotTell(t *testing.T, shown string, more ...string) {
	t.Helper()
	for _, text := range append(more, secret, "Zanzibar", "Person1", "told me") {
		if text != "" && strings.Contains(shown, text) {
			t.Errorf("%q is shown outside", text)
		}
	}
}

// Errors quote endpoints, and these quote prompts.
func TestFailedSpansNameTheKindAlone(t *testing.T) {
	exporter, provider := tracer()
	metrics := telemetry.NewMetrics()
	w := newWorld(t, telemetry.New(metrics, provider), func(llmtest.Call) llmtest.Fault {
		return llmtest.Fault{Kind: llmtest.Status, Status: 400, Body: `{"error":{"message":"cannot answer: ` + question + `"}}`}
	})
	_, err := w.mem.Ask(t.Context(), question, bmem.WithTiers("low"))
	if err == nil || !strings.Contains(err.Error(), "Zanzibar") {
		t.Fatalf("error %v, want one with the endpoint's words", err)
	}
	spans := exporter.GetSpans()
	for _, name := range []string{"ask", "answer", "chat " + model} {
		if got := named(t, spans, name)["error.type"].AsString(); got != "bad_request" {
			t.Errorf("%s failed by %q", name, got)
		}
	}
	if got := named(t, spans, "POST")["error.type"].AsString(); got != "400" {
		t.Errorf("the request failed by %q", got)
	}
	mustNotTell(t, fmt.Sprintf("%+v", spans))
	page := scrape(t, metrics)
	mustNotTell(t, page)
	has(t, page, `bmem_question_seconds_count{outcome="bad_request"} 1`, `bmem_questions_in_flight 0`)
}

func scrape(t testing.TB, m *telemetry.Metrics) string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

func newRequest(t testing.TB) *http.Request {
	return httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/health", nil)
}

// has finds lines of a page of metrics, given as regular expressions where they are no exact ones.
func has(t *testing.T, page string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(page, "\n"+line+"\n") && !regexp.MustCompile(`(?m)^`+line+`$`).MatchString(page) {
			name, _, _ := strings.Cut(line, "{")
			t.Errorf("no %s; there is\n%s", line, strings.Join(regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(name)+`.*$`).FindAllString(page, -1), "\n"))
		}
	}
}

func TestMetricsOfQuestions(t *testing.T) {
	metrics := telemetry.NewMetrics()
	w := newWorld(t, telemetry.New(metrics, nil), nil)
	stop := metrics.Watch(telemetry.Sources{Endpoints: w.client.Endpoints, Ledger: w.ledger})
	var in, out int
	for range 2 {
		a, err := w.mem.Ask(t.Context(), question, bmem.WithTiers("low,high,low,low,low"))
		if err != nil {
			t.Fatal(err)
		}
		in, out = a.Trace.Modules[1].Usage.In, a.Trace.Modules[1].Usage.Out
	}
	page := scrape(t, metrics)
	url := w.client.Endpoints()[0].URL
	has(t, page, `bmem_question_seconds_count{outcome="ok"} 2`, `bmem_step_seconds_count{outcome="ok",step="entity",tier="high"} 2`,
		fmt.Sprintf(`bmem_tokens_total{module="entity",tier="high",type="input"} %d`, 2*in),
		fmt.Sprintf(`bmem_tokens_total{module="entity",tier="high",type="output"} %d`, 2*out),
		`bmem_reply_cache_hits_total{model="`+model+`"} 2`, `bmem_reply_cache_misses_total{model="`+model+`"} 2`,
		`bmem_model_call_seconds_count{model="`+model+`",operation="chat",outcome="ok"} 2`,
		`bmem_endpoint_requests_in_flight{endpoint="`+url+`"} 0`, `bmem_endpoint_request_seconds_count{code="200",endpoint="`+url+`"} 2`,
		`bmem_endpoint_cooling{endpoint="`+url+`"} 0`, `bmem_ledger_dollars{state="reserved"} 0`, `bmem_ledger_limit_dollars 1`)
	paid := fmt.Sprint(w.ledger.Balance().Spent)
	has(t, page, `bmem_ledger_dollars{state="spent"} `+regexp.QuoteMeta(paid), `bmem_model_paid_dollars_total{model="`+model+`"} [0-9.e-]+`)
	mustNotTell(t, page)
	stop()
	if strings.Contains(scrape(t, metrics), "bmem_ledger") {
		t.Error("a ledger is read that is watched no more")
	}
}

// A server goes on with the trace of its caller, and counts by route, whatever paths and methods are asked for.
func TestRequestsOfAServer(t *testing.T) {
	exporter, provider := tracer()
	metrics := telemetry.NewMetrics()
	s, err := serve.New(serve.Config{Operator: map[string]http.Handler{"/metrics": metrics.Handler()}, Observer: telemetry.New(metrics, provider)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	metrics.Watch(telemetry.Sources{Queue: s.Queue})
	var _ serve.Observer = (*telemetry.Observer)(nil)
	const parent = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, path := range []string{"/health", "/Zanzibar/1", "/Zanzibar/2"} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("traceparent", "00-"+parent+"-00f067aa0ba902b7-01")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	spans := exporter.GetSpans()
	if len(spans) != 3 || spans[0].SpanContext.TraceID().String() != parent || spans[0].Name != "GET /health" {
		t.Errorf("spans %+v", spans)
	}
	page := scrape(t, metrics)
	has(t, page, `bmem_http_request_seconds_count{code="200",route="GET /health"} 1`, `bmem_http_request_seconds_count{code="404",route="/"} 2`, `bmem_queue_depth 0`, `bmem_queue_limit 256`)
	mustNotTell(t, page+fmt.Sprintf("%+v", spans))
}

// A question that another machine answers is in one trace with its sending.
func TestSendAndReceive(t *testing.T) {
	exporter, provider := tracer()
	o := telemetry.New(nil, provider)
	header := http.Header{}
	o.Send(t.Context(), header)
	_, end := o.Begin(o.Receive(t.Context(), header), bmem.StepAsk)
	end(tiers.Step{}, nil)
	if got := tree(exporter.GetSpans(), "", 0); got != "send\n  ask\n" {
		t.Errorf("spans\n%s", got)
	}
	o = telemetry.New(telemetry.NewMetrics(), nil)
	header = http.Header{}
	if o.Send(t.Context(), header); len(header) > 0 {
		t.Errorf("without traces: %v", header)
	}
}

// What a served model computes is in the span of its request, and counted.
func TestServedModel(t *testing.T) {
	exporter, provider := tracer()
	metrics := telemetry.NewMetrics()
	o := telemetry.New(metrics, provider)
	ctx, end := o.Request(newRequest(t), "POST /v1/chat/completions")
	o.Computed(ctx, model, llm.Usage{Calls: 1, In: 12, Out: 3}, time.Second, nil)
	end(200)
	spans := exporter.GetSpans()
	if s := named(t, spans, "POST /v1/chat/completions"); s["gen_ai.request.model"].AsString() != model || s["gen_ai.usage.input_tokens"].AsInt64() != 12 {
		t.Errorf("the span has %v", s)
	}
	page := scrape(t, metrics)
	has(t, page, `bmem_model_tokens_total{model="`+model+`",type="input"} 12`, `bmem_model_call_seconds_sum{model="`+model+`",operation="serve",outcome="ok"} 1`)
	if strings.Contains(page, "bmem_reply_cache_misses_total{") {
		t.Error("served calls have no cache to miss")
	}
}

// BenchmarkStep is what a step and a call of a model cost when they are watched; without an observer nothing of this runs (see
// BenchmarkUnobserved in package bmem).
func BenchmarkStep(b *testing.B) {
	for name, o := range map[string]*telemetry.Observer{"metrics": telemetry.New(telemetry.NewMetrics(), nil), "neither": telemetry.New(nil, nil)} {
		b.Run(name, func(b *testing.B) {
			handle := o.Calls(model, false)(func(context.Context, llm.Call) (llm.Reply, error) { return llm.Reply{}, nil })
			call := llm.Call{Chat: &llm.Request{}}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = handle(b.Context(), call)
			}
		})
	}
}
