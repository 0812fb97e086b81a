package cascade

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/router/confidence"
)

// world makes up measurements: a cheap reader that is right with the probability that its log-probability says, and a dear one that
// is right in four of five cases whatever the first said.
func world(n int, seed uint64) []Measurement {
	rng := rand.New(rand.NewPCG(seed, 1))
	draw := func(p float64) float64 {
		if rng.Float64() < p {
			return 1
		}
		return 0
	}
	var out []Measurement
	for i := range n {
		p, q := rng.Float64(), 0.6+0.4*rng.Float64()
		out = append(out, Measurement{Question: fmt.Sprint(i), Answers: []*Measure{
			{Signals: confidence.Signals{"logprob_mean": math.Log(p)}, Score: draw(p), Dollars: 1e-5},
			{Signals: confidence.Signals{"logprob_mean": math.Log(q)}, Score: draw(q), Dollars: 1e-4},
		}})
	}
	return out
}

var (
	readers = []Reader{{Tier: "low", Model: "small"}, {Tier: "high", Model: "large"}}
	reward  = &Reward{Scale: 1, Low: math.Sqrt(1e-5), High: math.Sqrt(1.1e-4)}
)

func fitted(t *testing.T) *Calibration {
	t.Helper()
	c, err := Fit(readers, world(600, 1), world(600, 2), reward, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Points = []Point{{0, []string{"mid", "low"}, 2e-5, 0.7}, {0.5, []string{"low", "low"}, 1e-5, 0.5}}
	return c
}

// earned is the mean return of a way of answering at λ.
func earned(of []Measurement, lambda float64, play func(m Measurement) (score, dollars float64)) float64 {
	sum := 0.0
	for _, m := range of {
		score, dollars := play(m)
		sum += reward.Return(score, dollars, lambda) / float64(len(of))
	}
	return sum
}

// On new questions the cascade earns more than either reader alone, and what it says of its answers is calibrated.
func TestCascadePays(t *testing.T) {
	c, fresh := fitted(t), world(4000, 3)
	for _, r := range c.Readers {
		if r.Measured.CalibrationError > 0.07 || r.Measured.AUROC == nil || *r.Measured.AUROC < 0.6 || r.Measured.Calibrated != 600 || r.Measured.Fitted != 600 {
			t.Errorf("reader %s: %+v", r.Tier, r.Measured)
		}
	}
	for _, lambda := range []float64{0, 0.3, 0.6} {
		escalated := 0
		cascaded := earned(fresh, lambda, func(m Measurement) (float64, float64) {
			score, dollars, ok := c.Play(m, 0, lambda)
			if _, again := c.Next([]Asked{{0, m.Answers[0].Signals}}, lambda, m.Answers[0].Dollars); again {
				escalated++
				ok = ok && math.Abs(dollars-m.Answers[0].Dollars-m.Answers[1].Dollars) < 1e-12
			}
			if !ok {
				t.Fatalf("%v dollars of %+v", dollars, m)
			}
			return score, dollars
		})
		for reader := range readers {
			alone := earned(fresh, lambda, func(m Measurement) (float64, float64) { return m.Answers[reader].Score, m.Answers[reader].Dollars })
			t.Logf("λ %g: %.4f by the cascade, which asked twice in %d of 4000, %.4f by %s", lambda, cascaded, escalated, alone, readers[reader].Tier)
			if cascaded <= alone {
				t.Errorf("λ %g: %v by the cascade, %v by %s alone", lambda, cascaded, alone, readers[reader].Tier)
			}
		}
	}
}

// A larger λ never asks where a smaller one did not, only later readers are asked, and nothing is known without signals.
func TestNext(t *testing.T) {
	c := fitted(t)
	rng := rand.New(rand.NewPCG(1, 5))
	for range 2000 {
		a := []Asked{{0, confidence.Signals{"logprob_mean": -5 * rng.Float64()}}}
		spent, lambda := 2e-4*rng.Float64(), rng.Float64()
		next, ok := c.Next(a, lambda, spent)
		if ok && next != 1 {
			t.Fatalf("reader %d after 0", next)
		}
		if _, less := c.Next(a, lambda*rng.Float64(), spent); ok && !less {
			t.Fatalf("asks at λ %g and not at a smaller one", lambda)
		}
	}
	if _, _, ok := c.Play(Measurement{Answers: []*Measure{{Signals: confidence.Signals{"logprob_mean": -9}}, nil}}, 0, 0); ok {
		t.Error("played an answer that was not measured")
	}
	for name, asked := range map[string][]Asked{"nothing": nil, "the last": {{1, confidence.Signals{"logprob_mean": -9}}}, "no signals": {{0, nil}}, "no reader": {{7, nil}}} {
		if next, ok := c.Next(asked, 0, 0); ok {
			t.Errorf("after %s: reader %d", name, next)
		}
	}
	if v, ok := c.Confidence(Asked{0, nil}); ok {
		t.Errorf("confidence %v of nothing", v)
	}
	if l, ok := c.LambdaFor(1.5e-5); !ok || l != 0.5 {
		t.Errorf("λ %v, %v", l, ok)
	}
	if _, ok := c.LambdaFor(1e-6); ok {
		t.Error("a λ for too few dollars")
	}
	if p := c.At(0.4); p.Lambda != 0.5 {
		t.Errorf("point %+v", p)
	}
}

func TestFile(t *testing.T) {
	c := fitted(t)
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "c.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if same, err := again.Marshal(); err != nil || !bytes.Equal(same, data) {
		t.Errorf("read and written again it differs, %v", err)
	}
	if _, err := ReadFile(path + "x"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path+"x") {
		t.Errorf("no file: %v", err)
	}
	if _, err := Parse(bytes.Replace(data, []byte(`"version": 1`), []byte(`"version": 2`), 1)); !errors.Is(err, ErrVersion) {
		t.Errorf("a newer version: %v", err)
	}
	flat := *c
	flat.Readers = slices.Clone(c.Readers)
	weighed := *c.Readers[0].Score
	weighed.Levels = nil // a sum of signals, on the scale of log odds
	flat.Readers[0].Score = &weighed
	if _, err := flat.Marshal(); err == nil || !strings.Contains(err.Error(), "isotonic") {
		t.Errorf("a score that is no expected score: %v", err)
	}
	for from, to := range map[string]string{
		Format:                          "other",
		`"version": 1`:                  `"version": 0`,
		`"model": "small"`:              `"model": ""`,
		`"tier": "high"`:                `"tier": "low"`,
		`"reward": {`:                   `"other": {`,
		`"lambda": 0.5`:                 `"lambda": 0`,
		`"mid",`:                        ``,
		`"gains": {` + "\n    \"high\"": `"gains": {"low"`,
		`"scale": 1`:                    `"scale": -1`,
	} {
		if !bytes.Contains(data, []byte(from)) {
			t.Fatalf("the file lacks %q:\n%.2000s", from, data)
		}
		if _, err := Parse(bytes.Replace(data, []byte(from), []byte(to), 1)); !errors.Is(err, ErrFile) {
			t.Errorf("%q for %q: %v", to, from, err)
		}
	}
}

func TestFitRefuses(t *testing.T) {
	if _, err := Fit(readers, world(10, 1), world(10, 2), reward, nil); !errors.Is(err, confidence.ErrTooFew) {
		t.Errorf("ten questions: %v", err)
	}
	silent := world(50, 1)
	for _, m := range silent {
		m.Answers[1].Signals = nil
	}
	if _, err := Fit(readers, silent, silent, reward, nil); !errors.Is(err, ErrNoSignals) || !strings.Contains(err.Error(), "large") {
		t.Errorf("no signals: %v", err)
	}
	// Readers that never answered the same question have no gain.
	apart := world(100, 1)
	for i, m := range apart {
		m.Answers[i%2] = nil
	}
	for _, names := range [][]string{nil, {"logprob_mean"}} {
		c, err := Fit(readers, apart, apart, reward, names)
		if err != nil || c.Readers[0].Gains != nil {
			t.Errorf("by %q: %+v, %v", names, c, err)
		}
	}
}

// A signal that is named and that no answer has is a mistake, also beside others; one that only some readers' answers have is not.
func TestFitNamedSignals(t *testing.T) {
	of := world(100, 1)
	for _, m := range of {
		m.Answers[0].Signals["form_words"] = m.Answers[0].Score
	}
	c, err := Fit(readers, nil, of, reward, []string{"form_words", "logprob_mean"})
	if err != nil || len(c.Readers[0].Score.Signals) != 2 || len(c.Readers[1].Score.Signals) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	for want, names := range map[string][]string{`"form_wrods"`: {"logprob_mean", "form_wrods"}, `large: its answers have none of the signals ["form_words"]`: {"form_words"}} {
		if _, err := Fit(readers, nil, of, reward, names); err == nil || errors.Is(err, ErrNoSignals) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "logprob_mean") {
			t.Errorf("%q: %v", names, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	c, err := Fit(readers, world(40, 1), world(40, 2), reward, nil)
	if err != nil {
		f.Fatal(err)
	}
	c.Points = []Point{{0, []string{"mid", "low"}, 2e-5, 0.7}}
	data, err := c.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"format":"budgetmem-calibration","version":1,"readers":[{"model":"m","score":null}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		if _, err := c.Marshal(); err != nil {
			t.Fatal(err)
		}
		for i := range c.Readers {
			s := confidence.Signals{"logprob_mean": -1}
			if v, ok := c.Confidence(Asked{i, s}); ok && !(v >= 0 && v <= 1) {
				t.Fatalf("confidence %v", v)
			}
			if next, ok := c.Next([]Asked{{i, s}}, 0.5, 1e-5); ok && next <= i {
				t.Fatalf("reader %d after %d", next, i)
			}
		}
	})
}
