package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/openai"
)

// Sources are where metrics are read from when Prometheus asks. Each may be nil.
type Sources struct {
	// Endpoints says how endpoints do.
	Endpoints func() []openai.EndpointState
	// Ledger holds a spend limit.
	Ledger *llm.Ledger
	// Queue counts the requests of a server.
	Queue func() api.Queue
	// Tenants are what tenants did, by their name; "" for requests that no tenant made.
	Tenants func() map[string]memory.Counters
}

type source struct{ Sources }

// Watch reads metrics from s too, until stop is called. Of several sources the sums are shown; Queue and Tenants
// are of one at most.
func (m *Metrics) Watch(s Sources) (stop func()) {
	w := &source{s}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sources[w] = true
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.sources, w)
	}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("bmem_"+name, help, labels, nil)
}

var (
	descCooling   = desc("endpoint_cooling", "1 while an endpoint is left alone because it limits calls or fails.", "endpoint")
	descCooldowns = desc("endpoint_cooldowns_total", "How often a key of an endpoint was left alone because it limits calls or fails.", "endpoint")
	descLedger    = desc("ledger_dollars", "The spend limit's ledger: spent for sure, uncertain (the most that failed calls can have cost), and reserved for calls in flight.", "state")
	descLimit     = desc("ledger_limit_dollars", "The spend limit, or what this machine holds of a shared one.")
	descDepth     = desc("queue_depth", "Requests to this server that run a model, or wait to.")
	descSize      = desc("queue_limit", "The most that may run or wait; more are refused.")
	descRefused   = desc("queue_refused_total", "Requests that were refused because the queue was full.")
	descRequests  = desc("tenant_requests_total", "Requests about memories and calls of served models, by tenant (empty: no tenant) and what they did.", "tenant", "action")
	descTurns     = desc("tenant_turns_total", "Turns added and forgotten by tenant.", "tenant", "action")
	descTokens    = desc("tenant_tokens_total", "Tokens of questions and calls by tenant.", "tenant", "type")
	descDollars   = desc("tenant_dollars_total", "What questions and calls cost by tenant.", "tenant")
)

// readings collects what is read from sources.
type readings struct{ *Metrics }

// Describe implements prometheus.Collector.
func (readings) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descCooling, descCooldowns, descLedger, descLimit, descDepth, descSize, descRefused, descRequests, descTurns, descTokens, descDollars} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (r readings) Collect(to chan<- prometheus.Metric) {
	r.mu.Lock()
	all := make([]Sources, 0, len(r.sources))
	for s := range r.sources {
		all = append(all, s.Sources)
	}
	r.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	endpoints := map[string]openai.EndpointState{}
	var ledger *llm.Balance
	for _, s := range all {
		if s.Endpoints != nil {
			for _, e := range s.Endpoints() {
				sum := endpoints[e.URL]
				sum.Cooling = sum.Cooling || e.Cooling
				sum.Cooldowns += e.Cooldowns
				endpoints[e.URL] = sum
			}
		}
		if s.Ledger != nil {
			b := s.Ledger.Balance()
			if ledger == nil {
				ledger = &llm.Balance{}
			}
			ledger.Limit += b.Limit
			ledger.Spent += b.Spent
			ledger.Uncertain += b.Uncertain
			ledger.Reserved += b.Reserved
		}
		if s.Queue != nil {
			q := s.Queue()
			gauge(descDepth, float64(q.Depth))
			gauge(descSize, float64(q.Limit))
			count(descRefused, float64(q.Refused))
		}
		if s.Tenants != nil {
			for tenant, c := range s.Tenants() {
				for action, n := range map[string]int64{"add": c.Adds, "edit": c.Edits, "search": c.Searches, "ask": c.Asks, "forget": c.Forgets,
					"chat": c.Chats, "score": c.Scores, "embed": c.Embeddings, "refused": c.Refused, "failed": c.Failed} {
					count(descRequests, float64(n), tenant, action)
				}
				count(descTurns, float64(c.TurnsAdded), tenant, "add")
				count(descTurns, float64(c.TurnsForgotten), tenant, "forget")
				count(descTokens, float64(c.TokensIn), tenant, "input")
				count(descTokens, float64(c.TokensOut), tenant, "output")
				count(descDollars, c.Dollars, tenant)
			}
		}
	}
	for url, e := range endpoints {
		cooling := 0.0
		if e.Cooling {
			cooling = 1
		}
		gauge(descCooling, cooling, url)
		count(descCooldowns, float64(e.Cooldowns), url)
	}
	if ledger != nil {
		gauge(descLedger, ledger.Spent, "spent")
		gauge(descLedger, ledger.Uncertain, "uncertain")
		gauge(descLedger, ledger.Reserved, "reserved")
		gauge(descLimit, ledger.Limit)
	}
}
