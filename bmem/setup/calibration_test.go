package setup

import (
	"context"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// named is a model that is never asked.
type named struct {
	llm.Client
	name string
}

func (n named) Model() string { return n.name }
func (n named) ID() string    { return n.name }
func (named) Chat(context.Context, llm.Request) (llm.Response, error) {
	panic("asked")
}

// Every calibration that comes with the program is for a shipped tier set and the model in its name, and is given to nothing else.
//
// What it measures of itself is held out by history, and LoCoMo's validation has two, so that one conversation calibrates the other: its error is larger than that of the whole, which all of the questions calibrate.
func TestShippedCalibrations(t *testing.T) {
	files, err := fs.Glob(calibrations, "calibrations/*/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		set, model := path.Base(path.Dir(file)), strings.TrimSuffix(path.Base(file), ".json")
		if !slices.Contains(tiers.Axes(), set) {
			t.Errorf("%s: there is no tier set %q", file, set)
		}
		s := Spec{Tiers: set, Calibration: ShippedCalibration}
		c, err := s.shippedCalibration(Model{Client: named{name: model}, Local: true})
		if err != nil || c == nil || len(c.Readers) != 1 || c.Readers[0].Model != model || c.Readers[0].Tier != "" {
			t.Fatalf("%s: %+v, %v", file, c, err)
		}
		if m := c.Readers[0].Measured; m.AUROC == nil {
			t.Errorf("%s: no AUROC", file)
		} else if m.Calibrated < 200 || m.CalibrationError > 0.12 || *m.AUROC < 0.6 {
			t.Errorf("%s: calibrated on %d questions, error %.3f, AUROC %.3f", file, m.Calibrated, m.CalibrationError, *m.AUROC)
		}
		for name, other := range map[string]func() (any, error){
			"an endpoint's model": func() (any, error) {
				c, err := s.shippedCalibration(Model{Client: named{name: model}})
				return c == nil, err
			},
			"another model": func() (any, error) {
				c, err := s.shippedCalibration(Model{Client: named{name: "x"}, Local: true})
				return c == nil, err
			},
			"a model of a path": func() (any, error) {
				c, err := s.shippedCalibration(Model{Client: named{name: "../x"}, Local: true})
				return c == nil, err
			},
			"a set of one's own": func() (any, error) {
				s := Spec{Tiers: "./mine.yaml", Calibration: ShippedCalibration}
				c, err := s.shippedCalibration(Model{Client: named{name: model}, Local: true})
				return c == nil, err
			},
			"sampled answers": func() (any, error) {
				s := Spec{Tiers: set, Calibration: ShippedCalibration, AnswerSamples: 5}
				c, err := s.shippedCalibration(Model{Client: named{name: model}, Local: true})
				return c == nil, err
			},
		} {
			if none, err := other(); err != nil || none != true {
				t.Errorf("%s: %s has a calibration, or %v", file, name, err)
			}
		}
	}
}
