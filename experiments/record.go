package experiments

import (
	"github.com/budgetmem/budgetmem/bmem"
)

// Prediction is one line of predictions.jsonl: what a policy made of a question. It holds nothing that differs between
// two runs of the same settings, so that the files of two such runs can be compared byte by byte; times stand in
// metrics.jsonl and traces.jsonl.
type Prediction struct {
	Policy     string   `json:"policy"`
	ID         string   `json:"id"`
	Category   string   `json:"category"`
	Question   string   `json:"question"`
	Prediction string   `json:"prediction"`
	Gold       []string `json:"gold"`
	// Scores holds one value a metric, by the metric's exact name; nil for a failed question.
	Scores map[string]float64 `json:"scores,omitempty"`
	// Asked and Served are the tiers of the modules in order.
	Asked  []string `json:"tiers_asked,omitempty"`
	Served []string `json:"tiers_served,omitempty"`
	Cost   Cost     `json:"cost"`
	// Evidence is how much of the question's evidence was found; nil for a question whose evidence is not known.
	Evidence *Evidence `json:"evidence,omitempty"`
	// Error is why there is no prediction. A failed question is in no mean, and is tried again when the run is taken up again.
	Error string `json:"error,omitempty"`
}

// Cost is what a question's model calls cost: those of the modules and that of the answer. A reply from the cache counts
// as if it had been paid now.
type Cost struct {
	In             int     `json:"tokens_in"`
	Out            int     `json:"tokens_out"`
	Calls          int     `json:"calls"`
	ModulesDollars float64 `json:"dollars_modules"`
	AnswerDollars  float64 `json:"dollars_answer"`
}

// Dollars is the sum of both parts.
func (c Cost) Dollars() float64 { return c.ModulesDollars + c.AnswerDollars }

// Evidence is the share of a question's evidence turns, in [0,1], in the chunks that retrieval returned and in those that
// the filter let through to the summary.
type Evidence struct {
	Turns     int     `json:"turns"`
	Retrieved float64 `json:"recall_retrieved"`
	Kept      float64 `json:"recall_kept"`
}

// Record is one line of traces.jsonl: a prediction and how it came about.
type Record struct {
	Prediction
	// MS is the question's latency in milliseconds, see bmem.Trace.MS.
	MS    float64    `json:"ms"`
	Trace bmem.Trace `json:"trace"`
}

// Failed says whether there is no prediction.
func (r Record) Failed() bool { return r.Error != "" }

// fill copies what the trace tells into the prediction.
func (r *Record) fill(t bmem.Trace, evidence []string) {
	r.Trace, r.MS = t, t.MS()
	modules, all := t.ModuleUsage(), t.Usage()
	r.Cost = Cost{In: all.In, Out: all.Out, Calls: all.Calls, ModulesDollars: modules.Dollars, AnswerDollars: t.Answer.Usage.Dollars}
	for _, m := range t.Modules {
		r.Asked = append(r.Asked, m.Asked)
		r.Served = append(r.Served, m.Served)
	}
	if len(evidence) > 0 && len(t.Retrieved) > 0 {
		r.Evidence = &Evidence{Turns: len(evidence), Retrieved: recall(evidence, t.Retrieved), Kept: recall(evidence, t.Kept)}
	}
}

// recall is the share of the wanted turns that the chunks hold.
func recall(want []string, chunks []bmem.Found) float64 {
	have := map[string]bool{}
	for _, c := range chunks {
		for _, id := range c.Turns {
			have[id] = true
		}
	}
	n := 0
	for _, id := range want {
		if have[id] {
			n++
		}
	}
	return float64(n) / float64(len(want))
}
