package bmem

import (
	"slices"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// Answer is what Ask returns.
type Answer struct {
	// Text is the answer.
	Text string `json:"answer"`
	// Confidence is the expected score of the answer, in [0, 1], by what it shows of itself (Options.Calibration). It is nil without a
	// calibration of the model that answered, and where the model tells no log-probabilities.
	Confidence *float64 `json:"confidence,omitempty"`
	// Answerable is the probability, in [0, 1], that the memory answers the question at all, by the notes and the answer; nil without a
	// calibration that unanswerable questions were measured for.
	Answerable *float64 `json:"answerable,omitempty"`
	// Abstained says that the answer is less sure than WithMinConfidence or WithMinAnswerable asks for, or that it is not known. Text is then
	// "", and Withheld what would have been answered.
	Abstained bool   `json:"abstained,omitempty"`
	Withheld  string `json:"withheld,omitempty"`
	// Evidence holds the ids of the turns that the extraction worked from: those of the chunks that the filter kept, best first.
	Evidence []string `json:"evidence"`
	// Trace tells how the answer came about and what it cost.
	Trace Trace `json:"trace"`
}

// Trace records one question's way through the pipeline.
type Trace struct {
	Memory   string `json:"memory"`
	Question string `json:"question"`
	Date     string `json:"date,omitempty"`
	Policy   string `json:"policy"`
	// Dates says how the memory's numeric dates were read, and which times were not; nil if all were plain.
	Dates *text.Reading `json:"dates,omitempty"`
	// Language is that of the memory, as it was recognised; "" is English. Its Limits say what is lacking for it.
	Language  text.Language `json:"language,omitempty"`
	Retrieval string        `json:"retrieval,omitempty"`
	TopK      int           `json:"top_k,omitempty"` // the most chunks to retrieve
	// Retrieved are the chunks found, best first; Kept those that passed the filter.
	Retrieved []Found `json:"retrieved,omitempty"`
	Kept      []Found `json:"kept,omitempty"`
	// Modules holds one entry a module that ran, in the order of execution.
	Modules []Module `json:"modules,omitempty"`
	// Summary is the text that the answer was written from, and Quoted the ids of the turns that it quotes; nil if it is in words of
	// its own.
	Summary string   `json:"summary"`
	Quoted  []string `json:"quoted,omitempty"`
	// Signals tell how sure the notes are, by name; see Signals.
	Signals map[string]float64 `json:"signals,omitempty"`
	// Answer is the answer call, and Drafts are the other ones of a cascade, whose answers do not count.
	Answer Call   `json:"answer_call"`
	Drafts []Call `json:"drafts,omitempty"`
	// Embedding counts what was embedded for this question (its text, what retrieval embeds when it finds
	// it, and facts where the policy looked at them).
	Embedding Embedding `json:"embedding"`
	// AtMost is the most that the question can have cost, in dollars, where WithMaxCost limits that: its Usage, and the worst case
	// of failed calls that may be billed.
	AtMost float64 `json:"at_most,omitempty"`
	// RetrievalMS is the time of the search, in milliseconds, embedding left out.
	RetrievalMS float64 `json:"retrieval_ms"`
	// WallMS is the time that Ask took now, in milliseconds, replies from the cache included at what they took now.
	WallMS float64 `json:"wall_ms"`
}

// Found is a chunk in a trace.
type Found struct {
	Chunk string   `json:"chunk"`
	Turns []string `json:"turns"`
	// Score is the retriever's for a retrieved chunk and the filter's relevance for a kept one.
	Score float64 `json:"score"`
}

// Recall is the share of the turns, given by their ids, that the chunks hold; NaN if none are given.
func Recall(turns []string, chunks []Found) float64 {
	have := map[string]bool{}
	for _, c := range chunks {
		for _, id := range c.Turns {
			have[id] = true
		}
	}
	n := 0
	for _, id := range turns {
		if have[id] {
			n++
		}
	}
	return float64(n) / float64(len(turns))
}

// Module is what one module did.
type Module struct {
	Module string `json:"module"`
	tiers.Step
	Facts []string `json:"facts,omitempty"`
}

// Call is the call of the model that wrote the answer.
type Call struct {
	// Asked and Served are the tiers asked for and served, and Why is the reason of a difference; "" where the tier set does not
	// route the answer.
	Asked  string `json:"asked,omitempty"`
	Served string `json:"served,omitempty"`
	Why    string `json:"why,omitempty"`
	Method string `json:"method,omitempty"` // how the tier that served answers

	Model string `json:"model,omitempty"`
	Raw   string `json:"raw,omitempty"` // the reply before the answer was taken out of it
	// Draws are the sampled replies; nil where one was asked for.
	Draws []tiers.Draw `json:"draws,omitempty"`
	// Text is a draft's answer.
	Text string `json:"text,omitempty"`
	// Signals tell how sure the answer is, by name; see LogProbMean.
	Signals map[string]float64 `json:"signals,omitempty"`
	Usage   llm.Usage          `json:"usage"`
	Notes   []string           `json:"notes,omitempty"`
}

// Embedding is the number of texts embedded and the milliseconds that took.
type Embedding struct {
	Texts int     `json:"texts"`
	MS    float64 `json:"ms"`
}

// ModuleUsage is what the modules' model calls consumed together.
func (t Trace) ModuleUsage() llm.Usage {
	var u llm.Usage
	for _, m := range t.Modules {
		u = u.Add(m.Usage)
	}
	return u
}

// AnswerUsage is what the answer's calls consumed, drafts included.
func (t Trace) AnswerUsage() llm.Usage {
	var u llm.Usage
	for _, d := range t.Drafts {
		u = u.Add(d.Usage)
	}
	return u.Add(t.Answer.Usage)
}

// Usage is what the question's model calls consumed, modules and answer; a judge is not part of it, nor is embedding.
func (t Trace) Usage() llm.Usage { return t.ModuleUsage().Add(t.AnswerUsage()) }

// again returns a copy that shares no slice which the answer changes; where cached, the modules' calls count as answered from the cache.
func (t Trace) again(cached bool) Trace {
	t.Modules = slices.Clone(t.Modules)
	for i := range t.Modules {
		if u := &t.Modules[i].Usage; cached {
			u.Cached, u.Paid = u.Calls, 0
		}
	}
	return t
}

// Steps are the modules that ran, and the answer as one of them where the tier set routes it.
func (t Trace) Steps() []Module {
	a := t.Answer
	if a.Asked == "" {
		return t.Modules
	}
	return append(slices.Clone(t.Modules), Module{Module: tiers.Answering.String(), Step: tiers.Step{Asked: a.Asked, Served: a.Served, Why: a.Why,
		Method: a.Method, Model: a.Model, Usage: t.AnswerUsage(), MS: t.AnswerUsage().MS, Notes: a.Notes}})
}

// Fallbacks counts the steps that were served by another tier than the one asked for.
func (t Trace) Fallbacks() int {
	n := 0
	for _, m := range t.Steps() {
		if m.Served != m.Asked {
			n++
		}
	}
	return n
}

// Span is one step of a question on its way to the answer.
type Span struct {
	Step string // "retrieve", a module, or "answer"
	Tier string // that served; "" where there is none
	// Start, in milliseconds since the question, and MS, how long it took.
	Start, MS float64
	Dollars   float64
}

// Spans puts the steps one after the other, the relation modules beside each other: retrieval with all embedding, the
// modules that ran, the answer. A reply from the cache counts with the time of its first call, so that a repeated run
// does not look faster than the system is.
func (t Trace) Spans() []Span {
	end := t.Embedding.MS + t.RetrievalMS
	spans := []Span{{Step: "retrieve", MS: end}}
	start := end // of the relation modules
	for _, m := range t.Modules {
		relation := m.Module == tiers.Entity.String() || m.Module == tiers.Temporal.String() || m.Module == tiers.Topic.String()
		if !relation {
			start = end
		}
		s := Span{Step: m.Module, Tier: m.Served, Start: start, MS: stepMS(m.Step), Dollars: m.Usage.Dollars}
		spans, end = append(spans, s), max(end, s.Start+s.MS)
		if !relation {
			start = end
		}
	}
	for _, c := range append(slices.Clone(t.Drafts), t.Answer) {
		spans = append(spans, Span{Step: tiers.Answering.String(), Tier: c.Served, Start: end, MS: c.Usage.MS, Dollars: c.Usage.Dollars})
		end += c.Usage.MS
	}
	return spans
}

// MS is the question's latency in milliseconds along the longest path of its Spans.
func (t Trace) MS() float64 {
	spans := t.Spans()
	last := spans[len(spans)-1]
	return last.Start + last.MS
}

func stepMS(s tiers.Step) float64 {
	if s.Usage.Cached == 0 {
		return s.MS
	}
	return max(s.MS, s.Usage.MS)
}

func turnIDs(items []tiers.Item) []string {
	var ids []string
	seen := map[string]bool{}
	for _, it := range items {
		for _, id := range it.TurnIDs() {
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func found(c chunk.Chunk, score float64) Found {
	return Found{Chunk: c.ID, Turns: c.TurnIDs(), Score: score}
}
