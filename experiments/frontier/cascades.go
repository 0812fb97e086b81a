package frontier

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/budgetmem/budgetmem/experiments/calibrate"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/router/confidence"
)

// The names of the cascades.
const (
	cascadeName   = "cascade"
	thresholdName = "one-threshold cascade"
	verifyName    = "self-verification cascade"
)

// The signals that the simple cascades look at: the mean log-probability of the answer's tokens, and how far the answer agrees with
// other samples of the same model (Yue et al. 2024, "Large Language Model Cascades with Mixture of Thoughts Representations").
const (
	sureSignal  = "logprob_mean"
	agreeSignal = "sample_agreement"
)

// cascades are the entries that look at an answer and may ask for another one, fitted to the questions that are not reported; none
// where answers are not routed or come without signals.
func (c *comparison) cascades() ([]plan, error) {
	file, _ := c.Validation.Snapshot()
	o := calibrate.Options{Validation: file, Models: c.space[len(c.space)-1].Tiers, Lambdas: c.Lambdas}
	if c.Train != nil {
		o.Train, _ = c.Train.Snapshot()
	}
	measured, notes := calibrate.Measured(file)
	groups, of := calibrate.Complete(measured, notes)
	if len(groups) == 0 || len(groups[0][0].Answers) < 2 {
		return nil, nil
	}
	var plans []plan
	for _, s := range []struct{ name, signal string }{{thresholdName, sureSignal}, {verifyName, agreeSignal}} {
		p := plan{name: s.name, lambdas: c.Lambdas, seeds: make([][]router.Policy, 1)}
		for _, lambda := range c.Lambdas {
			policy, err := c.threshold(s.name, s.signal, groups, of, lambda)
			if err != nil {
				return nil, err
			}
			if policy != nil {
				p.seeds[0] = append(p.seeds[0], policy)
			}
		}
		if len(p.seeds[0]) > 0 {
			plans = append(plans, p)
		}
	}
	calibration, err := calibrate.Fit(o)
	if errors.Is(err, cascade.ErrNoSignals) || errors.Is(err, confidence.ErrTooFew) {
		return plans, nil
	}
	if err != nil {
		return nil, err
	}
	p, err := c.cascade(cascadeName, calibration)
	return append(plans, p), err
}

// cascade is the entry of a calibration's cascade at each λ.
func (c *comparison) cascade(name string, calibration *cascade.Calibration) (plan, error) {
	p := plan{name: name, kind: trainedKind, lambdas: c.Lambdas, seeds: make([][]router.Policy, 1)}
	for _, lambda := range c.Lambdas {
		policy, err := router.NewCascade(calibration, c.space, lambda)
		if err != nil {
			return plan{}, fmt.Errorf("%s: %w", name, err)
		}
		p.seeds[0] = append(p.seeds[0], policy)
	}
	return p, nil
}

// thresholdCascade asks a second tier for the answer where a signal of the first answer lies below a threshold, and takes the last
// answer (FrugalGPT's cascade of two, Chen, Zaharia and Zou 2023).
type thresholdCascade struct {
	*router.Static
	name   string
	signal string
	below  float64
	second int
}

// Name implements router.Policy.
func (t *thresholdCascade) Name() string { return t.name }

// Next implements router.Cascading.
func (t *thresholdCascade) Next(answered []router.Answered, _ float64) (tier int, ok bool) {
	return t.second, len(answered) == 1 && t.asks(answered[0].Signals)
}

// asks reports whether an answer is too weak; one without the signal is.
func (t *thresholdCascade) asks(s confidence.Signals) bool {
	v, ok := s[t.signal]
	return !ok || v < t.below
}

// thresholds is how many thresholds are tried, at quantiles of the signal, beside never and always.
const thresholds = 20

// threshold returns the cascade on a signal that earns most at λ on measured answers, over notes, pairs of tiers and thresholds; nil if
// no answer of a tier that has a dearer one comes with the signal.
func (c *comparison) threshold(name, signal string, groups [][]cascade.Measurement, notes [][]int, lambda float64) (router.Policy, error) {
	var best *thresholdCascade
	var choices []int
	top := math.Inf(-1)
	for g, group := range groups {
		for first := range group[0].Answers {
			var values []float64
			for _, m := range group {
				if v, ok := m.Answers[first].Signals[signal]; ok {
					values = append(values, v)
				}
			}
			if len(values) < len(group) {
				continue
			}
			cuts := []float64{math.Inf(-1), math.Inf(1)}
			for i := range thresholds {
				cuts = append(cuts, stats.Quantile(values, (float64(i)+0.5)/thresholds))
			}
			for second := first + 1; second < len(group[0].Answers); second++ {
				for _, cut := range slices.Compact(slices.Sorted(slices.Values(cuts))) {
					t := &thresholdCascade{name: fmt.Sprintf("%s@%g", name, lambda), signal: signal, below: cut, second: second}
					earned := 0.0
					for _, m := range group {
						score, dollars := m.Answers[first].Score, m.Dollars+m.Answers[first].Dollars
						if t.asks(m.Answers[first].Signals) {
							score, dollars = m.Answers[second].Score, dollars+m.Answers[second].Dollars
						}
						earned += c.Reward.Return(router.Outcome{Score: score, Dollars: dollars}, lambda)
					}
					if earned > top {
						best, top, choices = t, earned, append(slices.Clone(notes[g]), first)
					}
				}
			}
		}
	}
	if best == nil {
		return nil, nil
	}
	var err error
	best.Static, err = router.NewStatic(c.space, choices)
	return best, err
}
