package router

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/router/confidence"
	"github.com/budgetmem/budgetmem/router/portable"
)

// certainty is a calibration of two readers: an answer is worth what its signal says, and the reader high gains 0.5 beside one of 0.
func certainty() *cascade.Calibration {
	line := func(y ...float64) *confidence.Estimate {
		return &confidence.Estimate{Signals: []string{"sure"}, Center: []float64{0}, Scale: []float64{1}, Weights: []float64{1}, Levels: &confidence.Isotonic{X: []float64{0, 1}, Y: y}}
	}
	loss := line(0, 0.5)
	loss.Weights, loss.Bias = []float64{-1}, 1 // the gain falls as the signal rises
	return &cascade.Calibration{Format: cascade.Format, Version: cascade.Version, Reward: &cascade.Reward{Scale: 1, Low: 0, High: 0.1},
		Readers: []cascade.Reader{
			{Tier: "low", Model: "small", Dollars: 1e-4, Score: line(0, 1), Gains: map[string]*confidence.Estimate{"high": loss}},
			{Tier: "high", Model: "large", Dollars: 1e-3, Score: line(0, 1)},
		},
		Points: []cascade.Point{{Lambda: 0, Tiers: []string{"mid", "low"}, Dollars: 1e-3, Score: 0.5}, {Lambda: 1, Tiers: []string{"low", "low"}, Dollars: 1e-4, Score: 0.4}}}
}

var answered = Space{{Name: "filter", Tiers: []string{"low", "mid"}}, {Name: "answer", Tiers: []string{"low", "mid", "high"}}}

func TestCascade(t *testing.T) {
	data, err := certainty().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "calibration.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for spec, filter := range map[string]int{"cascade:" + path: 1, "cascade:" + path + "@0.2": 1, "cascade:" + path + "@1": 0} {
		p, err := Parse(spec, answered, 0)
		if err != nil {
			t.Fatal(err)
		}
		for m, want := range []int{filter, 0} {
			if got, err := p.Decide(t.Context(), State{Module: m}); err != nil || got != want {
				t.Errorf("%s: module %d gets tier %d, %v; want %d", p.Name(), m, got, err, want)
			}
		}
		c := p.(Cascading)
		unsure := []Answered{{0, confidence.Signals{"sure": 0}}}
		if tier, ok := c.Next(unsure, 1e-4); !ok || tier != 2 {
			t.Errorf("%s: tier %d, %v after an unsure answer", p.Name(), tier, ok)
		}
		if tier, ok := c.Next([]Answered{{0, confidence.Signals{"sure": 1}}}, 1e-4); ok {
			t.Errorf("%s: tier %d after a sure answer", p.Name(), tier)
		}
		if tier, ok := c.Next([]Answered{{-1, unsure[0].Signals}}, 1e-4); ok {
			t.Errorf("%s: tier %d after an unknown one", p.Name(), tier)
		}
		if tier, ok := c.Next([]Answered{{1, unsure[0].Signals}}, 1e-4); ok {
			t.Errorf("%s: tier %d after a tier without estimates", p.Name(), tier)
		}
	}
	for name, tt := range map[string]struct {
		spec  string
		space Space
		want  string
	}{
		"negative λ":  {"cascade:" + path + "@-1", answered, "negative"},
		"other tiers": {"cascade:" + path, Space{{Name: "filter", Tiers: []string{"low"}}, {Name: "answer", Tiers: []string{"low", "high"}}}, "another tier set"},
		"no answer":   {"cascade:" + path, Space{{Name: "filter", Tiers: []string{"mid"}}, {Name: "summary", Tiers: []string{"low"}}}, "does not have"},
	} {
		if _, err := Parse(tt.spec, tt.space, 0); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tt.want)
		}
	}
	if _, err := Parse("cascade:nowhere.json", answered, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	begins := certainty()
	begins.Points = nil
	if _, err := NewCascade(begins, answered, 0); err == nil || !strings.Contains(err.Error(), "how a cascade begins") {
		t.Errorf("no points: %v", err)
	}
}

// A router's file carries the calibration, and the policy made of it asks again as the calibration says.
func TestLearnedCascades(t *testing.T) {
	info := portable.Info{Dim: 1, Embedder: "test", Modules: answered, Lambda: portable.Range{Min: 0, Max: 1}}
	plain, err := portable.New(info, portable.Weights{Query: make([]float32, 1), Memory: make([]float32, 1), Lambda: make([]float32, 1), Module: make([]float32, 2),
		Encoder: make([]float32, 1), EncoderBias: make([]float32, 1), Actor: make([]float32, 1), ActorBias: make([]float32, 1), Logits: make([]float32, 3), LogitsBias: make([]float32, 3)})
	if err != nil {
		t.Fatal(err)
	}
	with, err := plain.WithAnswers(certainty())
	if err != nil {
		t.Fatal(err)
	}
	file, err := with.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if with, err = portable.Parse(file); err != nil {
		t.Fatal(err)
	}
	for r, want := range map[*portable.Router]bool{plain: false, with: true} {
		p, err := NewLearned(r, answered, 0.5)
		if err != nil {
			t.Fatal(err)
		}
		asked := []Answered{{0, confidence.Signals{"sure": 0}}}
		if tier, ok := p.Next(asked, 1e-4); ok != want || want && tier != 2 {
			t.Errorf("tier %d, %v; want %v", tier, ok, want)
		}
	}
	wrong := certainty()
	wrong.Readers[1].Tier, wrong.Readers[0].Gains, wrong.Points = "top", nil, nil
	if _, err := plain.WithAnswers(wrong); err == nil || !strings.Contains(err.Error(), "top") {
		t.Errorf("a reader that is no tier: %v", err)
	}
	if _, err := plain.WithAnswers(&cascade.Calibration{}); err == nil {
		t.Error("an empty calibration was taken")
	}
}
