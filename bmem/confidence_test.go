package bmem

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/router/confidence"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// sureOf is a model that answers with its name, each token with one log-probability; NaN tells none.
type sureOf struct {
	name    string
	logProb float64
	asked   *[]llm.Request
}

func (s sureOf) Model() string { return s.name }
func (s sureOf) ID() string    { return s.name }
func (s sureOf) Chat(_ context.Context, req llm.Request) (llm.Response, error) {
	*s.asked = append(*s.asked, req)
	r := llm.Response{Text: "said by " + s.name, Finish: "stop", Usage: llm.Usage{Calls: 1, In: 100, Out: 3, Dollars: 1e-5}}
	if req.LogProbs && !math.IsNaN(s.logProb) {
		r.LogProbs = []llm.TokenLogProb{{LogProb: s.logProb}, {LogProb: s.logProb}}
	}
	return r, nil
}

// byLogProb expects a score of e^x from a mean log-probability of x, roughly: a line from 0 at −2 to 1 at 0; falling is 1 minus that.
func byLogProb(falling bool) *confidence.Estimate {
	e := &confidence.Estimate{Signals: []string{LogProbMean}, Center: []float64{0}, Scale: []float64{1}, Weights: []float64{1},
		Levels: &confidence.Isotonic{X: []float64{-2, 0}, Y: []float64{0, 1}}}
	if falling {
		e.Weights, e.Levels.X = []float64{-1}, []float64{0, 2}
	}
	return e
}

// routed is a set whose answer is written by a small or a large model, and the calibration of both.
func routed(small, large llm.Client) (func(tiers.Deps) (tiers.Set, error), *cascade.Calibration) {
	build := func(d tiers.Deps) (tiers.Set, error) {
		set, err := tiers.Implementation(d)
		set[tiers.Answering] = []tiers.Tier{tiers.Answerer{Client: small, LogProbs: true}.Tier("low"), tiers.Answerer{Client: large, LogProbs: true}.Tier("high")}
		return set, err
	}
	return build, &cascade.Calibration{Format: cascade.Format, Version: cascade.Version, Reward: &cascade.Reward{Scale: 1, Low: 0, High: 1},
		Readers: []cascade.Reader{
			{Tier: "low", Model: small.Model(), Score: byLogProb(false), Gains: map[string]*confidence.Estimate{"high": byLogProb(true)}},
			{Tier: "high", Model: large.Model(), Dollars: 0.04, Score: byLogProb(false)},
		},
		Points: []cascade.Point{{Lambda: 0.1, Tiers: []string{"low", "low", "low", "low", "low", "low"}, Dollars: 1e-5, Score: 0.5}}}
}

func openWith(t *testing.T, o Options) *Memory {
	t.Helper()
	o.Path, o.Embedder, o.Tokenizer = filepath.Join(t.TempDir(), "m.db"), &embedtest.Words{}, &embedtest.Words{}
	m, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	if _, err := m.Add(context.Background(), DefaultMemory, []chunk.Turn{{ID: "1", Session: "1", Text: "Ann moved to Bern."}}); err != nil {
		t.Fatal(err)
	}
	return m
}

func near(got *float64, want float64) bool { return got != nil && math.Abs(*got-want) < 1e-9 }

// A sure answer stands alone; after an unsure one the better model is asked too, both are paid, and the last answer counts.
func TestCascadeAsksAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		small, large float64
		text         string
		confidence   float64
		drafts       int
	}{
		"sure":               {-0.02, -0.02, "said by small", 0.99, 0},
		"unsure":             {-1.8, -0.2, "said by large", 0.9, 1},
		"both unsure":        {-1.4, -1.8, "said by large", 0.1, 1},
		"no log-probability": {math.NaN(), -0.2, "said by small", math.NaN(), 0},
	} {
		var asked []llm.Request
		small, large := sureOf{"small", tt.small, &asked}, sureOf{"large", tt.large, &asked}
		build, calibration := routed(small, large)
		m := openWith(t, Options{Client: small, Tiers: build, Calibration: calibration})
		a, err := m.Ask(context.Background(), "Where does Ann live?", WithTiers("cascade@0.1"))
		if err != nil {
			t.Fatal(err)
		}
		known := !math.IsNaN(tt.confidence)
		if a.Text != tt.text || len(a.Trace.Drafts) != tt.drafts || known != (a.Confidence != nil) || known && !near(a.Confidence, tt.confidence) {
			t.Errorf("%s: %q with confidence %v and %d drafts", name, a.Text, a.Confidence, len(a.Trace.Drafts))
		}
		if want := 1e-5 * float64(1+tt.drafts); math.Abs(a.Trace.Usage().Dollars-want) > 1e-12 {
			t.Errorf("%s: $%g, want $%g", name, a.Trace.Usage().Dollars, want)
		}
	}
}

func TestMinConfidence(t *testing.T) {
	var asked []llm.Request
	small := sureOf{"small", -1, &asked}
	calibration := &cascade.Calibration{Format: cascade.Format, Version: cascade.Version, Readers: []cascade.Reader{{Model: "small", Score: byLogProb(false)}}}
	ctx, question := context.Background(), "Where does Ann live?"
	m := openWith(t, Options{Client: small, Calibration: calibration})
	for least, abstains := range map[float64]bool{0: false, 0.5: false, 0.6: true, 1: true} {
		a, err := m.Ask(ctx, question, WithMinConfidence(least))
		if err != nil || a.Abstained != abstains || !near(a.Confidence, 0.5) || a.Text+a.Withheld != "said by small" || (a.Text == "") != abstains || len(a.Evidence) == 0 {
			t.Errorf("at least %v: %+v, %v", least, a, err)
		}
	}
	for _, r := range asked {
		if !r.LogProbs {
			t.Error("log-probabilities were not asked for")
		}
	}
	if _, err := m.Ask(ctx, question, WithMinConfidence(2)); err == nil {
		t.Error("a confidence of 2 was taken")
	}
	// Without a calibration nothing is made up, and nothing more is asked for.
	asked = nil
	plain := openWith(t, Options{Client: small})
	if a, err := plain.Ask(ctx, question); err != nil || a.Confidence != nil || a.Abstained || asked[0].LogProbs {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := plain.Ask(ctx, question, WithMinConfidence(0.5)); !errors.Is(err, ErrNoCalibration) {
		t.Errorf("no calibration: %v", err)
	}
	if _, err := plain.Ask(ctx, question, WithTiers("cascade")); !errors.Is(err, ErrNoCalibration) {
		t.Errorf("no calibration: %v", err)
	}
	// One of another model says nothing, and what is not known to be sure is withheld where that was asked for.
	calibration.Readers[0].Model = "another"
	other := openWith(t, Options{Client: small, Calibration: calibration})
	if a, err := other.Ask(ctx, question); err != nil || a.Confidence != nil || a.Text == "" {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := other.Ask(ctx, question, WithMinConfidence(0)); err != nil || !a.Abstained || a.Withheld == "" {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := m.Ask(ctx, question, WithTiers("cascade@much")); err == nil || !strings.Contains(err.Error(), "no λ") {
		t.Errorf("λ: %v", err)
	}
	if _, err := m.Ask(ctx, question, WithTiers("cascade")); err == nil || !strings.Contains(err.Error(), "how a cascade begins") {
		t.Errorf("a cascade of one reader: %v", err)
	}
}

// An answer to a question that the memory hardly answers is withheld, whatever its confidence; not known is not enough.
func TestMinAnswerable(t *testing.T) {
	var asked []llm.Request
	small := sureOf{"small", -0.2, &asked}
	reader := cascade.Reader{Model: "small", Score: byLogProb(false), Answerable: byLogProb(true)}
	reader.Answerable.Levels = &confidence.Isotonic{X: []float64{0, 2}, Y: []float64{0.3, 1}}
	calibration := &cascade.Calibration{Format: cascade.Format, Version: cascade.Version, Readers: []cascade.Reader{reader}}
	ctx, question := context.Background(), "Where does Ann live?"
	m := openWith(t, Options{Client: small, Calibration: calibration})
	for least, abstains := range map[float64]bool{0: false, 0.37: false, 0.38: true} {
		a, err := m.Ask(ctx, question, WithMinAnswerable(least), WithMinConfidence(0.9))
		if err != nil || a.Abstained != abstains || !near(a.Confidence, 0.9) || !near(a.Answerable, 0.37) || a.Text+a.Withheld != "said by small" || (a.Text == "") != abstains {
			t.Errorf("at least %v: %+v, %v", least, a, err)
		}
	}
	if _, err := m.Ask(ctx, question, WithMinAnswerable(math.NaN())); err == nil || !strings.Contains(err.Error(), "WithMinAnswerable") {
		t.Errorf("a probability of NaN: %v", err)
	}
	calibration.Readers[0].Answerable = nil
	if a, err := m.Ask(ctx, question, WithMinAnswerable(0)); !errors.Is(err, ErrNoAnswerable) {
		t.Errorf("not measured: %+v, %v", a, err)
	}
	if a, err := m.Ask(ctx, question); err != nil || a.Answerable != nil || a.Confidence == nil {
		t.Errorf("not measured: %+v, %v", a, err)
	}
	plain := openWith(t, Options{Client: small})
	if _, err := plain.Ask(ctx, question, WithMinAnswerable(0.5)); !errors.Is(err, ErrNoCalibration) {
		t.Errorf("no calibration: %v", err)
	}
}

// The λ of a cascade follows WithLambda and the cost limit.
func TestCascadeLambda(t *testing.T) {
	small, large := sureOf{"small", 0, nil}, sureOf{"large", 0, nil}
	build, calibration := routed(small, large)
	later := calibration.Points[0]
	later.Lambda, later.Dollars = 0.7, 1e-6
	calibration.Points = append(calibration.Points, later)
	m := openWith(t, Options{Client: small, Tiers: build, Calibration: calibration})
	for want, opts := range map[string][]Option{"cascade@0.1": nil, "cascade@0.4": {WithLambda(0.4)}, "cascade@0.7": {WithMaxCost(5e-6)}} {
		if a, err := m.ask("q", append(opts, WithTiers("cascade"))); err != nil || a.policy.Name() != want {
			t.Errorf("%v, %v; want %s", a.policy, err, want)
		}
	}
}
