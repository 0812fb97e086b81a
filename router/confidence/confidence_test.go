package confidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// reference is what scikit-learn computes; testdata/reference.py writes it.
type reference struct {
	Isotonic []struct {
		X, Y, W, At, Want []float64
	}
	AUROC []struct {
		Confidence []float64
		Right      []bool
		Want       float64
	}
	Calibration []struct {
		Confidence, Score []float64
		Bins              int
		Want              float64
	}
	Risk []struct {
		Confidence, Score, Risks, Shares []float64
		Want                             float64
	}
	Logistic, Ridge []struct {
		Rows    [][]float64
		Y, Want []float64
	}
}

func readReference(t *testing.T) (r reference) {
	t.Helper()
	data, err := os.ReadFile("testdata/reference.json")
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Isotonic) < 6 || len(r.AUROC) < 3 || len(r.Calibration) < 2 || len(r.Risk) < 2 || len(r.Logistic) < 2 || len(r.Ridge) < 2 {
		t.Fatal("the fixture lacks cases")
	}
	return r
}

func near(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance }

func TestIsotonicAgainstSklearn(t *testing.T) {
	for n, c := range readReference(t).Isotonic {
		f, err := FitIsotonic(c.X, c.Y, c.W)
		if err == nil {
			err = f.check()
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range c.At {
			if got := f.At(x); !near(got, c.Want[i], 1e-12) {
				t.Errorf("case %d at %v: %v, scikit-learn has %v", n, x, got, c.Want[i])
			}
		}
	}
}

func TestMeasuresAgainstSklearn(t *testing.T) {
	r := readReference(t)
	for n, c := range r.AUROC {
		if got, err := AUROC(c.Confidence, c.Right); err != nil || !near(got, c.Want, 1e-12) {
			t.Errorf("AUROC %d: %v, %v; scikit-learn has %v", n, got, err, c.Want)
		}
	}
	for n, c := range r.Calibration {
		if got, err := CalibrationError(c.Confidence, c.Score, c.Bins); err != nil || !near(got, c.Want, 1e-12) {
			t.Errorf("calibration error %d: %v, %v; scikit-learn has %v", n, got, err, c.Want)
		}
	}
	for n, c := range r.Risk {
		curve, area, err := RiskCoverage(c.Confidence, c.Score)
		if err != nil || !near(area, c.Want, 1e-12) {
			t.Errorf("risk %d: area %v, %v; want %v", n, area, err, c.Want)
		}
		for i, confidence := range c.Confidence {
			at := slices.IndexFunc(curve, func(p Coverage) bool { return p.Threshold == confidence })
			if at < 0 || !near(curve[at].Risk, c.Risks[i], 1e-12) || !near(curve[at].Share, c.Shares[i], 1e-12) {
				t.Errorf("risk %d at %v: point %d of %+v; want risk %v of share %v", n, confidence, at, curve, c.Risks[i], c.Shares[i])
			}
		}
	}
}

func TestRegressionAgainstSklearn(t *testing.T) {
	r := readReference(t)
	for loss, cases := range [][]struct {
		Rows    [][]float64
		Y, Want []float64
	}{r.Logistic, r.Ridge} {
		for n, c := range cases {
			var rows [][]float64
			for _, row := range c.Rows {
				rows = append(rows, append([]float64{1}, row...))
			}
			for i, got := range regress(rows, c.Y, Loss(loss), 1) {
				if !near(got, c.Want[i], 1e-5) { // the tolerance of scikit-learn's optimizer
					t.Errorf("loss %d, case %d: weight %d is %v, scikit-learn has %v", loss, n, i, got, c.Want[i])
				}
			}
		}
	}
}

// A fit from signals of which one tells the score: its values rise with it, are calibrated on new samples, and lack nothing.
func TestFit(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	draw := func(n int) []Sample {
		var out []Sample
		for range n {
			p := rng.Float64()
			s := Sample{Signals: Signals{"logprob": math.Log(p), "noise": rng.NormFloat64(), "same": 3}}
			if rng.Float64() < p {
				s.Score = 1
			}
			if rng.IntN(5) == 0 {
				s.Signals["rare"] = 1
			}
			out = append(out, s)
		}
		return out
	}
	e, err := Fit(draw(2000), draw(2000), nil, Logistic)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(e.Signals, []string{"logprob", "noise"}) {
		t.Errorf("signals %v", e.Signals)
	}
	var confidences, scores []float64
	for _, s := range draw(2000) {
		c, ok := e.Value(s.Signals)
		if !ok {
			t.Fatal("no value")
		}
		confidences, scores = append(confidences, c), append(scores, s.Score)
	}
	if got, err := CalibrationError(confidences, scores, 10); err != nil || got > 0.04 {
		t.Errorf("calibration error %v, %v", got, err)
	}
	for _, missing := range []Signals{nil, {"logprob": -1}, {"logprob": math.NaN(), "noise": 0}} {
		if v, ok := e.Value(missing); ok {
			t.Errorf("%v from the signals %v", v, missing)
		}
	}
	if _, err := Fit(draw(19), draw(100), nil, Logistic); !errors.Is(err, ErrTooFew) {
		t.Errorf("19 samples: %v", err)
	}
	if _, err := Fit(draw(100), nil, nil, Logistic); !errors.Is(err, ErrTooFew) {
		t.Errorf("nothing to calibrate on: %v", err)
	}
	if _, err := Fit(draw(100), draw(100), []string{"rare", "unknown"}, Logistic); !errors.Is(err, ErrTooFew) {
		t.Errorf("unknown signal: %v", err)
	}
	// What is to be estimated may be negative, and all of it may be equal.
	var gains []Sample
	for _, s := range draw(100) {
		gains = append(gains, Sample{Signals: s.Signals, Score: s.Signals["noise"]})
	}
	if e, err = Fit(gains, gains, nil, Squared); err != nil {
		t.Fatal(err)
	}
	if low, _ := e.Value(Signals{"logprob": -1, "noise": -2}); low > -1 {
		t.Errorf("a gain of %v at -2", low)
	}
	for i := range gains {
		gains[i].Score = 1
	}
	if e, err = Fit(gains, gains, nil, Logistic); err != nil {
		t.Fatal(err)
	}
	if v, _ := e.Value(gains[0].Signals); v != 1 {
		t.Errorf("always right, expected %v", v)
	}
}

// Few samples with many signals that say nothing are estimated by their mean or nearly so, and samples of one group are not told by each
// other.
func TestRegress(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	draw := func(groups, each int) []Sample {
		var out []Sample
		for g := range groups {
			signals := Signals{}
			for i := range 10 {
				signals[fmt.Sprint(i)] = rng.NormFloat64()
			}
			score := float64(rng.IntN(2))
			for range each {
				out = append(out, Sample{Signals: signals, Score: score, Group: fmt.Sprint(g)})
			}
		}
		return out
	}
	for _, samples := range [][]Sample{draw(60, 1), draw(60, 5)} {
		e, err := Regress(samples, nil, Squared)
		if err != nil {
			t.Fatal(err)
		}
		mean := 0.0
		for _, s := range samples {
			mean += s.Score / float64(len(samples))
		}
		fresh, wrong := draw(500, 1), 0.0
		for _, s := range fresh {
			v, _ := e.Value(s.Signals)
			wrong += (v - mean) * (v - mean) / float64(len(fresh))
		}
		if wrong > 0.05 {
			t.Errorf("%d samples of noise: estimates differ by %.2f from the mean", len(samples), math.Sqrt(wrong))
		}
	}
	if _, err := Regress(draw(19, 1), nil, Logistic); !errors.Is(err, ErrTooFew) {
		t.Errorf("19 samples: %v", err)
	}
	// A logistic regression gives probabilities, which are near those that the samples were drawn by.
	var samples []Sample
	for range 2000 {
		x := rng.NormFloat64()
		s := Sample{Signals: Signals{"x": x}}
		if rng.Float64() < 1/(1+math.Exp(-(2*x-1))) {
			s.Score = 1
		}
		samples = append(samples, s)
	}
	e, err := Regress(samples, nil, Logistic)
	if err != nil || e.Link != LogisticLink || e.Levels != nil {
		t.Fatalf("%+v, %v", e, err)
	}
	for _, x := range []float64{-100, -1, 0, 0.5, 2, 100} {
		if v, ok := e.Value(Signals{"x": x}); !ok || math.Abs(v-1/(1+math.Exp(-(2*x-1)))) > 0.05 {
			t.Errorf("x %v has the probability %v", x, v)
		}
	}
	one := draw(1, 30)
	if _, err := Regress(one, []string{"0"}, Logistic); err != nil {
		t.Errorf("one group: %v", err)
	}
}

func TestRefused(t *testing.T) {
	nan := math.NaN()
	for name, err := range map[string]error{
		"no points":    errOf(FitIsotonic(nil, nil, nil)),
		"lengths":      errOf(FitIsotonic([]float64{1}, nil, nil)),
		"NaN":          errOf(FitIsotonic([]float64{nan}, []float64{1}, nil)),
		"weight":       errOf(FitIsotonic([]float64{1}, []float64{1}, []float64{0})),
		"no answers":   errOf(CalibrationError(nil, nil, 10)),
		"no bins":      errOf(CalibrationError([]float64{0}, []float64{0}, 0)),
		"beyond 1":     errOf(CalibrationError([]float64{2}, []float64{0}, 10)),
		"all right":    errOf(AUROC([]float64{1}, []bool{true})),
		"AUROC":        errOf(AUROC([]float64{1}, nil)),
		"levels fall":  Isotonic{X: []float64{1, 2}, Y: []float64{1, 0}}.check(),
		"x twice":      Isotonic{X: []float64{1, 1}, Y: []float64{0, 0}}.check(),
		"no levels":    Isotonic{}.check(),
		"no signals":   (&Estimate{}).Check(),
		"scale of 0":   (&Estimate{Signals: []string{"a"}, Center: []float64{0}, Scale: []float64{0}, Weights: []float64{1}}).Check(),
		"unknown link": (&Estimate{Signals: []string{"a"}, Center: []float64{0}, Scale: []float64{1}, Weights: []float64{1}, Link: "probit"}).Check(),
		"two":          (&Estimate{Signals: []string{"a"}, Center: []float64{0}, Scale: []float64{1}, Weights: []float64{1}, Link: LogisticLink, Levels: &Isotonic{X: []float64{1}, Y: []float64{0}}}).Check(),
		"infinite":     (&Estimate{Signals: []string{"a"}, Center: []float64{0}, Scale: []float64{1}, Weights: []float64{1}, Bias: math.Inf(1)}).Check(),
		"score beyond": errOf(Fit(slices.Repeat([]Sample{{Signals: Signals{"a": 1}, Score: 2}}, 20), slices.Repeat([]Sample{{Signals: Signals{"a": 1}, Score: 2}}, 20), []string{"a"}, Logistic)),
	} {
		if err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }
