package run

import (
	"errors"
	"fmt"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/datasets/score"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Prediction is one line of predictions.jsonl: a policy's answer to a question. It holds nothing that differs between two
// runs of the same settings, so that the files of two such runs can be compared byte by byte; times are in metrics.jsonl and
// traces.jsonl.
type Prediction struct {
	Policy     string   `json:"policy"`
	ID         string   `json:"id"`
	Category   string   `json:"category"`
	Abstention bool     `json:"abstention,omitempty"` // the history does not hold the answer, which is the right answer
	Question   string   `json:"question"`
	Prediction string   `json:"prediction"`
	Gold       []string `json:"gold"`
	// Scores holds a value in [0,1] per metric, by the metric's exact name, and per judge that gave a readable verdict, by
	// JudgeScore; nil for a failed question.
	Scores map[string]float64 `json:"scores,omitempty"`
	// Judged holds the judges' verdicts by the judge's name.
	Judged map[string]Verdict `json:"judged,omitempty"`
	// Asked and Served are the tiers of the modules in order.
	Asked  []string `json:"tiers_asked,omitempty"`
	Served []string `json:"tiers_served,omitempty"`
	Cost   Cost     `json:"cost"`
	// Evidence is the recall of the question's evidence; nil if its evidence is not known.
	Evidence *Evidence `json:"evidence,omitempty"`
	// Sessions rates the ranking of the sessions (or documents) that hold the evidence; nil also for abstention questions.
	Sessions *Sessions `json:"sessions,omitempty"`
	// Error is why there is no prediction. A failed question is in no mean, and is asked again when the run is resumed.
	Error string `json:"error,omitempty"`
}

// Failed reports whether there is no prediction.
func (p Prediction) Failed() bool { return p.Error != "" }

// Cost is the cost of a question's model calls, in tokens and in dollars at list price: a reply from the cache counts like a paid
// one.
type Cost struct {
	In             int     `json:"tokens_in"`
	Out            int     `json:"tokens_out"`
	Calls          int     `json:"calls"`
	ModulesDollars float64 `json:"dollars_modules"`
	AnswerDollars  float64 `json:"dollars_answer"`
}

// Dollars is the sum of the modules' and the answer's dollars.
func (c Cost) Dollars() float64 { return c.ModulesDollars + c.AnswerDollars }

// Evidence is the number of a question's evidence turns, and the share of them, in [0,1], in the chunks that retrieval returned
// and in those that the filter kept.
type Evidence struct {
	Turns     int     `json:"turns"`
	Retrieved float64 `json:"recall_retrieved"`
	Kept      float64 `json:"recall_kept"`
}

// Sessions rates how retrieval ranked the sessions that hold a question's evidence, a session by its best chunk, at k
// = the number of chunks retrieved; see score.RecallAll and score.NDCG. Wanted is the number of these sessions; the scores are in
// [0,1].
type Sessions struct {
	Wanted    int     `json:"wanted"`
	RecallAll float64 `json:"recall_all"`
	NDCG      float64 `json:"ndcg"`
}

// Record is one line of traces.jsonl: a prediction with its trace.
type Record struct {
	Prediction
	// MS is the question's latency in milliseconds without judging, see bmem.Trace.MS.
	MS    float64    `json:"ms"`
	Trace bmem.Trace `json:"trace"`
	// States holds the embeddings that the decisions could see, where Config.RecordStates is set; nil for the ceiling.
	States *States `json:"states,omitempty"`
	// Judging is the usage of each judge's calls, by the judge's name.
	Judging map[string]llm.Usage `json:"judging,omitempty"`
}

// fill copies tiers, costs and recall from the trace into the prediction.
func (r *Record) fill(t bmem.Trace, q datasets.Question, turns []chunk.Turn) {
	r.Trace, r.MS = t, t.MS()
	modules, all := t.ModuleUsage(), t.Usage()
	r.Cost = Cost{In: all.In, Out: all.Out, Calls: all.Calls, ModulesDollars: modules.Dollars, AnswerDollars: t.AnswerUsage().Dollars}
	for _, m := range t.Steps() {
		r.Asked = append(r.Asked, m.Asked)
		r.Served = append(r.Served, m.Served)
	}
	if len(t.Retrieved) == 0 {
		return
	}
	if len(q.Evidence) > 0 {
		r.Evidence = &Evidence{Turns: len(q.Evidence), Retrieved: bmem.Recall(q.Evidence, t.Retrieved), Kept: bmem.Recall(q.Evidence, t.Kept)}
	}
	if wanted := q.EvidenceSessions; len(wanted) > 0 && !q.Abstention {
		ranked, k := sessions(t.Retrieved, turns), len(t.Retrieved)
		r.Sessions = &Sessions{Wanted: len(wanted), RecallAll: score.RecallAll(ranked, wanted, k), NDCG: score.NDCG(ranked, wanted, k)}
	}
}

// sessions lists the sessions of chunks in the order of their first chunks. A chunk never spans two sessions.
func sessions(chunks []bmem.Found, turns []chunk.Turn) []string {
	sessionOf := make(map[string]string, len(turns))
	for _, t := range turns {
		sessionOf[t.ID] = t.Session
	}
	var out []string
	seen := map[string]bool{}
	for _, c := range chunks {
		if len(c.Turns) == 0 {
			continue
		}
		if s := sessionOf[c.Turns[0]]; !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// commonMetrics are computed in every run beside its own metric: papers publish different F1s under one name.
var commonMetrics = []string{"locomo-f1", "hotpot", "token-set-f1", "bleu1"}

// score fills in Scores: the run's metric, the common metrics, and the judges' readable verdicts.
func (p *Prediction) score(metric string) error {
	if p.Failed() {
		p.Scores = nil
		return nil
	}
	p.Scores = map[string]float64{}
	for _, name := range append([]string{metric}, commonMetrics...) {
		m, err := score.Lookup(name)
		if err != nil {
			return err
		}
		result, err := m.Score(score.Item{Prediction: p.Prediction, Gold: p.Gold, Category: p.Category})
		if err != nil {
			return fmt.Errorf("score question %s: %w", p.ID, err)
		}
		p.Scores[name] = result.Score
		for part, v := range result.Parts {
			p.Scores[name+"."+part] = v
		}
	}
	for name, v := range p.Judged {
		if v.Score != nil {
			p.Scores[JudgeScore(name)] = *v.Score
		}
	}
	return nil
}

// outOfBudget returns an error if a module stepped down because of the spend limit. Such an answer is not the policy's: with
// a higher limit the question has to be asked again.
func outOfBudget(t bmem.Trace) error {
	for _, m := range t.Modules {
		if errors.Is(m.Cause, llm.ErrBudget) {
			return fmt.Errorf("%s at tier %s: %w", m.Module, m.Asked, llm.ErrBudget)
		}
	}
	return nil
}

// stops reports whether an error ends the run because the question did not cause it.
func stops(ctxErr, err error) bool {
	return ctxErr != nil || errors.Is(err, llm.ErrBudget) || errors.Is(err, llm.ErrCache) || errors.Is(err, llm.ErrLedger) || errors.Is(err, bmem.ErrMemoryChanged)
}
