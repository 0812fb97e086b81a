package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/router/confidence"
	"github.com/budgetmem/budgetmem/router/portable"
)

// price counts how dear a line's tiers are.
func price(line string) int { return strings.Count(line, "=mid") + 2*strings.Count(line, "=high") }

// The sample questions of different kinds get different tiers, and cheaper ones at a large λ.
func TestRoute(t *testing.T) {
	questions, err := os.Open("questions.json")
	if err != nil {
		t.Fatal(err)
	}
	defer questions.Close()
	var out bytes.Buffer
	if err := run(questions, &out); err != nil {
		t.Fatal(err)
	}
	first, last := map[string]string{}, map[string]string{}
	for line := range strings.Lines(out.String()) {
		question, tiers, _ := strings.Cut(line, " λ=")
		switch lambda, _, _ := strings.Cut(tiers, " "); lambda {
		case "0":
			first[question] = tiers
		case "1":
			last[question] = tiers
		}
	}
	routes := map[string]bool{}
	for question, tiers := range first {
		routes[tiers] = true
		if price(last[question]) >= price(tiers) {
			t.Errorf("%s is as dear at λ 1 as at λ 0:\n%s%s", question, tiers, last[question])
		}
	}
	if len(first) != 3 || len(routes) != 3 {
		t.Errorf("%d questions got %d different routes", len(first), len(routes))
	}
}

func TestRouteRefuses(t *testing.T) {
	for input, want := range map[string]string{
		`{"text":"short","query":[1],"memories":[[1],[1],[1]]}`: "1 numbers",
		`{`: "read a question",
	} {
		if err := run(strings.NewReader(input), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", input, err, want)
		}
	}
}

// A router that decides the answer too looks at the notes and at signals: here it takes High where nothing is known of the evidence,
// and Low where it stands out.
func TestRouteSix(t *testing.T) {
	tiers := []string{"low", "high"}
	info := portable.Info{Dim: 1, Embedder: "test", Lambda: portable.Range{Max: 1}, Signals: []portable.Signal{{Name: "evidence_margin", Scale: 1}}}
	for _, name := range []string{"filter", "entity", "temporal", "topic", "summary", "answer"} {
		info.Modules = append(info.Modules, portable.Module{Name: name, Tiers: tiers})
	}
	one, none := []float32{1}, []float32{0}
	router, err := portable.New(info, portable.Weights{Query: none, Memory: none, Lambda: none, Module: []float32{1, 1, 1, 1, 1, 0}, Encoder: one, EncoderBias: none,
		Actor: one, ActorBias: none, Logits: []float32{1, 0}, LogitsBias: []float32{0, 0.5}, Signals: []float32{1, 0}})
	if err != nil {
		t.Fatal(err)
	}
	for signals, want := range map[string]string{`{}`: "high", `{"evidence_margin": 0.9}`: "low", `{"evidence_margin": 0.1, "other": 3}`: "high"} {
		var out bytes.Buffer
		if err := route(router, strings.NewReader(`{"text":"q","query":[1],"memories":[[1],[1],[1],[1]],"signals":`+signals+`}`), &out); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "λ=0 filter=low entity=low temporal=low topic=low summary=low answer="+want) {
			t.Errorf("%s: %s", signals, out.String())
		}
	}
}

// With a calibration an unsure answer has a better model asked too, where its price is worth that, and the last answer is taken.
func TestRouteCascade(t *testing.T) {
	line := func(weight float64) *confidence.Estimate { // expected by the mean log-probability, from 0 at −2 to 1 at 0, or the other way round
		e := &confidence.Estimate{Signals: []string{"logprob_mean"}, Center: []float64{0}, Scale: []float64{1}, Weights: []float64{weight}}
		e.Levels = &confidence.Isotonic{X: []float64{-2, 0}, Y: []float64{0, 1}}
		if weight < 0 {
			e.Levels.X = []float64{0, 2}
		}
		return e
	}
	c := &cascade.Calibration{Format: cascade.Format, Version: cascade.Version, Reward: &cascade.Reward{Scale: 1, Low: 0, High: 1}, Readers: []cascade.Reader{
		{Tier: "low", Model: "small", Score: line(1), Gains: map[string]*confidence.Estimate{"high": line(-1)}},
		{Tier: "high", Model: "large", Dollars: 0.04, Score: line(1)}}}
	info := portable.Info{Dim: 1, Embedder: "test", Lambda: portable.Range{Max: 1}, Modules: []portable.Module{{Name: "answer", Tiers: []string{"low", "high"}}}}
	none := []float32{0}
	router, err := portable.New(info, portable.Weights{Query: none, Memory: none, Lambda: none, Module: none, Encoder: none, EncoderBias: none, Actor: none, ActorBias: none,
		Logits: []float32{0, 0}, LogitsBias: []float32{1, 0}})
	if err != nil {
		t.Fatal(err)
	}
	if router, err = router.WithAnswers(c); err != nil {
		t.Fatal(err)
	}
	for answers, want := range map[string]string{
		`{"tier":"low","dollars":0.0001,"signals":{"logprob_mean":-0.02}}`:                                                                 "take low",
		`{"tier":"low","dollars":0.0001,"signals":{"logprob_mean":-1.8}}`:                                                                  "ask high too",
		`{"tier":"low","dollars":0.0001,"signals":{"logprob_mean":-1.8}},{"tier":"high","dollars":0.0401,"signals":{"logprob_mean":-0.2}}`: "take high",
		`{"tier":"low","dollars":0.0001}`:                                                                                                  "take low",
	} {
		var out bytes.Buffer
		if err := route(router, strings.NewReader(`{"text":"q","query":[1],"answers":[`+answers+`]}`), &out); err != nil {
			t.Fatal(err)
		}
		if last := strings.TrimSpace(out.String()); !strings.HasSuffix(last, want) { // at λ = 1
			t.Errorf("%s: %s, want %s", answers, last, want)
		}
	}
}
