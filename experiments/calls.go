package experiments

import (
	"cmp"
	"maps"
	"slices"

	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Calls counts calls of language models over questions, those of failed questions too. A question that was asked again
// counts with its last try.
type Calls struct {
	Models  []CallCount `json:"models"`
	Modules []CallCount `json:"modules"`
}

// CallCount counts the calls of one model, or of one module, the answer or a judge. A reply from the cache counts with the
// tokens, dollars and milliseconds of its first call.
type CallCount struct {
	// Name is a model's or a module's. What judges call has "judge" in its name.
	Name string `json:"name"`
	llm.Usage
	// Fallbacks counts how often a lower tier had to serve because of these calls.
	Fallbacks int `json:"fallbacks"`
	// P50 and P95 are percentiles of the time of one call, retries and waits included, in milliseconds; where a step makes
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
	place := func(name string) int {
		if i := slices.Index(order, name); i >= 0 {
			return i
		}
		return len(order)
	}
	names := slices.SortedFunc(maps.Keys(t.counts), func(a, b string) int { return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a, b)) })
	out := []CallCount{}
	for _, name := range names {
		c := *t.counts[name]
		c.P50, c.P95 = Quantile(t.times[name], 0.5), Quantile(t.times[name], 0.95)
		out = append(out, c)
	}
	return out
}

// answerStep is what the answer call is called beside the modules.
const answerStep = "answer"

// callCounter counts the calls of columns.
type callCounter struct{ models, modules tally }

func newCallCounter() callCounter { return callCounter{newTally(), newTally()} }

// add counts the calls of a run's columns. model is the model of steps that do not name theirs, as those of older runs.
func (c callCounter) add(columns []column, model string, judges map[string]JudgeInfo) {
	for _, col := range columns {
		for _, rec := range col.records {
			c.addRecord(rec, model, judges)
		}
	}
}

func (c callCounter) addRecord(rec Record, model string, judges map[string]JudgeInfo) {
	for _, step := range rec.Trace.Modules {
		fellBack := step.Served != step.Asked
		c.modules.add(step.Module, step.Usage, fellBack)
		if step.Usage.Calls > 0 {
			c.models.add(cmp.Or(step.Model, model), step.Usage, fellBack)
		}
	}
	if u := rec.Trace.Answer.Usage; u.Calls > 0 {
		c.modules.add(answerStep, u, false)
		c.models.add(cmp.Or(rec.Trace.Answer.Model, model), u, false)
	}
	for name, u := range rec.Judging {
		c.modules.add("judge "+name, u, false)
		c.models.add(judges[name].Model+" (judge)", u, false)
	}
}

func (c callCounter) list() Calls {
	var order []string
	for _, m := range tiers.Modules() {
		order = append(order, m.String())
	}
	return Calls{c.models.list(nil), c.modules.list(append(order, answerStep))}
}
