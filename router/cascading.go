package router

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/router/confidence"
)

// Answered is an answer that a question has: the tier of the last module that wrote it, and the signals it came with.
type Answered struct {
	Tier    int // an index of the module's tiers
	Signals confidence.Signals
}

// Answered is the episode's answer as a cascading policy sees it: by the tier of the last module, with all signals.
func (e Episode) Answered() Answered {
	a := Answered{Tier: e.Choices[len(e.Choices)-1], Signals: confidence.Signals{}}
	maps.Copy(a.Signals, e.Signals)
	maps.Copy(a.Signals, e.AnswerSignals)
	return a
}

// Cascading is a Policy that looks at an answer before it counts, and may have another tier of the last module answer too. The last
// answer counts.
type Cascading interface {
	Policy
	// Next returns the tier to ask after those that have answered, in the order of asking; ok is false if the answers are good enough.
	// dollars is what the question cost so far.
	Next(answered []Answered, dollars float64) (tier int, ok bool)
}

// answers decides between the tiers of the last module by a calibration. Without one, the first answer is good enough.
type answers struct {
	calibration *cascade.Calibration
	tiers       []string // of the last module
	lambda      float64
}

// newAnswers returns what decides between the last module's tiers of a space. A calibration that has none of them is an error.
func newAnswers(c *cascade.Calibration, space Space, lambda float64) (answers, error) {
	a := answers{calibration: c, lambda: lambda}
	if c == nil {
		return a, nil
	}
	last := space[len(space)-1]
	for _, r := range c.Readers {
		if !slices.Contains(last.Tiers, r.Tier) {
			return a, fmt.Errorf("the calibration is for answers of tier %q, which module %s does not have; it has %v", r.Tier, last.Name, last.Tiers)
		}
	}
	a.tiers = last.Tiers
	return a, nil
}

// asked are answers as the calibration knows them.
func (a answers) asked(answered []Answered) []cascade.Asked {
	out := make([]cascade.Asked, len(answered))
	for i, x := range answered {
		out[i] = cascade.Asked{Reader: -1, Signals: x.Signals} // of a tier that the calibration does not know
		if x.Tier >= 0 && x.Tier < len(a.tiers) {
			out[i].Reader = a.calibration.Index(a.tiers[x.Tier])
		}
	}
	return out
}

// Calibration is what answers are judged by; nil for a router without one.
func (a answers) Calibration() *cascade.Calibration { return a.calibration }

// Next implements Cascading.
func (a answers) Next(answered []Answered, dollars float64) (tier int, ok bool) {
	if a.calibration == nil {
		return 0, false
	}
	reader, ok := a.calibration.Next(a.asked(answered), a.lambda, dollars)
	if !ok {
		return 0, false
	}
	return slices.Index(a.tiers, a.calibration.Readers[reader].Tier), true
}

// Cascade is a policy without a network: the tiers of a calibration's point for all modules, and better answers where they pay.
type Cascade struct {
	*Static
	answers
	space Space
}

// NewCascade returns the cascade of a calibration at a λ of at least 0. A calibration without points, or for other modules or tiers
// than those of space, is an error.
func NewCascade(c *cascade.Calibration, space Space, lambda float64) (*Cascade, error) {
	if c == nil || len(c.Points) == 0 {
		return nil, fmt.Errorf("cascade: the calibration says nothing of how a cascade begins; fit it to traces with several tiers of answers")
	}
	if !(lambda >= 0) {
		return nil, fmt.Errorf("cascade: λ is %v, must not be negative", lambda)
	}
	choices, err := space.Choices(c.At(lambda).Tiers)
	if err != nil {
		return nil, fmt.Errorf("cascade: the calibration is for another tier set: %w", err)
	}
	static, err := NewStatic(space, choices)
	if err != nil {
		return nil, err
	}
	a, err := newAnswers(c, space, lambda)
	if err != nil {
		return nil, fmt.Errorf("cascade: %w", err)
	}
	return &Cascade{static, a, space}, nil
}

// openCascade reads FILE or FILE@λ; without λ it is the smallest of the calibration's points.
func openCascade(spec string, space Space) (*Cascade, error) {
	file, lambda, given := cutLambda(spec)
	c, err := cascade.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !given && len(c.Points) > 0 {
		lambda = c.Points[0].Lambda
	}
	return NewCascade(c, space, lambda)
}

// At returns the cascade at another λ. A λ below 0 is an error.
func (c *Cascade) At(lambda float64) (*Cascade, error) {
	return NewCascade(c.calibration, c.space, lambda)
}

// Lambda is the weight of cost against score that the cascade decides with.
func (c *Cascade) Lambda() float64 { return c.lambda }

// Name implements Policy: "cascade@0.3" at λ = 0.3.
func (c *Cascade) Name() string { return "cascade@" + strconv.FormatFloat(c.lambda, 'g', -1, 64) }

// Decide implements Policy. It never fails.
func (c *Cascade) Decide(ctx context.Context, s State) (int, error) { return c.Static.Decide(ctx, s) }
