package experiments

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/tiers"
)

// Baseline is the policy that the others are compared with.
const Baseline = tiers.Low

// Summary is the outcome of a run so far.
type Summary struct {
	Run      settings `json:"run"`
	Backend  string   `json:"backend"`
	Warnings []string `json:"warnings,omitempty"`
	// InFlight is how many questions were answered at one time, which the latencies depend on.
	InFlight int `json:"in_flight"`
	// Questions is how many questions were chosen, Categories their categories in the table's order.
	Questions  int      `json:"questions"`
	Categories []string `json:"categories"`
	// Total is the number of questions times policies, the ceiling included; Done of them have been tried, and of these
	// Failed gave no answer.
	Total  int `json:"total"`
	Done   int `json:"done"`
	Failed int `json:"failed"`
	// Paid is what was paid since this start, in dollars; what came from the cache cost nothing.
	Paid float64 `json:"paid"`
	// Ceiling is the answer straight from the gold evidence; Policies are the run's, in the order asked for.
	Ceiling  Result   `json:"ceiling"`
	Policies []Result `json:"policies"`
	// Report is the path of the HTML report.
	Report string `json:"report"`
}

// Result is what one policy earned and cost. All means are over the answered questions.
type Result struct {
	Policy string `json:"policy"`
	// Score is the mean of the run's metric with its 95 % interval.
	Score Interval `json:"score"`
	// Versus is the mean difference to the policy "low" over the questions that both answered; nil for that policy itself
	// and where it was not asked for.
	Versus     *Interval           `json:"versus_low,omitempty"`
	ByCategory map[string]Interval `json:"by_category"`
	// Scores holds the means of every value the metric has, by name.
	Scores map[string]float64 `json:"scores"`

	Dollars        float64 `json:"dollars"` // of all questions, failed ones too
	DollarsMean    float64 `json:"dollars_per_question"`
	ModulesDollars float64 `json:"dollars_modules"`
	AnswerDollars  float64 `json:"dollars_answer"`
	In             float64 `json:"tokens_in_per_question"`
	Out            float64 `json:"tokens_out_per_question"`
	MSP50          float64 `json:"ms_p50"`
	MSP95          float64 `json:"ms_p95"`
	// Recall is the mean share of the evidence turns in the retrieved and in the kept chunks, over RecallN questions with
	// known evidence.
	RecallRetrieved float64 `json:"recall_retrieved"`
	RecallKept      float64 `json:"recall_kept"`
	RecallN         int     `json:"recall_n"`
	Failed          int     `json:"failed"`
	Fallbacks       int     `json:"fallbacks"`
	// Modules tells which tiers served, and what they cost, module by module; empty for the ceiling.
	Modules []ModuleResult `json:"modules,omitempty"`
}

// ModuleResult is one module's part in a Result.
type ModuleResult struct {
	Module  string         `json:"module"`
	Served  map[string]int `json:"served"` // questions by tier
	Dollars float64        `json:"dollars_per_question"`
	MS      float64        `json:"ms_p50"`
}

// summarise computes the table from the records.
func (r *run) summarise() Summary {
	s := Summary{Run: r.settings(), Backend: r.System.Backend, Warnings: r.System.Warnings, InFlight: r.InFlight, Questions: len(r.questions),
		Categories: categories(r.questions), Paid: r.progress.Paid, Report: filepath.Join(r.Dir, "report.html")}
	for _, j := range r.jobs() {
		s.Total++
		if rec, ok := r.done[j.key()]; ok {
			s.Done++
			if rec.Failed() {
				s.Failed++
			}
		}
	}
	base := map[string]float64{}
	for _, rec := range r.records(Baseline) {
		if !rec.Failed() {
			base[rec.ID] = rec.Scores[r.metric.Name]
		}
	}
	for _, p := range r.policies {
		res := result(p.name, r.records(p.name), r.metric.Name, r.Seed)
		if p.name != Baseline && len(base) > 0 {
			res.Versus = r.versus(p.name, base)
		}
		if p.name == Gold {
			s.Ceiling = res
		} else {
			s.Policies = append(s.Policies, res)
		}
	}
	return s
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

func (r *run) versus(policy string, base map[string]float64) *Interval {
	var diffs []float64
	for _, rec := range r.records(policy) {
		if b, ok := base[rec.ID]; ok && !rec.Failed() {
			diffs = append(diffs, rec.Scores[r.metric.Name]-b)
		}
	}
	iv := Bootstrap(diffs, r.Seed)
	return &iv
}

func result(policy string, records []Record, metric string, seed int64) Result {
	res := Result{Policy: policy, ByCategory: map[string]Interval{}, Scores: map[string]float64{}}
	var scores, ms, in, out, dollars, retrieved, kept []float64
	byCategory := map[string][]float64{}
	named := map[string][]float64{}
	for _, rec := range records {
		res.ModulesDollars += rec.Cost.ModulesDollars
		res.AnswerDollars += rec.Cost.AnswerDollars
		res.Dollars += rec.Cost.Dollars()
		res.Fallbacks += rec.Trace.Fallbacks()
		if rec.Failed() {
			res.Failed++
			continue
		}
		scores = append(scores, rec.Scores[metric])
		byCategory[rec.Category] = append(byCategory[rec.Category], rec.Scores[metric])
		for name, v := range rec.Scores {
			named[name] = append(named[name], v)
		}
		ms = append(ms, rec.MS)
		in = append(in, float64(rec.Cost.In))
		out = append(out, float64(rec.Cost.Out))
		dollars = append(dollars, rec.Cost.Dollars())
		if e := rec.Evidence; e != nil {
			retrieved = append(retrieved, e.Retrieved)
			kept = append(kept, e.Kept)
		}
	}
	res.Score = Bootstrap(scores, seed)
	for c, v := range byCategory {
		res.ByCategory[c] = Bootstrap(v, seed)
	}
	for name, v := range named {
		res.Scores[name] = mean(v)
	}
	res.DollarsMean, res.In, res.Out = mean(dollars), mean(in), mean(out)
	res.MSP50, res.MSP95 = Quantile(ms, 0.5), Quantile(ms, 0.95)
	res.RecallRetrieved, res.RecallKept, res.RecallN = mean(retrieved), mean(kept), len(kept)
	if policy != Gold {
		res.Modules = moduleResults(records)
	}
	return res
}

func moduleResults(records []Record) []ModuleResult {
	var out []ModuleResult
	for _, m := range tiers.Modules() {
		res := ModuleResult{Module: m.String(), Served: map[string]int{}}
		var dollars, ms []float64
		for _, rec := range records {
			for _, step := range rec.Trace.Modules {
				if step.Module == res.Module && !rec.Failed() {
					res.Served[step.Served]++
					dollars = append(dollars, step.Usage.Dollars)
					ms = append(ms, step.MS)
				}
			}
		}
		res.Dollars, res.MS = mean(dollars), Quantile(ms, 0.5)
		out = append(out, res)
	}
	return out
}

// categories lists the questions' categories by name.
func categories(questions []datasets.Question) []string {
	var out []string
	for _, q := range questions {
		if !slices.Contains(out, q.Category) {
			out = append(out, q.Category)
		}
	}
	slices.Sort(out)
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
	s := r.summarise()
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
