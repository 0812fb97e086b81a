package experiments

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
)

// Summary is the outcome of a run so far.
type Summary struct {
	Run      settings `json:"run"`
	Backend  string   `json:"backend"`
	Warnings []string `json:"warnings,omitempty"`
	// InFlight is how many questions were answered at one time, which the latencies depend on.
	InFlight int `json:"in_flight"`
	// Judges says which models judged, by the judge's name.
	Judges map[string]JudgeInfo `json:"judges,omitempty"`
	// Questions is how many questions were chosen, Categories their categories in the table's order.
	Questions  int      `json:"questions"`
	Categories []string `json:"categories"`
	// Total is the number of questions times policies, the ceiling included; Done of them have been tried, and of these
	// Failed gave no answer.
	Total  int `json:"total"`
	Done   int `json:"done"`
	Failed int `json:"failed"`
	// Paid is what was paid for answers since this start, in dollars, and JudgePaid for judging; what came from the cache
	// cost nothing.
	Paid      float64 `json:"paid"`
	JudgePaid float64 `json:"judge_paid"`
	// Baseline is the policy that the others are compared with: "low" if it was asked for, else the cheapest.
	Baseline string `json:"baseline"`
	// Ceiling is the answer straight from the gold evidence; Policies are the run's, in the order asked for.
	Ceiling  Result   `json:"ceiling"`
	Policies []Result `json:"policies"`
	// Calls counts the calls of the models.
	Calls Calls `json:"calls"`
	// Report is the path of the HTML report.
	Report string `json:"report"`
}

// board is the summary as a board, the ceiling first.
func (s Summary) board() board {
	return board{Metric: s.Run.Metric, Categories: s.Categories, Baseline: s.Baseline, Results: append([]Result{s.Ceiling}, s.Policies...)}
}

// summarise computes the table from the records.
func (r *run) summarise() (Summary, error) {
	s := Summary{Run: r.settings(), Backend: r.System.Backend, Warnings: r.System.Warnings, InFlight: r.InFlight, Judges: r.judgeInfos,
		Questions: len(r.questions), Paid: r.progress.Paid, JudgePaid: r.progress.JudgePaid, Report: filepath.Join(r.Dir, "report.html")}
	for _, j := range r.jobs() {
		s.Total++
		if rec, ok := r.done[j.key()]; ok {
			s.Done++
			if rec.Failed() {
				s.Failed++
			}
		}
	}
	var columns []column
	for _, p := range r.policies {
		columns = append(columns, column{policy: p.name, records: r.records(p.name)})
	}
	b, err := newBoard(columns, r.metric, "", r.Seed)
	if err != nil {
		return s, err
	}
	s.Categories, s.Baseline, s.Ceiling, s.Policies = b.Categories, b.Baseline, b.Results[0], b.Results[1:]
	calls := newCallCounter()
	calls.add(columns, r.System.Model, r.judgeInfos)
	s.Calls = calls.list()
	return s, nil
}

// records returns a policy's records in the order of the questions.
func (r *run) records(policy string) []Record {
	var out []Record
	for _, q := range r.questions {
		if rec, ok := r.done[key{policy, q.ID}]; ok {
			out = append(out, rec)
		}
	}
	return out
}

// timing is one line of metrics.jsonl: what may differ between two runs of the same settings.
type timing struct {
	Policy      string             `json:"policy"`
	ID          string             `json:"id"`
	MS          float64            `json:"ms"`
	WallMS      float64            `json:"wall_ms"`
	EmbeddingMS float64            `json:"embedding_ms"`
	RetrievalMS float64            `json:"retrieval_ms"`
	ModulesMS   map[string]float64 `json:"modules_ms,omitempty"`
	AnswerMS    float64            `json:"answer_ms"`
	Calls       int                `json:"calls"`
	Cached      int                `json:"cached"`
	Retries     int                `json:"retries"`
	Paid        float64            `json:"paid"`
}

func newTiming(rec Record) timing {
	t, u := rec.Trace, rec.Trace.Usage()
	out := timing{Policy: rec.Policy, ID: rec.ID, MS: rec.MS, WallMS: t.WallMS, EmbeddingMS: t.Embedding.MS, RetrievalMS: t.RetrievalMS,
		AnswerMS: t.Answer.Usage.MS, Calls: u.Calls, Cached: u.Cached, Retries: u.Retries, Paid: u.Paid}
	for _, m := range t.Modules {
		if out.ModulesMS == nil {
			out.ModulesMS = map[string]float64{}
		}
		out.ModulesMS[m.Module] = m.MS
	}
	return out
}

// write writes predictions, metrics, summary and report.
func (r *run) write() (Summary, error) {
	var predictions, timings bytes.Buffer
	for _, p := range r.policies {
		for _, rec := range r.records(p.name) {
			if err := writeLine(&predictions, rec.Prediction); err != nil {
				return Summary{}, err
			}
			if err := writeLine(&timings, newTiming(rec)); err != nil {
				return Summary{}, err
			}
		}
	}
	s, err := r.summarise()
	if err != nil {
		return s, err
	}
	if err := atomicfile.WriteFile(filepath.Join(r.Dir, "predictions.jsonl"), predictions.Bytes(), 0o644); err != nil {
		return s, err
	}
	if err := atomicfile.WriteFile(filepath.Join(r.Dir, "metrics.jsonl"), timings.Bytes(), 0o644); err != nil {
		return s, err
	}
	if err := writeJSON(filepath.Join(r.Dir, "summary.json"), s); err != nil {
		return s, err
	}
	return s, r.writeReport(s)
}

func writeLine(b *bytes.Buffer, v any) error {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write a line of results: %w", err)
	}
	return nil
}
