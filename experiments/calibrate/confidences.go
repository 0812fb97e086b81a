package calibrate

import (
	"fmt"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/router/confidence"
)

// Confidence is how good the confidences of a reader's answers are.
type Confidence struct {
	// Tier and Model are the reader's.
	Tier  string `json:"tier,omitempty"`
	Model string `json:"model,omitempty"`
	// Questions is the number of answers, Score their mean score, and Mean their mean confidence.
	Questions int     `json:"questions"`
	Score     float64 `json:"score"`
	Mean      float64 `json:"mean_confidence"`
	// Error is the expected calibration error with confidence.Bins bins, in the units of the score. AUROC is the probability that an answer
	// that scores at least one half has a higher confidence than one that does not; nil if all or none do. Area is that under the
	// risk–coverage curve: the mean over coverages of what the surest answers fall short of 1.
	Error float64  `json:"calibration_error"`
	AUROC *float64 `json:"auroc,omitempty"`
	Area  float64  `json:"risk_coverage_area"`
}

// Confidences measures the confidences of a calibration on a file of other questions than it was fitted to, for each reader that
// answered there. models and samples say who answered, as in Options. A file of other readers, or without answers that have a
// confidence, is an error.
func Confidences(c *cascade.Calibration, f *episodes.File, models []string, samples []int) ([]Confidence, error) {
	if err := f.Usable(); err != nil {
		return nil, err
	}
	of, err := readers(f.Space, Options{Models: models, Samples: samples})
	if err != nil {
		return nil, err
	}
	if len(of) != len(c.Readers) {
		return nil, fmt.Errorf("the calibration is of %d ways of answering, the traces have %d", len(c.Readers), len(of))
	}
	measured, _ := Measured(f)
	var out []Confidence
	for i, r := range c.Readers {
		if of[i].Tier != r.Tier {
			return nil, fmt.Errorf("the calibration's answer %q is called %q in the traces", r.Tier, of[i].Tier)
		}
		if of[i].Model != r.Model || of[i].Samples != r.Samples {
			return nil, fmt.Errorf("the calibration is of answers %q by %q of %d samples, the traces' are by %q of %d", r.Tier, r.Model, r.Samples, of[i].Model, of[i].Samples)
		}
		var confidences, scores []float64
		var right []bool
		for _, m := range measured {
			if a := m.Answers[i]; a != nil {
				if v, ok := c.Confidence(cascade.Asked{Reader: i, Signals: a.Signals}); ok {
					confidences, scores, right = append(confidences, v), append(scores, a.Score), append(right, a.Score >= 0.5)
				}
			}
		}
		if len(scores) == 0 {
			continue
		}
		x := Confidence{Tier: r.Tier, Model: r.Model, Questions: len(scores)}
		for q := range scores {
			x.Score += scores[q] / float64(len(scores))
			x.Mean += confidences[q] / float64(len(scores))
		}
		if x.Error, err = confidence.CalibrationError(confidences, scores, confidence.Bins); err != nil {
			return nil, err
		}
		if _, x.Area, err = confidence.RiskCoverage(confidences, scores); err != nil {
			return nil, err
		}
		if auroc, err := confidence.AUROC(confidences, right); err == nil {
			x.AUROC = &auroc
		}
		out = append(out, x)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("traces of %s %s: no answer has all signals that the calibration needs: %q", f.Dataset, f.Split, c.Readers[0].Score.Signals)
	}
	return out, nil
}
