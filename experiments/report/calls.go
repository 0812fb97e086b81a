package report

import (
	"cmp"
	"maps"
	"slices"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Calls counts calls of language models over questions, failed ones included. A question that was asked again counts with its
// last attempt.
type Calls struct {
	Models  []CallCount `json:"models"`
	Modules []CallCount `json:"modules"`
}

// CallCount counts the calls of one model, module, the answer or a judge. A reply from the cache counts with the tokens,
// dollars and milliseconds of its first call.
type CallCount struct {
	// Name is that of the model or module. Judges have "judge" in their names.
	Name string `json:"name"`
	llm.Usage
	// Fallbacks counts how often a lower tier had to serve because of these calls.
	Fallbacks int `json:"fallbacks"`
	// P50 and P95 are percentiles of the time of one call in milliseconds, retries and waits included; where a step makes
	// several calls, each counts with their mean.
	P50 float64 `json:"ms_p50"`
	P95 float64 `json:"ms_p95"`
}

// tally adds up counts by name.
type tally struct {
	counts map[string]*CallCount
	times  map[string][]float64
}

func newTally() tally { return tally{map[string]*CallCount{}, map[string][]float64{}} }

func (t tally) add(name string, u llm.Usage, fellBack bool) {
	c := t.counts[name]
	if c == nil {
		c = &CallCount{Name: name}
		t.counts[name] = c
	}
	c.Usage = c.Usage.Add(u)
	if fellBack {
		c.Fallbacks++
	}
	for range u.Calls {
		t.times[name] = append(t.times[name], u.MS/float64(u.Calls))
	}
}

// list returns the counts: those of the names in order first, then the others by name.
func (t tally) list(order []string) []CallCount {
	rank := func(name string) int {
		if i := slices.Index(order, name); i >= 0 {
			return i
		}
		return len(order)
	}
	names := slices.SortedFunc(maps.Keys(t.counts), func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
	out := []CallCount{}
	for _, name := range names {
		c := *t.counts[name]
		c.P50, c.P95 = stats.Quantile(t.times[name], 0.5), stats.Quantile(t.times[name], 0.95)
		out = append(out, c)
	}
	return out
}

// callCounter counts the calls of columns.
type callCounter struct{ models, modules tally }

func newCallCounter() callCounter { return callCounter{newTally(), newTally()} }

// add counts the calls behind a run's record. Steps that do not name their model, as in older runs, count for the run's.
func (c callCounter) add(rec run.Record, r run.Results) {
	model := r.Settings.Model
	for _, step := range rec.Trace.Modules {
		fellBack := step.Served != step.Asked
		c.modules.add(step.Module, step.Usage, fellBack)
		if step.Usage.Calls > 0 {
			c.models.add(cmp.Or(step.Model, model), step.Usage, fellBack)
		}
	}
	for _, call := range append(slices.Clone(rec.Trace.Drafts), rec.Trace.Answer) {
		if call.Usage.Calls > 0 {
			fellBack := call.Served != call.Asked
			c.modules.add(tiers.Answering.String(), call.Usage, fellBack)
			c.models.add(cmp.Or(call.Model, model), call.Usage, fellBack)
		}
	}
	for name, u := range rec.Judging {
		c.modules.add("judge "+name, u, false)
		c.models.add(r.Judges[name].Model+" (judge)", u, false)
	}
}

// NewCalls counts the calls of a run's models.
func NewCalls(r run.Results) Calls {
	calls := newCallCounter()
	for _, c := range r.Columns {
		for _, rec := range c.Records {
			calls.add(rec, r)
		}
	}
	return calls.list()
}

func (c callCounter) list() Calls {
	var order []string
	for _, m := range tiers.Modules() {
		order = append(order, m.String())
	}
	return Calls{c.models.list(nil), c.modules.list(order)}
}
