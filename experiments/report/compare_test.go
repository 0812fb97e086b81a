package report

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// stored is a run made by hand: scores[policy][i] is the score of question i, NaN for none.
func stored(name string, dollars map[string]float64, scores map[string][]float64) run.Results {
	s := run.Results{Name: name, Settings: run.Settings{Metric: "m", Seed: 3, TopK: 5, System: run.System{LanguageModel: run.LanguageModel{Model: "model-of-" + name}}}}
	for _, policy := range slices.Sorted(maps.Keys(scores)) {
		c := run.Column{Policy: policy}
		for i, v := range scores[policy] {
			r := run.Record{Prediction: run.Prediction{Policy: policy, ID: strconv.Itoa(i), Category: []string{"x", "y"}[i%2], Gold: []string{"g"},
				Cost: run.Cost{AnswerDollars: dollars[policy]}, Scores: map[string]float64{"m": v}}, MS: float64(i)}
			if math.IsNaN(v) {
				r.Scores, r.Error = nil, "failed"
			}
			r.Trace.Answer.Usage = llm.Usage{Calls: 1, In: 10, Out: 1, Dollars: dollars[policy], MS: float64(i)}
			c.Records = append(c.Records, r)
		}
		s.Columns = append(s.Columns, c)
	}
	return s
}

// evaluate runs c and writes its report.
func evaluate(ctx context.Context, c run.Config) (Summary, error) {
	o, err := run.Run(ctx, c)
	if o == nil {
		return Summary{}, err
	}
	s, werr := Write(o)
	return s, errors.Join(err, werr)
}

var none = math.NaN()

func TestCompare(t *testing.T) {
	a := stored("a", map[string]float64{"low": 1, "high": 4}, map[string][]float64{
		run.Gold: {1, 1}, "low": {0, 0.5, 0, 1, none}, "high": {1, 0.5, 0.5, 1, 1}})
	b := stored("b", map[string]float64{"low": 2, "high": 8}, map[string][]float64{
		"low": {0, 0, 0, 1, 1}, "high": {1, 1, 1}})
	c, err := Compare([]run.Results{a, b}, CompareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// Question 4 failed under a's low, questions 3 and 4 were never asked of b's high: 0, 1 and 2 are left, of 5.
	if c.Questions != 3 || c.Of != 5 || c.Baseline != "a: low" || strings.Join(c.Categories, " ") != "x y" {
		t.Errorf("%d of %d questions, baseline %q, categories %q", c.Questions, c.Of, c.Baseline, c.Categories)
	}
	want := map[string]struct {
		score, versus float64
		front         bool
	}{
		"a: low":  {0.5 / 3, 0, true},
		"a: high": {2.0 / 3, 0.5, true},
		"b: low":  {0, -0.5 / 3, false}, // worse and dearer than a: low
		"b: high": {1, 2.5 / 3, true},
	}
	for _, r := range c.Results {
		if r.Policy == run.Gold {
			if r.Label() != "a: ceiling (gold evidence)" || r.Score.N != 2 || r.Pareto || r.Versus == nil || r.Versus.N != 2 {
				t.Errorf("ceiling %+v", r)
			}
			continue
		}
		w := want[r.Label()]
		if r.Score.N != 3 || math.Abs(r.Score.Mean-w.score) > 1e-12 || r.Pareto != w.front || (r.Versus == nil) != (r.Label() == c.Baseline) {
			t.Errorf("%s: %+v, on the front %v; want %+v", r.Label(), r.Scored, r.Pareto, w)
		}
		if r.Versus != nil && math.Abs(r.Versus.Mean-w.versus) > 1e-12 {
			t.Errorf("%s: difference %+v, want %v", r.Label(), r.Versus, w.versus)
		}
		delete(want, r.Label())
	}
	if len(want) > 0 {
		t.Errorf("not compared: %v", want)
	}
	// 2 ceilings, 3 answers a policy; each run's calls go to its own model.
	if len(c.Calls.Models) != 2 || c.Calls.Models[0].Name != "model-of-a" || c.Calls.Models[0].Calls != 8 || c.Calls.Models[1].Calls != 6 {
		t.Errorf("calls %+v", c.Calls.Models)
	}
	for name, baseline := range map[string]string{"b: high": "b: high", "": "a: low"} {
		c, err := Compare([]run.Results{a, b}, CompareOptions{Baseline: name})
		if err != nil || c.Baseline != baseline {
			t.Errorf("baseline %q: %q, %v", name, c.Baseline, err)
		}
	}
}

func TestBaseline(t *testing.T) {
	r := stored("a", map[string]float64{"mid": 2, "random": 1}, map[string][]float64{"mid": {1}, "random": {0}})
	for name, want := range map[string]string{"": "random", "mid": "mid"} {
		c, err := Compare([]run.Results{r}, CompareOptions{Baseline: name})
		if err != nil || c.Baseline != want {
			t.Errorf("baseline %q: %q, %v; want %q", name, c.Baseline, err, want)
		}
	}
}

func TestCompareRefuses(t *testing.T) {
	a := stored("a", nil, map[string][]float64{"low": {1, none}})
	b := stored("b", nil, map[string][]float64{"low": {none, 1}})
	other := stored("c", nil, map[string][]float64{"low": {1}})
	other.Settings.Metric = "n"
	for want, tt := range map[string]struct {
		runs []run.Results
		o    CompareOptions
	}{
		"no question in common (a: low has 1 of the 2": {[]run.Results{a, b}, CompareOptions{}},
		"no question in common (low has 0 of the 0":    {[]run.Results{a}, CompareOptions{Metric: "judge-paper"}},
		"name one metric for both":                     {[]run.Results{a, other}, CompareOptions{}},
		"two runs are called a":                        {[]run.Results{a, a}, CompareOptions{}},
		`baseline "x": give one of low`:                {[]run.Results{a}, CompareOptions{Baseline: "x"}},
		"name at least one run":                        {nil, CompareOptions{}},
	} {
		_, err := Compare(tt.runs, tt.o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if strings.HasPrefix(want, "no question") != errors.Is(err, ErrNothingInCommon) {
			t.Errorf("%v: ErrNothingInCommon %v", err, errors.Is(err, ErrNothingInCommon))
		}
	}
}

// What report writes about a real run agrees with the run's own summary, in every form.
func TestReportAgreesWithTheRun(t *testing.T) {
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	defer server.Close()
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: server.URL()})
	c := runtest.Config(filepath.Join(t.TempDir(), "one"), m)
	s, err := evaluate(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	// A line that is being written must not keep others from reading.
	f, err := os.OpenFile(filepath.Join(c.Dir, "traces.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"policy":"low","id":"h0`)
	f.Close()
	r, err := run.Load(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	cmp, err := Compare([]run.Results{r}, CompareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if cmp.Questions != 12 || cmp.Baseline != "low" {
		t.Errorf("%d questions, baseline %q", cmp.Questions, cmp.Baseline)
	}
	byPolicy := map[string]Result{run.Gold: s.Ceiling}
	for _, r := range s.Policies {
		byPolicy[r.Policy] = r
	}
	for _, r := range cmp.Results {
		w := byPolicy[r.Policy]
		if r.Score.Mean != w.Score.Mean && math.Abs(r.Score.Mean-w.Score.Mean) > 1e-12 || r.Score.N != w.Score.N || math.Abs(r.DollarsMean-w.DollarsMean) > 1e-15 ||
			r.MSP50 != w.MSP50 || r.Pareto != w.Pareto {
			t.Errorf("%s: report %+v, run %+v", r.Policy, r, w)
		}
	}
	calls, of := NewCalls(r), s.Calls
	if len(calls.Modules) != 6 || calls.Models[0].Calls != of.Models[0].Calls || math.Abs(calls.Models[0].Dollars-of.Models[0].Dollars) > 1e-12 {
		t.Errorf("calls %+v, run %+v", calls, of)
	}

	dir := t.TempDir()
	page, file := filepath.Join(dir, "report.html"), filepath.Join(dir, "report.json")
	if err := errors.Join(cmp.WriteHTML(page), cmp.WriteJSON(file)); err != nil {
		t.Fatal(err)
	}
	html, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Count(html, []byte(`class="question"`)) != 12 || !bytes.Contains(html, []byte("Pareto front")) || bytes.Contains(html, []byte("<script src")) {
		t.Error("the page lacks questions or the front, or loads something from elsewhere")
	}
	var back Comparison
	data, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(data, &back) != nil || back.Questions != 12 || len(back.Results) != len(cmp.Results) {
		t.Errorf("report.json: %v, %+v", err, back)
	}
	var table bytes.Buffer
	if err := cmp.WriteCSV(&table); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&table).ReadAll()
	if err != nil || len(rows) != len(cmp.Results)+1 {
		t.Fatalf("CSV: %v, %d rows", err, len(rows))
	}
	col := map[string]int{}
	for i, name := range rows[0] {
		if _, twice := col[name]; twice {
			t.Errorf("the column %q occurs twice", name)
		}
		col[name] = i
	}
	for i, r := range cmp.Results {
		row := rows[i+1]
		if row[col["run"]] != "one" || row[col["policy"]] != r.Policy || row[col["score"]] != full(r.Score.Mean) || row[col["category.odd"]] != full(r.ByCategory["odd"].Mean) ||
			row[col["hotpot.em"]] != full(r.Scores["hotpot.em"]) || (row[col["versus"]] == "") != (r.Versus == nil) {
			t.Errorf("CSV row %v, want %+v", row, r)
		}
	}
}

// The counts by model and by module are the server's own, and add up to the table's dollars.
func TestCallsAreTheServers(t *testing.T) {
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply, Script: llmtest.Mixed(3, 0.1)})
	defer server.Close()
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: server.URL(), Retry: llm.Retry{Attempts: 20, Base: 1, MaxInterval: 2}, Timeout: 1e9})
	c := runtest.Config(t.TempDir(), m)
	c.Policies = []string{"high"}
	s, err := evaluate(context.Background(), c)
	if err != nil || s.Failed != 0 {
		t.Fatal(err, s.Failed)
	}
	if len(s.Calls.Models) != 1 || s.Calls.Models[0].Name != "test-model" {
		t.Fatalf("models %+v", s.Calls.Models)
	}
	total, bodies := s.Calls.Models[0], map[string]bool{}
	for _, call := range server.Calls() {
		bodies[call.Body] = true
	}
	if total.Calls-total.Cached != len(bodies) || total.Calls-total.Cached+total.Retries != server.Count() || total.Retries == 0 || total.Failed != 0 {
		t.Errorf("%+v; the server got %d calls, %d different", total, server.Count(), len(bodies))
	}
	var calls, in, fallbacks int
	var dollars float64
	for _, m := range s.Calls.Modules {
		calls, in, dollars, fallbacks = calls+m.Calls, in+m.In, dollars+m.Dollars, fallbacks+m.Fallbacks
		if m.P95 < m.P50 || m.P50 <= 0 {
			t.Errorf("%s: p50 %v, p95 %v", m.Name, m.P50, m.P95)
		}
	}
	if calls != total.Calls || in != total.In || math.Abs(dollars-total.Dollars) > 1e-12 || math.Abs(dollars-s.Policies[0].Dollars-s.Ceiling.Dollars) > 1e-12 {
		t.Errorf("modules: %d calls, %d tokens, $%v; model %+v; table $%v", calls, in, dollars, total, s.Policies[0].Dollars+s.Ceiling.Dollars)
	}
	if fallbacks != s.Policies[0].Fallbacks || fallbacks == 0 {
		t.Errorf("%d fallbacks, the table has %d", fallbacks, s.Policies[0].Fallbacks)
	}
}

// Without known evidence there is no ceiling: its means are not zero, and nothing is said of what it bounds.
func TestNoCeiling(t *testing.T) {
	write := func(scores map[string][]float64) string {
		t.Helper()
		c, err := Compare([]run.Results{stored("a", map[string]float64{"low": 1}, scores)}, CompareOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range c.Results {
			for j := range c.columns[i].Records {
				if s := c.columns[i].Records[j].Scores; s != nil {
					s["other"] = 0.5
				}
			}
			c.Results[i] = newResult(c.columns[i], "m", 1)
		}
		var out bytes.Buffer
		if err := c.WriteTable(&out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	out := write(map[string][]float64{run.Gold: {}, "low": {1, 0.5}})
	if !strings.Contains(out, "There is no ceiling") || strings.Contains(out, "exceed") {
		t.Errorf("the note of a run without a ceiling:\n%s", out)
	}
	rows := 0
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, ceilingLabel) {
			if rows++; strings.Contains(line, "0.0") || !strings.Contains(line, " -") {
				t.Errorf("a ceiling of no question: %q", line)
			}
		}
	}
	if rows != 3 {
		t.Errorf("%d rows of the ceiling, want 3:\n%s", rows, out)
	}
	if out := write(map[string][]float64{run.Gold: {1}, "low": {1, 0.5}}); !strings.Contains(out, "the questions with known evidence") {
		t.Errorf("a ceiling of some questions:\n%s", out)
	}
	if out := write(map[string][]float64{run.Gold: {1, 1}, "low": {1, 0.5}}); !strings.Contains(out, "turns, which no policy can be expected to exceed") {
		t.Errorf("a ceiling of all questions:\n%s", out)
	}
}
