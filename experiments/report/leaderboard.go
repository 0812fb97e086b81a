package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// column is a policy of a run.
type column struct {
	runName string // "" where there is only one run
	run.Column
}

// judges lists the judges that gave verdicts.
func (c column) judges() []string {
	names := map[string]bool{}
	for _, rec := range c.Records {
		for name := range rec.Judged {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Scored is the mean of one score, in [0,1], over the questions that have it.
type Scored struct {
	// Score is the mean with its 95 % interval.
	Score stats.Interval `json:"score"`
	// Versus is the mean difference to the baseline over the questions that both answered; nil for the baseline itself and
	// for a ceiling that shares no question with it.
	Versus     *stats.Interval           `json:"versus,omitempty"`
	ByCategory map[string]stats.Interval `json:"by_category"`
}

// Spending is the cost of a policy in dollars at list price, and in tokens. Means are per answered question; the sums include failed
// questions.
type Spending struct {
	Dollars        float64 `json:"dollars"`
	DollarsMean    float64 `json:"dollars_per_question"`
	ModulesDollars float64 `json:"dollars_modules"`
	AnswerDollars  float64 `json:"dollars_answer"`
	In             float64 `json:"tokens_in_per_question"`
	Out            float64 `json:"tokens_out_per_question"`
}

// Latency holds percentiles of the time of a question, in milliseconds.
type Latency struct {
	MSP50 float64 `json:"ms_p50"`
	MSP95 float64 `json:"ms_p95"`
}

// Retrieval rates how the evidence was found.
type Retrieval struct {
	// RecallRetrieved and RecallKept are mean shares of the evidence turns in the retrieved and in the kept chunks, over
	// RecallN questions with known evidence.
	RecallRetrieved float64 `json:"recall_retrieved"`
	RecallKept      float64 `json:"recall_kept"`
	RecallN         int     `json:"recall_n"`
	// SessionsRecallAll and SessionsNDCG are the means of run.Sessions over SessionsN questions.
	SessionsRecallAll float64 `json:"sessions_recall_all"`
	SessionsNDCG      float64 `json:"sessions_ndcg"`
	SessionsN         int     `json:"sessions_n"`
}

// Result is what one policy of one run earned and cost. All means are over the answered questions.
type Result struct {
	// Run is the name of the run in a comparison of several; "" within one run.
	Run    string `json:"run,omitempty"`
	Policy string `json:"policy"`
	// Scored is by the metric reported first.
	Scored
	// Scores holds the means of all scores, by name.
	Scores map[string]float64 `json:"scores"`
	// Judges holds the judges' ratings, by their names.
	Judges map[string]JudgeResult `json:"judges,omitempty"`
	// Pareto reports whether no other policy has a better score for as few dollars, or as good a score for fewer.
	Pareto bool `json:"pareto"`
	Spending
	Latency
	Retrieval
	Failed    int `json:"failed"`    // questions without an answer
	Fallbacks int `json:"fallbacks"` // module runs that another tier served than was asked for
	// Modules holds served tiers and costs by module; empty for the ceiling.
	Modules []ModuleResult `json:"modules,omitempty"`
}

// ModuleResult is one module's part in a Result; MS is the median time of a run in milliseconds.
type ModuleResult struct {
	Module  string         `json:"module"`
	Served  map[string]int `json:"served"` // questions by tier
	Dollars float64        `json:"dollars_per_question"`
	MS      float64        `json:"ms_p50"`
}

// JudgeResult is a judge's rating of a policy's answers.
type JudgeResult struct {
	// Scored is over the readable verdicts alone.
	Scored
	// CategoriesMean is the mean over the categories of their means: LongMemEval's task-averaged accuracy.
	CategoriesMean float64 `json:"mean_over_categories"`
	// Abstention is over the questions whose answer is not in the history; nil if there are none. They count in Score too.
	Abstention *stats.Interval `json:"abstention,omitempty"`
	// Unreadable replies and Failed calls are in no mean.
	Unreadable int `json:"unreadable"`
	Failed     int `json:"failed"`
	// Usage is the consumption of judging. It is not part of the policy's cost.
	Usage llm.Usage `json:"usage"`
}

// ceilingLabel is what tables and charts call the gold evidence.
const ceilingLabel = "ceiling (gold evidence)"

// Label is the name that tables and charts give a result.
func (r Result) Label() string { return label(r.Run, r.Policy) }

func label(runName, policy string) string {
	if policy == run.Gold {
		policy = ceilingLabel
	}
	if runName != "" {
		policy = runName + ": " + policy
	}
	return policy
}

// leaderboard compares results on the same questions: what the tables of one run and of a comparison share.
type leaderboard struct {
	Metric     string
	Categories []string
	Baseline   string // label of the result that the others are compared with; "" if there is none
	Results    []Result
}

// newLeaderboard computes the results of columns by a metric. baseline names what the others are compared with, by its label
// or by a policy that occurs once; "" takes the policy "low" if there is one, else the cheapest.
func newLeaderboard(columns []column, metric, baseline string, seed int64) (leaderboard, error) {
	b := leaderboard{Metric: metric}
	categories := map[string]bool{}
	for _, c := range columns {
		b.Results = append(b.Results, newResult(c, metric, seed))
		for _, rec := range c.Records {
			categories[rec.Category] = true
		}
	}
	b.Categories = slices.Sorted(maps.Keys(categories))
	base, err := b.baseline(baseline)
	if err != nil {
		return leaderboard{}, err
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

// baseline returns the index of the result that the others are compared with, -1 if there is none.
func (b leaderboard) baseline(name string) (int, error) {
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
		if r.Policy == run.Gold || r.Score.N == 0 {
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
		res.Versus = versus(c, base, run.JudgeScore(name), seed)
		r.Judges[name] = res
	}
}

func versus(c, base column, name string, seed int64) *stats.Interval {
	values := map[string]float64{}
	for _, rec := range base.Records {
		if v, ok := rec.Scores[name]; ok {
			values[rec.ID] = v
		}
	}
	var diffs []float64
	for _, rec := range c.Records {
		v, ok := rec.Scores[name]
		if b, both := values[rec.ID]; ok && both {
			diffs = append(diffs, v-b)
		}
	}
	if len(diffs) == 0 {
		return nil
	}
	iv := stats.Bootstrap(diffs, seed)
	return &iv
}

// markFront marks the policies that no other one beats in score and dollars. Ceilings are left out.
func (b leaderboard) markFront() {
	takesPart := func(r Result) bool { return r.Policy != run.Gold && r.Score.N > 0 }
	for i := range b.Results {
		r := &b.Results[i]
		r.Pareto = takesPart(*r) && !slices.ContainsFunc(b.Results, func(o Result) bool {
			return takesPart(o) && o.DollarsMean <= r.DollarsMean && o.Score.Mean >= r.Score.Mean &&
				(o.DollarsMean < r.DollarsMean || o.Score.Mean > r.Score.Mean)
		})
	}
}

// scored is the mean of the score of that name.
func scored(records []run.Record, name string, seed int64) Scored {
	out := Scored{ByCategory: map[string]stats.Interval{}}
	var all []float64
	byCategory := map[string][]float64{}
	for _, rec := range records {
		if v, ok := rec.Scores[name]; ok {
			all = append(all, v)
			byCategory[rec.Category] = append(byCategory[rec.Category], v)
		}
	}
	out.Score = stats.Bootstrap(all, seed)
	for c, v := range byCategory {
		out.ByCategory[c] = stats.Bootstrap(v, seed)
	}
	return out
}

func newResult(c column, metric string, seed int64) Result {
	res := Result{Run: c.runName, Policy: c.Policy, Scored: scored(c.Records, metric, seed), Scores: map[string]float64{}, Judges: judgeResults(c, seed)}
	var ms, in, out, dollars, retrieved, kept, all, ndcg []float64
	named := map[string][]float64{}
	for _, rec := range c.Records {
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
		res.Scores[name] = stats.Mean(v)
	}
	res.DollarsMean, res.In, res.Out = stats.Mean(dollars), stats.Mean(in), stats.Mean(out)
	res.Latency = Latency{stats.Quantile(ms, 0.5), stats.Quantile(ms, 0.95)}
	res.Retrieval = Retrieval{stats.Mean(retrieved), stats.Mean(kept), len(kept), stats.Mean(all), stats.Mean(ndcg), len(all)}
	if c.Policy != run.Gold {
		res.Modules = moduleResults(c.Records)
	}
	return res
}

// moduleResults sums up the modules that the records' tier set has.
func moduleResults(records []run.Record) []ModuleResult {
	var out []ModuleResult
	for _, m := range tiers.Modules() {
		res := ModuleResult{Module: m.String(), Served: map[string]int{}}
		var dollars, ms []float64
		for _, rec := range records {
			for _, step := range rec.Trace.Steps() {
				if step.Module == res.Module && !rec.Failed() {
					res.Served[step.Served]++
					dollars = append(dollars, step.Usage.Dollars)
					ms = append(ms, step.MS)
				}
			}
		}
		if len(res.Served) == 0 {
			continue
		}
		res.Dollars, res.MS = stats.Mean(dollars), stats.Quantile(ms, 0.5)
		out = append(out, res)
	}
	return out
}

// judgeResults computes a column's result for every judge that gave verdicts.
func judgeResults(c column, seed int64) map[string]JudgeResult {
	out := map[string]JudgeResult{}
	for _, name := range c.judges() {
		res := JudgeResult{Scored: scored(c.Records, run.JudgeScore(name), seed)}
		var abstentions []float64
		for _, rec := range c.Records {
			v, ok := rec.Judged[name]
			if !ok {
				continue
			}
			res.Usage = res.Usage.Add(rec.Judging[name])
			switch {
			case v.Error != "":
				res.Failed++
			case v.Score == nil:
				res.Unreadable++
			case rec.Abstention:
				abstentions = append(abstentions, *v.Score)
			}
		}
		var means []float64
		for _, category := range slices.Sorted(maps.Keys(res.ByCategory)) {
			means = append(means, res.ByCategory[category].Mean)
		}
		res.CategoriesMean = stats.Mean(means)
		if len(abstentions) > 0 {
			iv := stats.Bootstrap(abstentions, seed)
			res.Abstention = &iv
		}
		out[name] = res
	}
	return out
}
