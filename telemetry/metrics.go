package telemetry

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Metrics are a program's numbers for Prometheus, in a registry of their own. Safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	asking       prometheus.Gauge
	questions    *prometheus.HistogramVec
	steps        *prometheus.HistogramVec
	stepTokens   *prometheus.CounterVec
	stepDollars  *prometheus.CounterVec
	fallbacks    *prometheus.CounterVec
	calls        *prometheus.HistogramVec
	tokens       *prometheus.CounterVec
	paid         *prometheus.CounterVec
	hits, misses *prometheus.CounterVec
	retries      *prometheus.CounterVec
	hedged       *prometheus.CounterVec
	inFlight     *prometheus.GaugeVec
	requests     *prometheus.HistogramVec
	serving      prometheus.Gauge
	served       *prometheus.HistogramVec

	mu      sync.Mutex
	sources map[*source]bool
}

// Buckets in seconds: from a reply of the cache to a long chat at a busy server.
var (
	quick = prometheus.ExponentialBuckets(0.001, 3, 12) // to 177 s
	slow  = prometheus.ExponentialBuckets(0.01, 2, 15)  // to 164 s
)

// NewMetrics returns metrics that are all 0. Those of Go and of the process are among them.
func NewMetrics() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), sources: map[*source]bool{}}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), readings{m})
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "bmem_" + name, Help: help})
		m.registry.MustRegister(g)
		return g
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bmem_" + name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "bmem_" + name, Help: help, Buckets: buckets}, labels)
		m.registry.MustRegister(h)
		return h
	}
	m.asking = gauge("questions_in_flight", "Questions that are being answered.")
	m.questions = histogram("question_seconds", "Time that questions took.", slow, "outcome")
	m.steps = histogram("step_seconds", "Time that the steps of questions took: retrieval, modules and answers, by the tier that served.", slow, "step", "tier", "outcome")
	m.stepTokens = counter("tokens_total", "Tokens of model calls by module and tier, replies from the cache included.", "module", "tier", "type")
	m.stepDollars = counter("dollars_total", "What model calls cost by module and tier, replies from the cache at what they did cost.", "module", "tier")
	m.fallbacks = counter("fallbacks_total", "Modules that were served by another tier than the policy asked for.", "module")
	m.calls = histogram("model_call_seconds", "Time that calls of models took with all retries, replies from the cache left out.", slow, "model", "operation", "outcome")
	m.tokens = counter("model_tokens_total", "Tokens that models read and wrote, replies from the cache left out.", "model", "type")
	m.paid = counter("model_paid_dollars_total", "Dollars paid by this process.", "model")
	m.hits = counter("reply_cache_hits_total", "Calls of models that were answered from the cache of replies.", "model")
	m.misses = counter("reply_cache_misses_total", "Calls of models that were not in the cache of replies.", "model")
	m.retries = counter("model_retries_total", "Attempts after the first.", "model")
	m.hedged = counter("model_hedged_total", "Calls that a second endpoint was asked too.", "model")
	m.inFlight = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "bmem_endpoint_requests_in_flight", Help: "Requests that an endpoint has not answered yet."}, []string{"endpoint"})
	m.registry.MustRegister(m.inFlight)
	m.requests = histogram("endpoint_request_seconds", "Time that requests to an endpoint took; the code is 0 where no reply came.", slow, "endpoint", "code")
	m.serving = gauge("http_requests_in_flight", "Requests to this server that it has not answered yet.")
	m.served = histogram("http_request_seconds", "Time that requests to this server took.", quick, "route", "code")
	return m
}

// Handler serves the metrics in Prometheus' formats.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func outcome(err error) string {
	if err != nil {
		return kind(err)
	}
	return "ok"
}

// step counts a step of a question.
func (m *Metrics) step(step string, s tiers.Step, err error, took time.Duration) {
	if step == bmem.StepAsk {
		m.questions.WithLabelValues(outcome(err)).Observe(took.Seconds())
		return
	}
	m.steps.WithLabelValues(step, s.Served, outcome(err)).Observe(took.Seconds())
	if step == bmem.StepRetrieve {
		return
	}
	m.stepTokens.WithLabelValues(step, s.Served, "input").Add(float64(max(0, s.Usage.In)))
	m.stepTokens.WithLabelValues(step, s.Served, "output").Add(float64(max(0, s.Usage.Out)))
	m.stepDollars.WithLabelValues(step, s.Served).Add(max(0, s.Usage.Dollars))
	if s.Served != s.Asked && s.Asked != "" {
		m.fallbacks.WithLabelValues(step).Inc()
	}
}

// call counts a call of a model. The scores of a batch are calls each.
func (m *Metrics) call(model, operation string, u llm.Usage, err error, took time.Duration) {
	m.paid.WithLabelValues(model).Add(max(0, u.Paid))
	m.retries.WithLabelValues(model).Add(float64(max(0, u.Retries)))
	if operation != "embeddings" {
		m.hits.WithLabelValues(model).Add(float64(u.Cached))
		m.misses.WithLabelValues(model).Add(float64(max(0, u.Calls-u.Cached)))
	}
	if u.Cached == 0 {
		m.hedged.WithLabelValues(model).Add(float64(u.Hedged))
	}
	if u.Cached > 0 && u.Cached == u.Calls {
		return
	}
	m.computed(model, operation, u, err, took)
}

// computed counts a call that a model worked for.
func (m *Metrics) computed(model, operation string, u llm.Usage, err error, took time.Duration) {
	m.calls.WithLabelValues(model, operation, outcome(err)).Observe(took.Seconds())
	if u.Cached == 0 { // of a batch that is cached in part it is not known which tokens are whose
		m.tokens.WithLabelValues(model, "input").Add(float64(max(0, u.In)))
		m.tokens.WithLabelValues(model, "output").Add(float64(max(0, u.Out)))
	}
}

// requested counts a request to an endpoint.
func (m *Metrics) requested(endpoint string, status int, took time.Duration) {
	m.inFlight.WithLabelValues(endpoint).Dec()
	m.requests.WithLabelValues(endpoint, strconv.Itoa(status)).Observe(took.Seconds())
}
