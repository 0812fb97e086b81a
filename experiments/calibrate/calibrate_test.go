package calibrate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/router/confidence"
)

// traces makes up answers of two tiers to two kinds of notes, right with the probability that their log-probability says.
func traces(split string, questions int, seed uint64) *episodes.File {
	f := &episodes.File{Header: episodes.Header{Format: episodes.Format, Version: episodes.Version, Dataset: "made up", DataHash: "one", Split: split, Metric: "f1",
		Space:       router.Space{{Name: "summary", Tiers: []string{"low", "mid"}}, {Name: "answer", Tiers: []string{"small", "large"}}},
		MemoryIndex: []int{0, 1}, Embedder: "made-up@1", Dim: 1}}
	rng := rand.New(rand.NewPCG(seed, 1))
	for q := range questions {
		for notes := range 2 {
			for tier := range 2 {
				p := rng.Float64()
				if tier == 1 {
					p = 0.7 + 0.3*p
				}
				e := router.Episode{ID: fmt.Sprint(split, q), Choices: []int{notes, tier}, Query: []float32{1}, Memory: [][]float32{nil, nil},
					ModulesDollars: 1e-6, AnswerDollars: []float64{1e-5, 1e-4}[tier], AnswerSignals: map[string]float64{"logprob_mean": math.Log(p)}}
				if rng.Float64() < p {
					e.Score = 1
				}
				f.Episodes = append(f.Episodes, e)
			}
		}
	}
	return f
}

var models = []string{"small model", "large model"}

// A calibration of traces is a policy that replays: its price is that of all answers, and it earns more than either tier alone.
func TestFit(t *testing.T) {
	c, err := Fit(Options{Train: traces("train", 100, 1), Validation: traces("validation", 100, 2), Models: models, Lambdas: []float64{0, 0.3}})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Readers) != 2 || c.Readers[1].Model != "large model" || c.Readers[0].Gains["large"] == nil || len(c.Points) != 2 || c.Dataset != "made up" {
		t.Fatalf("%+v", c)
	}
	test := traces("test", 300, 3)
	r, err := episodes.NewReplay(test, nil)
	if err != nil {
		t.Fatal(err)
	}
	reward := *c.Reward
	earned := func(p router.Policy) (sum float64) {
		for i := range r.Len() {
			before := r.Counts().Traced
			o, choices, err := r.AskAll(context.Background(), i, p)
			if err != nil {
				t.Fatal(err)
			}
			answers := r.Counts().Traced - before
			if want := 1e-6 + 1e-5 + 1e-4*float64(answers-1); choices[1] == 1 && answers > 1 && math.Abs(o.Dollars-want) > 1e-12 {
				t.Fatalf("%d answers cost %v", answers, o.Dollars)
			}
			sum += reward.Return(o.Score, o.Dollars, 0.3)
		}
		return sum / float64(r.Len())
	}
	p, err := router.NewCascade(c, test.Space, 0.3)
	if err != nil {
		t.Fatal(err)
	}
	cascaded := earned(p)
	if n := r.Counts(); n.Predicted > 0 || n.Traced <= 300 || n.Traced >= 600 {
		t.Errorf("%+v: some questions are asked again", n)
	}
	for tier := range 2 {
		static, err := router.NewStatic(test.Space, []int{0, tier})
		if err != nil {
			t.Fatal(err)
		}
		if alone := earned(static); alone >= cascaded {
			t.Errorf("tier %d alone earns %v, the cascade %v", tier, alone, cascaded)
		}
	}
}

// Systems that answer in one way have one reader, and no cascade.
func TestFitOneReader(t *testing.T) {
	f := traces("validation", 100, 1)
	f.Space = router.Space{f.Space[0], {Name: "summary 2", Tiers: []string{"low", "mid"}}}
	c, err := Fit(Options{Validation: f, Models: []string{"m"}, Samples: []int{3}})
	if err != nil || len(c.Readers) != 1 || c.Readers[0].Samples != 3 || c.Reward != nil || c.Points != nil {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestFitRefuses(t *testing.T) {
	silent := traces("validation", 50, 1)
	for i := range silent.Episodes {
		silent.Episodes[i].AnswerSignals = nil
	}
	half := traces("validation", 50, 1)
	half.Episodes = slices.DeleteFunc(half.Episodes, func(e router.Episode) bool { return (e.Choices[0]+e.Choices[1])%2 == 1 })
	other := traces("train", 50, 1)
	other.Dataset = "another"
	for name, tt := range map[string]struct {
		o    Options
		is   error
		text string
	}{
		"no signals":       {Options{Validation: silent, Models: models}, cascade.ErrNoSignals, "small model"},
		"too few":          {Options{Validation: traces("validation", 5, 1), Models: models}, confidence.ErrTooFew, "at least 20"},
		"nothing":          {Options{Models: models}, nil, "no validation traces"},
		"other system":     {Options{Train: other, Validation: traces("validation", 50, 1), Models: models}, nil, "dataset is another and made up"},
		"models":           {Options{Validation: traces("validation", 50, 1), Models: []string{"a", "b", "c"}}, nil, "3 models"},
		"samples":          {Options{Validation: traces("validation", 50, 1), Models: models, Samples: []int{1}}, nil, "numbers of samples"},
		"no notes in full": {Options{Validation: half, Models: models, Lambdas: []float64{0}}, nil, "by every tier"},
	} {
		if _, err := Fit(tt.o); err == nil || !strings.Contains(err.Error(), tt.text) || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// line is a calibration whose confidence is the signal x, and makes files of answers with a confidence and a score.
func line() (*cascade.Calibration, func(dataset string, answers ...[2]float64) *episodes.File) {
	e := &confidence.Estimate{Signals: []string{"x"}, Center: []float64{0}, Scale: []float64{1}, Weights: []float64{1}, Levels: &confidence.Isotonic{X: []float64{0, 1}, Y: []float64{0, 1}}}
	return &cascade.Calibration{Readers: []cascade.Reader{{Model: "m", Score: e}}}, func(dataset string, answers ...[2]float64) *episodes.File {
		f := &episodes.File{Header: episodes.Header{Dataset: dataset, Metric: dataset, Space: router.Space{{Name: "filter", Tiers: []string{"low"}}}, Dim: 1}}
		for i, a := range answers {
			f.Episodes = append(f.Episodes, router.Episode{ID: fmt.Sprint(dataset, i), Choices: []int{0}, Score: a[1], AnswerSignals: map[string]float64{"x": a[0]}})
		}
		return f
	}
}

// A least confidence is the highest one whose loss stays within the bound; answers to unanswerable questions that look as unsure are withheld.
func TestAbstain(t *testing.T) {
	c, file := line()
	answerable := file("answerable", [2]float64{0.1, 0}, [2]float64{0.2, 0.1}, [2]float64{0.5, 0.5}, [2]float64{0.9, 1})
	unanswerable := file("unanswerable", [2]float64{0.05, 0}, [2]float64{0.2, 0}, [2]float64{0.6, 0})
	for most, want := range map[float64]struct{ least, lost, withheld, abstained float64 }{
		0:     {0.2, 0, 0.25, 1. / 3},
		0.03:  {0.5, 0.025, 0.5, 2. / 3},
		0.149: {0.5, 0.025, 0.5, 2. / 3},
		0.15:  {0.9, 0.15, 0.75, 1},
		1:     {0.9, 0.15, 0.75, 1},
	} {
		got, err := Abstain(c, 0, ByConfidence, Questions{answerable, unanswerable}, most)
		near := func(x, y float64) bool { return math.Abs(x-y) < 1e-12 }
		if err != nil || got.By != ByConfidence || got.Least != want.least || !near(got.Lost.Mean, want.lost) || got.Withheld != want.withheld || !near(got.Abstained.Mean, want.abstained) ||
			!near(got.AUROC, 7.5/12) || got.Lost.N != 4 || got.Abstained.N != 3 || got.Lost.Low > want.lost || got.Abstained.High < want.abstained {
			t.Errorf("at most %v: %+v, %v; want %+v", most, got, err, want)
		}
	}
	if got, err := AbstainBelow(c, 0, ByConfidence, Questions{answerable, unanswerable}, 0.5); err != nil || got.Least != 0.5 || math.Abs(got.Lost.Mean-0.025) > 1e-12 || got.Withheld != 0.5 || math.Abs(got.Abstained.Mean-2./3) > 1e-12 {
		t.Errorf("below one half: %+v, %v", got, err)
	}
	for _, least := range []float64{-0.1, 1.1, math.NaN()} {
		if got, err := AbstainBelow(c, 0, ByConfidence, Questions{answerable, unanswerable}, least); err == nil {
			t.Errorf("below %v: %+v", least, got)
		}
	}
	for _, most := range []float64{-0.1, math.NaN()} {
		if got, err := Abstain(c, 0, ByConfidence, Questions{answerable, unanswerable}, most); err == nil {
			t.Errorf("at most %v: %+v", most, got)
		}
	}
	unanswerable.Dim = 2
	if _, err := Abstain(c, 0, ByConfidence, Questions{answerable, unanswerable}, 1); err == nil {
		t.Error("traces of another system were taken")
	}
}

// mixed are answers about four histories to answerable and unanswerable questions; a signal tells them apart with an error.
func mixed(seed uint64) Questions {
	make := func(dataset string, n int, mean float64) *episodes.File {
		rng := rand.New(rand.NewPCG(seed, uint64(n)))
		f := &episodes.File{Header: episodes.Header{Dataset: dataset, Metric: "f1", Space: router.Space{{Name: "filter", Tiers: []string{"low"}}}, Dim: 1}}
		for i := range n {
			f.Episodes = append(f.Episodes, router.Episode{ID: fmt.Sprintf("h%d/%s%d", i%4, dataset, i), Choices: []int{0}, Score: math.Round(rng.Float64()) * mean,
				AnswerSignals: map[string]float64{"lead": mean + 0.4*rng.NormFloat64(), "logprob_mean": -rng.Float64()}})
		}
		return f
	}
	return Questions{make("answerable", 200, 1), make("unanswerable", 60, 0)}
}

// The probability that the memory answers withholds what it does not, on other questions too, and held out as well as in sample.
func TestAnswerable(t *testing.T) {
	q := mixed(1)
	o := Options{Validation: q.Answerable, Unanswerable: q.Unanswerable, Models: []string{"m"}}
	c, err := Fit(o)
	if err != nil || c.Readers[0].Answerable == nil || !c.KnowsAnswerable() {
		t.Fatalf("%+v, %v", c, err)
	}
	abstain := func(o Options) (byConfidence, byAnswerable Abstention) {
		t.Helper()
		held, err := AbstainHeldOut(o, 0.02)
		if err != nil || len(held[""]) != 2 || held[""][0].By != ByConfidence || held[""][1].By != ByAnswerable {
			t.Fatalf("%+v, %v", held, err)
		}
		return held[""][0], held[""][1]
	}
	byConfidence, held := abstain(o)
	if held.Lost.Mean > 0.02 || held.Abstained.Mean < 0.5 || held.AUROC < 0.9 || held.Lost.N != 200 || held.Abstained.N != 60 || byConfidence.Abstained.Mean > held.Abstained.Mean/2 {
		t.Errorf("held out: %+v, by confidence %+v", held, byConfidence)
	}
	if other, err := AbstainBelow(c, 0, ByAnswerable, mixed(2), held.Least); err != nil || other.Lost.Mean > 0.05 || other.Abstained.Mean < 0.5 {
		t.Errorf("other questions: %+v, %v", other, err)
	}
	o.Signals = []string{"logprob_mean"}
	if _, some := abstain(o); some.AUROC > 0.7 {
		t.Errorf("by a signal that tells nothing: %+v", some)
	}
	o.Signals = nil
	// Answers without a signal are withheld, whatever the least value.
	for i := range 3 {
		q.Answerable.Episodes[i].AnswerSignals = nil
	}
	if _, some := abstain(o); some.Withheld < 3./200 || some.Abstained.Mean < 0.4 {
		t.Errorf("three answers without signals: %+v", some)
	}
	for i := range q.Answerable.Episodes { // one history
		q.Answerable.Episodes[i].ID = fmt.Sprint("h/", i)
	}
	if _, one := abstain(o); one.AUROC < 0.9 {
		t.Errorf("one history: %+v", one)
	}
}

// What was not measured, cannot be fitted, or is of another system or split.
func TestAnswerableRefuses(t *testing.T) {
	fit := func(change func(q *Questions)) (*cascade.Calibration, error) {
		q := mixed(1)
		change(&q)
		return Fit(Options{Validation: q.Answerable, Unanswerable: q.Unanswerable, Models: []string{"m"}})
	}
	for want, change := range map[string]func(q *Questions){
		"too few":   func(q *Questions) { q.Unanswerable.Episodes = q.Unanswerable.Episodes[:5] },
		"dim is":    func(q *Questions) { q.Unanswerable.Dim = 2 },
		"of test":   func(q *Questions) { q.Unanswerable.Split = "test" },
		"among the": func(q *Questions) { q.Unanswerable.Episodes[3].ID = q.Answerable.Episodes[7].ID },
		"0 of others h": func(q *Questions) {
			for i := range q.Unanswerable.Episodes {
				q.Unanswerable.Episodes[i].AnswerSignals = map[string]float64{"another": 1}
			}
		},
	} {
		if c, err := fit(change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v, %v; want %q", c, err, want)
		}
	}
	c, err := fit(func(q *Questions) { q.Unanswerable.Episodes = nil })
	if err != nil || c.Readers[0].Answerable != nil || c.KnowsAnswerable() {
		t.Errorf("no unanswerable questions: %+v, %v", c, err)
	}
	if a, err := AbstainBelow(c, 0, ByAnswerable, mixed(1), 0.5); err == nil || !strings.Contains(err.Error(), "no probability") {
		t.Errorf("%+v, %v", a, err)
	}
}

// Few validation questions are measured as well as they can be.
func TestFitFew(t *testing.T) {
	for _, n := range []int{20, 25, 39, 41} {
		q := mixed(3)
		q.Answerable.Episodes = q.Answerable.Episodes[:n]
		if c, err := Fit(Options{Validation: q.Answerable, Models: []string{"m"}}); err != nil || c.Readers[0].Measured.Calibrated != n {
			t.Errorf("%d questions: %+v, %v", n, c, err)
		}
	}
}

func TestConfidences(t *testing.T) {
	c, file := line()
	answers := file("answerable", [2]float64{0.1, 0}, [2]float64{0.2, 0.1}, [2]float64{0.5, 0.5}, [2]float64{0.9, 1})
	held, err := Confidences(c, answers, []string{"m"}, nil)
	if err != nil || len(held) != 1 {
		t.Fatalf("%+v, %v", held, err)
	}
	// Errors of 0.1, 0.1, 0 and 0.1 in a bin each; both answers of at least one half have the higher confidence; the mean risks of the 1, 2,
	// 3 and 4 surest answers are 0, 0.25, 0.4667 and 0.6.
	if x := held[0]; x.Questions != 4 || x.Score != 0.4 || math.Abs(x.Mean-0.425) > 1e-12 || math.Abs(x.Error-0.075) > 1e-12 || *x.AUROC != 1 || math.Abs(x.Area-(0.25+1.4/3+0.6)/4) > 1e-12 {
		t.Errorf("%+v", x)
	}
	none := &cascade.Calibration{Readers: c.Readers[:0]}
	for want, got := range map[string]func() ([]Confidence, error){
		"0 ways of answering":     func() ([]Confidence, error) { return Confidences(none, answers, []string{"m"}, nil) },
		`by "m"`:                  func() ([]Confidence, error) { return Confidences(c, answers, []string{"another"}, nil) },
		"of 0 samples":            func() ([]Confidence, error) { return Confidences(c, answers, []string{"m"}, []int{3}) },
		"the file holds no trace": func() ([]Confidence, error) { return Confidences(c, file("empty"), []string{"m"}, nil) },
	} {
		if x, err := got(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v, %v; want %q", x, err, want)
		}
	}
}
