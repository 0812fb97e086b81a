package experiments

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/tiers"
)

// column is one configuration: a policy of a run, with its records in the order of the questions.
type column struct {
	run     string // the run's name; "" where there is only one
	policy  string
	records []Record
}

// judges lists the judges that gave verdicts.
func (c column) judges() []string {
	names := map[string]bool{}
	for _, rec := range c.records {
		for name := range rec.Judged {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Scored is the mean of one score over the questions that have it.
type Scored struct {
	// Score is the mean with its 95 % interval.
	Score Interval `json:"score"`
	// Versus is the mean difference to the baseline over the questions that both answered; nil for the baseline itself and
	// for a ceiling that shares no question with it.
	Versus     *Interval           `json:"versus,omitempty"`
	ByCategory map[string]Interval `json:"by_category"`
}

// Result is what one configuration earned and cost. All means are over the answered questions.
type Result struct {
	// Run is the name of the run in a comparison of several; "" within one run.
	Run    string `json:"run,omitempty"`
	Policy string `json:"policy"`
	// Scored is by the metric reported first.
	Scored
	// Scores holds the means of all scores, by name.
	Scores map[string]float64 `json:"scores"`
	// Judges holds what the judges say, by their names.
	Judges map[string]JudgeResult `json:"judges,omitempty"`
	// Pareto says that no other policy has a better score for as few dollars, or as good a one for fewer.
	Pareto bool `json:"pareto"`

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
	// SessionsRecallAll and SessionsNDCG are the means of Sessions over SessionsN questions.
	SessionsRecallAll float64 `json:"sessions_recall_all"`
	SessionsNDCG      float64 `json:"sessions_ndcg"`
	SessionsN         int     `json:"sessions_n"`
	Failed            int     `json:"failed"`
	Fallbacks         int     `json:"fallbacks"`
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

// Label is the name that tables and charts give a result.
func (r Result) Label() string {
	label := label(r.Policy)
	if r.Run != "" {
		label = r.Run + ": " + label
	}
	return label
}

// board is what several configurations earned on the same questions: what the table of a run and that of a comparison
// share.
type board struct {
	Metric     string
	Categories []string
	Baseline   string // label of the result that the others are compared with; "" if there is none
	Results    []Result
}

// newBoard computes the results of columns by a metric. baseline names what the others are compared with, by its label or
// by a policy that occurs once; "" takes the policy "low" if there is one, else the cheapest.
func newBoard(columns []column, metric, baseline string, seed int64) (board, error) {
	b := board{Metric: metric}
	categories := map[string]bool{}
	for _, c := range columns {
		b.Results = append(b.Results, newResult(c, metric, seed))
		for _, rec := range c.records {
			categories[rec.Category] = true
		}
	}
	b.Categories = slices.Sorted(maps.Keys(categories))
	base, err := b.baseline(baseline)
	if err != nil {
		return board{}, err
	}
	if base >= 0 {
		b.Baseline = b.Results[base].Label()
		for i, c := range columns {
			if i != base {
				b.Results[i].compare(c, columns[base], metric, seed)
			}
		}
	}
	b.markFront()
	return b, nil
}

// baseline returns the place of the result that the others are compared with, -1 if there is none.
func (b board) baseline(name string) (int, error) {
	low, cheapest := -1, -1
	var named []int
	var labels []string
	for i, r := range b.Results {
		labels = append(labels, r.Label())
		if name != "" && r.Label() == name {
			return i, nil
		}
		if r.Policy == name {
			named = append(named, i)
		}
		if r.Policy == Gold || r.Score.N == 0 {
			continue
		}
		if r.Policy == tiers.Low && low < 0 {
			low = i
		}
		if cheapest < 0 || r.DollarsMean < b.Results[cheapest].DollarsMean {
			cheapest = i
		}
	}
	switch {
	case name != "" && len(named) == 1:
		return named[0], nil
	case name != "":
		return 0, fmt.Errorf("baseline %q: give one of %s", name, strings.Join(labels, "; "))
	case low >= 0:
		return low, nil
	}
	return cheapest, nil
}

// compare fills in the differences to the baseline, question by question.
func (r *Result) compare(c, base column, metric string, seed int64) {
	r.Versus = versus(c, base, metric, seed)
	for name, res := range r.Judges {
		res.Versus = versus(c, base, JudgeScore(name), seed)
		r.Judges[name] = res
	}
}

func versus(c, base column, name string, seed int64) *Interval {
	values := map[string]float64{}
	for _, rec := range base.records {
		if v, ok := rec.Scores[name]; ok {
			values[rec.ID] = v
		}
	}
	var diffs []float64
	for _, rec := range c.records {
		v, ok := rec.Scores[name]
		if b, both := values[rec.ID]; ok && both {
			diffs = append(diffs, v-b)
		}
	}
	if len(diffs) == 0 {
		return nil
	}
	iv := Bootstrap(diffs, seed)
	return &iv
}

// markFront marks the policies that no other one beats in score and dollars. Ceilings take no part.
func (b board) markFront() {
	takesPart := func(r Result) bool { return r.Policy != Gold && r.Score.N > 0 }
	for i := range b.Results {
		r := &b.Results[i]
		r.Pareto = takesPart(*r) && !slices.ContainsFunc(b.Results, func(o Result) bool {
			return takesPart(o) && o.DollarsMean <= r.DollarsMean && o.Score.Mean >= r.Score.Mean &&
				(o.DollarsMean < r.DollarsMean || o.Score.Mean > r.Score.Mean)
		})
	}
}

// scored is the mean of the score of that name.
func scored(records []Record, name string, seed int64) Scored {
	out := Scored{ByCategory: map[string]Interval{}}
	var all []float64
	byCategory := map[string][]float64{}
	for _, rec := range records {
		if v, ok := rec.Scores[name]; ok {
			all = append(all, v)
			byCategory[rec.Category] = append(byCategory[rec.Category], v)
		}
	}
	out.Score = Bootstrap(all, seed)
	for c, v := range byCategory {
		out.ByCategory[c] = Bootstrap(v, seed)
	}
	return out
}

func newResult(c column, metric string, seed int64) Result {
	res := Result{Run: c.run, Policy: c.policy, Scored: scored(c.records, metric, seed), Scores: map[string]float64{}, Judges: judgeResults(c, seed)}
	var ms, in, out, dollars, retrieved, kept, all, ndcg []float64
	named := map[string][]float64{}
	for _, rec := range c.records {
		res.ModulesDollars += rec.Cost.ModulesDollars
		res.AnswerDollars += rec.Cost.AnswerDollars
		res.Dollars += rec.Cost.Dollars()
		res.Fallbacks += rec.Trace.Fallbacks()
		if rec.Failed() {
			res.Failed++
			continue
		}
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
		if s := rec.Sessions; s != nil {
			all = append(all, s.RecallAll)
			ndcg = append(ndcg, s.NDCG)
		}
	}
	for name, v := range named {
		res.Scores[name] = mean(v)
	}
	res.DollarsMean, res.In, res.Out = mean(dollars), mean(in), mean(out)
	res.MSP50, res.MSP95 = Quantile(ms, 0.5), Quantile(ms, 0.95)
	res.RecallRetrieved, res.RecallKept, res.RecallN = mean(retrieved), mean(kept), len(kept)
	res.SessionsRecallAll, res.SessionsNDCG, res.SessionsN = mean(all), mean(ndcg), len(all)
	if c.policy != Gold {
		res.Modules = moduleResults(c.records)
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
