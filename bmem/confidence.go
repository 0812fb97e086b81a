package bmem

import (
	"errors"
	"fmt"
	"strings"

	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/cascade"
)

// ErrNoCalibration: WithMinConfidence or WithMinAnswerable was asked for, and there is no calibration of answers: neither
// Options.Calibration nor one of the policy's.
var ErrNoCalibration = errors.New("answers have no confidence without a calibration")

// ErrNoAnswerable: WithMinAnswerable was asked for, and the calibration has no probability that the memory answers a question: it was
// fitted without unanswerable ones (bmem calibrate --unanswerable).
var ErrNoAnswerable = errors.New("the calibration knows no unanswerable questions: fit it with 'bmem calibrate --unanswerable'")

// cascadeSpec is the policy of the memory's own calibration, alone or with a λ behind an @.
const cascadeSpec = "cascade"

// ownCascade reads the policies "cascade" and "cascade@0.3"; ok is false for others.
func (m *Memory) ownCascade(spec string) (p router.Policy, ok bool, err error) {
	rest, ok := strings.CutPrefix(spec, cascadeSpec)
	if !ok || rest != "" && rest[0] != '@' {
		return nil, false, nil
	}
	c := m.options.Calibration
	if c == nil {
		return nil, true, fmt.Errorf("policy %q: %w: name its file (cascade:FILE), which 'bmem calibrate' writes", spec, ErrNoCalibration)
	}
	lambda := 0.0
	if len(c.Points) > 0 {
		lambda = c.Points[0].Lambda
	}
	if rest != "" {
		if _, err := fmt.Sscanf(rest, "@%g", &lambda); err != nil {
			return nil, true, fmt.Errorf("policy %q: %q is no λ", spec, rest[1:])
		}
	}
	p, err = router.NewCascade(c, m.space, lambda)
	return p, true, err
}

// calibration is that of the memory, or else that of the policy; nil if there is none.
func (m *Memory) calibration(p router.Policy) *cascade.Calibration {
	if c, ok := p.(interface{ Calibration() *cascade.Calibration }); ok && m.options.Calibration == nil {
		return c.Calibration()
	}
	return m.options.Calibration
}

// judge sets what is known of how good an answer is, and withholds one that is not as sure as was asked for.
func (m *Memory) judge(a ask, answer *Answer) {
	answer.Confidence, answer.Answerable = judged(m.calibration(a.policy), answer.Trace, m.AnswerSamples())
	if below(answer.Confidence, a.minConfidence) || below(answer.Answerable, a.minAnswerable) {
		answer.Abstained, answer.Withheld, answer.Text = true, answer.Text, ""
	}
}

// below reports whether a value that is asked for is not reached, or not known.
func below(value, least *float64) bool { return least != nil && (value == nil || *value < *least) }

// judged are the expected score of a trace's answer and the probability that the memory answers the question; nil if the calibration is of
// other models or does not have them, or the answer came without signals.
func judged(c *cascade.Calibration, t Trace, samples int) (score, answerable *float64) {
	if c == nil {
		return nil, nil
	}
	reader := c.Index(t.Answer.Served)
	if reader < 0 || c.Readers[reader].Model != t.Answer.Model || t.Answer.Served == "" && c.Readers[reader].Samples != samples {
		return nil, nil
	}
	asked := cascade.Asked{Reader: reader, Signals: allSignals(t.Signals, t.Answer.Signals)}
	known := func(v float64, ok bool) *float64 {
		if !ok {
			return nil
		}
		return &v
	}
	return known(c.Confidence(asked)), known(c.Answerable(asked))
}
