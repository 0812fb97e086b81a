package confidence

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Signals are what a question and an answer to it show of how good the answer is, by name. A signal that is not known is absent.
type Signals = map[string]float64

// Estimate is an expected score as a function of signals:
//
//	E = f(bias + Σᵢ weightᵢ·(signalᵢ − centerᵢ)/scaleᵢ)    f isotonic, logistic, or none
//
// An isotonic f is fitted to questions that the weights were not fitted to, so that it corrects what these take for certain from too few.
type Estimate struct {
	// Signals are the names, in ascending order; the other slices have one number for each.
	Signals []string  `json:"signals"`
	Center  []float64 `json:"center"`
	Scale   []float64 `json:"scale"`
	Weights []float64 `json:"weights"`
	Bias    float64   `json:"bias"`
	// Levels is the isotonic function; nil for Link, which is LogisticLink or, for E = the sum, "".
	Levels *Isotonic `json:"isotonic,omitempty"`
	Link   string    `json:"link,omitempty"`
}

// LogisticLink is 1/(1 + e⁻ˣ).
const LogisticLink = "logistic"

// Value is the expected score. It returns false if a signal is missing or not finite: an estimate from less than it was fitted to
// would be made up.
func (e *Estimate) Value(s Signals) (float64, bool) {
	x, ok := e.combine(s)
	if !ok {
		return 0, false
	}
	switch {
	case e.Levels != nil:
		x = e.Levels.At(x)
	case e.Link == LogisticLink:
		x = 1 / (1 + math.Exp(-x))
	}
	return x, true
}

// combine is the weighted sum of the signals.
func (e *Estimate) combine(s Signals) (float64, bool) {
	sum := e.Bias
	for i, name := range e.Signals {
		v, ok := s[name]
		if !ok || !finite(v) {
			return 0, false
		}
		sum += e.Weights[i] * (v - e.Center[i]) / e.Scale[i]
	}
	return sum, true
}

// Check returns an error if the fields do not fit together.
func (e *Estimate) Check() error {
	n := len(e.Signals)
	if n == 0 || len(e.Center) != n || len(e.Scale) != n || len(e.Weights) != n {
		return fmt.Errorf("estimate with %d signals, %d centers, %d scales and %d weights: their number must be the same and at least 1", n, len(e.Center), len(e.Scale), len(e.Weights))
	}
	for i, name := range e.Signals {
		if !finite(e.Center[i]) || !finite(e.Weights[i]) || !finite(e.Scale[i]) || e.Scale[i] <= 0 {
			return fmt.Errorf("estimate: signal %q has center %v, scale %v, weight %v; all must be finite and the scale positive", name, e.Center[i], e.Scale[i], e.Weights[i])
		}
	}
	if !finite(e.Bias) {
		return fmt.Errorf("estimate: bias is %v", e.Bias)
	}
	switch {
	case e.Link != "" && e.Link != LogisticLink:
		return fmt.Errorf("estimate: link %q: want %q or none", e.Link, LogisticLink)
	case e.Link != "" && e.Levels != nil:
		return fmt.Errorf("estimate: it has a link %q and an isotonic function", e.Link)
	case e.Levels == nil:
		return nil
	}
	return e.Levels.check()
}

// Sample is a measured answer: the signals that it came with, and its score or whatever is estimated.
type Sample struct {
	Signals Signals
	Score   float64
	// Group is the same for samples that are not independent, such as answers to one question; "" means that there are no others.
	Group string
}

// Loss is how weights are fitted.
type Loss int

const (
	// Logistic is the cross-entropy of scores in [0, 1] under the logistic function (fractional logit; Papke and Wooldridge 1996).
	Logistic Loss = iota
	// Squared is least squares, for what may lie outside of [0, 1], such as the difference of two scores.
	Squared
)

// minimum is the number of samples from which on something is fitted.
const minimum = 20

// ErrTooFew means that there are too few answers with signals to fit an estimate.
var ErrTooFew = errors.New("too few answers with signals")

// Fit fits the weights to train and the isotonic function to validation, by the signals of the given names, or, if there are none,
// by all that at least nine tenths of the samples of both have and that differ. The penalty of the weights is chosen by five-fold
// cross-validation. Samples that lack a signal are left out. Fewer than 20 samples of either are an ErrTooFew.
func Fit(train, validation []Sample, names []string, loss Loss) (*Estimate, error) {
	e, err := weigh(train, validation, names, loss)
	if err != nil {
		return nil, err
	}
	return e.Recalibrate(validation)
}

// Regress is Fit where there are no other samples to calibrate on: the regression alone, with the logistic function for the logistic loss.
// Of a few hundred samples it makes better calibrated scores than steps that are fitted to what was held out, leaves a choice of
// thresholds between them, and makes better cascades.
func Regress(samples []Sample, names []string, loss Loss) (*Estimate, error) {
	e, err := weigh(samples, samples, names, loss)
	if err != nil {
		return nil, err
	}
	if loss == Logistic {
		e.Link = LogisticLink
	}
	return e, e.Check()
}

// weigh fits the weights of an estimate to train.
func weigh(train, validation []Sample, names []string, loss Loss) (*Estimate, error) {
	if len(names) == 0 {
		names = Usable(train, validation)
	}
	names = slices.Sorted(slices.Values(names))
	train, validation = Complete(train, names), Complete(validation, names)
	if len(names) == 0 || len(train) < minimum || len(validation) < minimum {
		return nil, fmt.Errorf("estimate scores from the signals %q: %w: %d to fit weights, %d to calibrate; at least %d of each are needed", names, ErrTooFew, len(train), len(validation), minimum)
	}
	e := &Estimate{Signals: names}
	for _, name := range names {
		mean, deviation := moments(train, name)
		if deviation == 0 {
			deviation = 1 // a constant says nothing, and its weight stays 0
		}
		e.Center, e.Scale = append(e.Center, mean), append(e.Scale, deviation)
	}
	rows, targets := make([][]float64, len(train)), make([]float64, len(train))
	for i, s := range train {
		targets[i] = s.Score
		if loss == Logistic && !(s.Score >= 0 && s.Score <= 1) {
			return nil, fmt.Errorf("estimate scores: sample %d has score %v, outside of 0 to 1", i, s.Score)
		}
		row := []float64{1}
		for j, name := range names {
			row = append(row, (s.Signals[name]-e.Center[j])/e.Scale[j])
		}
		rows[i] = row
	}
	w := ridge(rows, targets, foldsOf(train), loss)
	e.Bias, e.Weights = w[0], w[1:]
	return e, nil
}

// Recalibrate returns an estimate with the same weights and an isotonic function fitted to samples. Samples that lack a signal are left
// out; if none are left, that is an error.
func (e *Estimate) Recalibrate(samples []Sample) (*Estimate, error) {
	var x, y []float64
	for _, s := range samples {
		if v, ok := e.combine(s.Signals); ok {
			x, y = append(x, v), append(y, s.Score)
		}
	}
	levels, err := FitIsotonic(x, y, nil)
	if err != nil {
		return nil, err
	}
	again := *e
	again.Levels, again.Link = &levels, ""
	return &again, again.Check()
}

// Usable lists the signals, in ascending order, that at least nine tenths of the samples of each part have and that differ on the first
// part.
func Usable(parts ...[]Sample) []string {
	var out []string
	for _, name := range Names(parts[0]) {
		have := true
		for _, samples := range parts {
			have = have && 10*len(Complete(samples, []string{name})) >= 9*len(samples)
		}
		if !have {
			continue
		}
		if _, deviation := moments(Complete(parts[0], []string{name}), name); deviation > 0 {
			out = append(out, name)
		}
	}
	return out
}

// Complete returns the samples that have all of the signals.
func Complete(samples []Sample, names []string) []Sample {
	var out []Sample
	for _, s := range samples {
		if !slices.ContainsFunc(names, func(name string) bool { v, ok := s.Signals[name]; return !ok || !finite(v) }) {
			out = append(out, s)
		}
	}
	return out
}

// moments are the mean and the standard deviation of a signal that all samples have.
func moments(samples []Sample, name string) (mean, deviation float64) {
	for _, s := range samples {
		mean += s.Signals[name] / float64(len(samples))
	}
	for _, s := range samples {
		deviation += (s.Signals[name] - mean) * (s.Signals[name] - mean) / float64(len(samples))
	}
	deviation = math.Sqrt(deviation)
	if deviation <= 1e-12*math.Abs(mean) {
		deviation = 0 // rounding
	}
	return mean, deviation
}

// Names lists the signals that samples have, in ascending order.
func Names(samples []Sample) []string {
	all := map[string]bool{}
	for _, s := range samples {
		for name := range s.Signals {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}
