package frontier

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/episodes/episodestest"
	"github.com/budgetmem/budgetmem/router"
)

func TestMeasure(t *testing.T) {
	s := Scale{Weak: CostScore{1, 0.2}, Strong: CostScore{5, 0.6}}
	for name, tt := range map[string]struct {
		points                  []CostScore
		hyper, area, apgr, cpt5 float64
	}{
		// By hand. Without points, the way from weak to strong is straight.
		"nothing": {nil, 0, 0.4, 0.5, 0.5},
		// (3, 0.6) reaches the strong score half way: area 0.5·(0.2+0.6)/2 + 0.5·0.6 = 0.5; half the gap at a quarter.
		"half way": {[]CostScore{{3, 0.6}}, 2 * 0.6 / 5, 0.5, 0.75, 0.25},
		// A point under the line changes no hull.
		"dominated": {[]CostScore{{3, 0.3}}, 2 * 0.3 / 5, 0.4, 0.5, 0.5},
		// Cheaper and better than the strong one: all budgets buy it.
		"cheap": {[]CostScore{{0.5, 0.8}}, 4.5 * 0.8 / 5, 0.8, 1.5, 0},
		// Dearer than the strong one: of no use within the budgets.
		"dear": {[]CostScore{{6, 0.9}}, 0, 0.4, 0.5, 0.5},
		// Two steps of a staircase: (2, 0.4) and (4, 0.5), hull through (0, .2) (.25, .4) (1, .6).
		"stairs": {[]CostScore{{2, 0.4}, {4, 0.5}}, (2*0.4 + 1*0.5) / 5, 0.25*0.3 + 0.75*0.5, (0.25*0.3 + 0.75*0.5 - 0.2) / 0.4, 0.25},
	} {
		c := s.Measure(tt.points)
		for what, v := range map[string][2]float64{"hypervolume": {c.Hypervolume, tt.hyper}, "area": {c.Area, tt.area}, "APGR": {*c.APGR, tt.apgr}, "CPT": {*c.CPT50, tt.cpt5}} {
			if math.Abs(v[0]-v[1]) > 1e-12 {
				t.Errorf("%s: %s is %v, want %v", name, what, v[0], v[1])
			}
		}
	}
	if c := (Scale{Weak: CostScore{1, 0.5}, Strong: CostScore{2, 0.5}}).Measure(nil); c.APGR != nil || c.CPT50 != nil || c.Area != 0.5 {
		t.Errorf("without a gap: %+v", c)
	}
}

// Hypervolume and hull against counting on a fine grid.
func TestMeasureAgainstGrid(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		s := Scale{Weak: CostScore{1, rng.Float64() / 2}, Strong: CostScore{3, 0.5 + rng.Float64()/2}}
		var points []CostScore
		for range 1 + rng.IntN(6) {
			points = append(points, CostScore{0.5 + 3*rng.Float64(), rng.Float64()})
		}
		const n = 2000
		hyper, area := 0.0, 0.0
		for i := range n {
			at := (float64(i) + 0.5) / n
			best := 0.0
			for _, p := range points {
				if p.Dollars <= at*3 {
					best = max(best, p.Score)
				}
			}
			hyper += best / n
			area += mixture(s, points, 1+2*at) / n
		}
		c := s.Measure(points)
		if math.Abs(c.Hypervolume-hyper) > 2e-3 || math.Abs(c.Area-area) > 2e-3 {
			t.Fatalf("%+v of %v, by counting %v and %v", c, points, hyper, area)
		}
	}
}

// mixture is the best score of two policies mixed so that they cost at most a budget on average.
func mixture(s Scale, points []CostScore, budget float64) float64 {
	all := []CostScore{s.Weak, s.Strong}
	for _, p := range points {
		if p.Dollars <= s.Strong.Dollars { // dearer ones are no part of the curve
			all = append(all, CostScore{max(p.Dollars, s.Weak.Dollars), p.Score})
		}
	}
	best := 0.0
	for _, a := range all {
		if a.Dollars > budget {
			continue
		}
		best = max(best, a.Score)
		for _, b := range all {
			if b.Dollars > budget {
				share := (budget - a.Dollars) / (b.Dollars - a.Dollars)
				best = max(best, a.Score+share*(b.Score-a.Score))
			}
		}
	}
	return best
}

func TestNonIncreasing(t *testing.T) {
	for _, tt := range []struct{ in, want []float64 }{
		{[]float64{3, 2, 1}, []float64{3, 2, 1}},
		{[]float64{1, 2, 3}, []float64{2, 2, 2}},
		{[]float64{5, 1, 3, 2, 0}, []float64{5, 2, 2, 2, 0}},
		{nil, nil},
	} {
		if got := nonIncreasing(tt.in); fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%v: %v, want %v", tt.in, got, tt.want)
		}
	}
}

func replay(t *testing.T, task episodestest.Task, n int, live episodes.Live) *episodes.Replay {
	t.Helper()
	r, err := episodes.NewReplay(task.File(n), live)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// asker is the made-up task, asked live.
type asker struct{ episodestest.Task }

func (a asker) IDs() []string { return a.File(1).IDs() }
func (a asker) Ask(ctx context.Context, id string, p router.Policy) (router.Episode, error) {
	for i := range a.Questions {
		if a.ID(i) != id {
			continue
		}
		choices := make([]int, 5)
		for m := range choices {
			var err error
			seen := a.Trace(i, choices)
			if choices[m], err = p.Decide(ctx, router.State{Question: id, Module: m, Query: seen.Query,
				Memory: func(context.Context) ([]float32, error) { return seen.Memory[a.Header().MemoryIndex[m]], nil }}); err != nil {
				return router.Episode{}, err
			}
		}
		return a.Trace(i, choices), nil
	}
	return router.Episode{}, fmt.Errorf("no question %s", id)
}

var validation, test = episodestest.Task{Split: "validation", Questions: 9, Seed: 1}, episodestest.Task{Split: "test", Questions: 12, Seed: 1}

// With all combinations traced, what is best on validation is found by looking at all of them; live it is found by climbing, and from
// few traces by an estimate. The task's modules add up, so all three must agree.
func TestStaticSearch(t *testing.T) {
	var found [][]float64
	for i, tt := range []struct {
		v, e *episodes.Replay
		how  string
	}{
		{replay(t, validation, 243, nil), replay(t, test, 243, nil), "all 243 combinations, each traced"},
		{replay(t, validation, 3, asker{validation}), replay(t, test, 3, asker{test}), "coordinate search"},
		{replay(t, validation, 40, nil), replay(t, test, 3, asker{test}), "by an estimate"},
	} {
		reward := validation.File(243).Reward(true)
		r, err := Compare(context.Background(), Options{Validation: tt.v, Test: tt.e, Lambdas: []float64{0, 0.3, 1}, Seed: 42, Reward: reward})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(r.StaticSearch, tt.how) {
			t.Errorf("%q, want %q", r.StaticSearch, tt.how)
		}
		if estimated := tt.how == "by an estimate"; (r.Explained != nil) != estimated || estimated != strings.Contains(strings.Join(r.Heading(), "\n"), "of the variance of validation scores") {
			t.Errorf("%s: scores explained by %+v", tt.how, r.Explained)
		}
		var returns []float64
		for _, e := range r.Entries {
			if e.Counts.Predicted != 0 {
				t.Errorf("%s: %+v", e.Name, e.Counts)
			}
			if e.Name != staticName {
				continue
			}
			for _, p := range e.Points {
				returns = append(returns, p.Return)
			}
		}
		if climbed := slices.ContainsFunc(r.Entries, func(e Entry) bool { return e.Name == climbedName }); climbed != (tt.how == "by an estimate") {
			t.Errorf("%s: a coordinate search beside it is %v", tt.how, climbed)
		}
		if found = append(found, returns); fmt.Sprintf("%.9f", found[i]) != fmt.Sprintf("%.9f", found[0]) {
			t.Errorf("%s: returns %v, by looking at all %v", tt.how, returns, found[0])
		}
	}
}

// The oracle is the best of all, entry by entry and λ by λ; tables and page hold everything.
func TestCompare(t *testing.T) {
	calls, last := 0, [2]int{}
	r, err := Compare(context.Background(), Options{Validation: replay(t, validation, 243, nil), Test: replay(t, test, 243, nil), Seed: 42,
		Progress: func(done, of int) { calls, last = calls+1, [2]int{done, of} }})
	if err != nil {
		t.Fatal(err)
	}
	// 12 questions by 3 uniform policies, the random one, the cue words, and at 12 λs the static assignment, two regressions and
	// the oracle.
	if want := 12 * (3 + 2 + 4*12); calls != want || last != [2]int{want, want} {
		t.Errorf("progress: %d calls, the last %v; want %d", calls, last, want)
	}
	oracle := r.Entries[len(r.Entries)-1]
	if !oracle.Unreachable {
		t.Fatal("the oracle is not marked")
	}
	for _, e := range r.Entries {
		if e.MeanReturn > oracle.MeanReturn+1e-12 || e.Curve.Area > oracle.Curve.Area+1e-12 && e.Name != "uniform high" {
			t.Errorf("%s passes the oracle: %v, %v", e.Name, e.MeanReturn, e.Curve.Area)
		}
		if iv := e.CurveIntervals["area"]; e.Curve.Area < iv[0] || e.Curve.Area > iv[1] {
			t.Errorf("%s: area %v outside of %v", e.Name, e.Curve.Area, iv)
		}
	}
	var b strings.Builder
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"uniform low", "uniform high", "random", "best static", "cue words", "nearest neighbours", "TF-IDF regression", "oracle, not reachable (K = 243)", "12 of 12 questions"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q", want)
		}
	}
	if r.Validated != "" {
		t.Errorf("validation differs: %s", r.Validated)
	}
	other := validation.File(3)
	other.Dataset = "another"
	foreign, err := episodes.NewReplay(other, nil)
	if err != nil {
		t.Fatal(err)
	}
	aligned := r.Scale
	r, err = Compare(context.Background(), Options{Validation: foreign, Test: replay(t, test, 3, nil), Reward: other.Reward(false)})
	if err != nil || r.Scale != 1 || aligned == 1 {
		t.Errorf("scales %v aligned and %v without, %v", aligned, r.Scale, err)
	}
	r, err = Compare(context.Background(), Options{Validation: foreign, Test: replay(t, test, 3, nil)})
	if err != nil || !strings.Contains(strings.Join(r.Heading(), "\n"), "another system or data set than the test traces: dataset is another and made up") {
		t.Errorf("heading %q, %v", r.Heading(), err)
	}
	if _, err := Compare(context.Background(), Options{Validation: replay(t, test, 3, nil), Test: replay(t, test, 3, nil)}); err == nil || !strings.Contains(err.Error(), "both validation and test") {
		t.Errorf("test questions as validation: %v", err)
	}
}

// What can be learned is measured on both files together, between seeing nothing and hindsight.
func TestMeasureLearnable(t *testing.T) {
	r, err := MeasureLearnable(context.Background(), []*episodes.File{test.File(5), validation.File(5)}, 42, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Questions != 21 || r.Episodes != 105 || len(r.Views) != 5 || r.Views[0].Gains != nil {
		t.Fatalf("%+v", r)
	}
	bound := r.Views[4]
	for _, v := range r.Views[1:] {
		for l := range r.Lambdas {
			if got := v.Returns[l] - r.Views[0].Returns[l]; math.Abs(got-v.Gains[l].Mean) > 1e-9 || v.Returns[l] > bound.Returns[l]+1e-12 {
				t.Errorf("%s at λ %g: return %v, gain %+v, at most %v", v.View, r.Lambdas[l], v.Returns[l], v.Gains[l], bound.Returns[l])
			}
		}
	}
	if bound.Gains[0].Low <= 0 {
		t.Errorf("hindsight adds %+v", bound.Gains[0])
	}
	var b strings.Builder
	if err := r.WriteTable(&b); err != nil || !strings.Contains(b.String(), "made up test and validation: 21 questions with 105 traces") || !strings.Contains(b.String(), "category, which routers do not see") {
		t.Errorf("%v\n%s", err, &b)
	}
	other := test.File(1)
	other.Dataset = "another"
	if _, err := MeasureLearnable(context.Background(), []*episodes.File{test.File(1), other}, 1, nil); err == nil || !strings.Contains(err.Error(), "dataset is made up and another") {
		t.Errorf("error %v", err)
	}
}

// TF-IDF by hand: two documents, one of them twice. Words that both have weigh 1, others are left out.
func TestTFIDF(t *testing.T) {
	got := tfidf([]string{"When did Ann move?", "Did Ann, did she sing?", "When did Ann move?"})
	for i, want := range [][]float64{{1 / math.Sqrt2, 1 / math.Sqrt2}, {1 / math.Sqrt(5), 2 / math.Sqrt(5)}, {1 / math.Sqrt2, 1 / math.Sqrt2}} { // ann, did
		for j := range want {
			if len(got[i]) != 2 || math.Abs(got[i][j]-want[j]) > 1e-12 {
				t.Errorf("text %d: %v, want %v", i, got[i], want)
			}
		}
	}
}

// The regressions see the kinds of the questions, which the best static assignment cannot.
func TestRegressionsBeatStatic(t *testing.T) {
	train := episodestest.Task{Split: "train", Questions: 40, Seed: 1}
	r, err := Compare(context.Background(), Options{Validation: replay(t, validation, 30, nil), Train: replay(t, train, 30, nil), Test: replay(t, test, 243, nil),
		Lambdas: []float64{0, 0.3}, Seed: 42})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range r.Entries {
		if e.Name == nearestName && e.ReturnVersus.Questions[0] <= 0 {
			t.Errorf("%s earns %+v", e.Name, e.ReturnVersus)
		}
	}
	if _, err := Compare(context.Background(), Options{Validation: replay(t, validation, 3, nil), Train: replay(t, test, 3, nil), Test: replay(t, test, 3, nil)}); err == nil || !strings.Contains(err.Error(), "both train and test") {
		t.Errorf("test questions as training: %v", err)
	}
}

func TestCueRule(t *testing.T) {
	p := cueRule(episodestest.Space(), map[string]string{"a": "When did Ann move?", "b": "Why did she feel sad?", "c": "Is it so?", "d": "How long did Who stay?"})
	for id, want := range map[string][]int{"a": {1, 0, 2, 0, 1}, "b": {1, 0, 0, 2, 1}, "c": {1, 1, 1, 1, 1}, "d": {1, 2, 2, 0, 1}} {
		for m, tier := range want {
			if got, err := p.Decide(context.Background(), router.State{Question: id, Module: m}); err != nil || got != tier {
				t.Errorf("%s, module %d: %d, %v; want %d", id, m, got, err, tier)
			}
		}
	}
}
