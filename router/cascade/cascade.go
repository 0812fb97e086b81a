// Package cascade decides whether an answer is good enough, or a better model should be asked too. It uses the standard library
// alone.
//
// A Calibration is fitted to measured answers (`bmem calibrate`) and kept in a file. For each way of answering, a Reader, it has the
// expected score of an answer by its signals, and the expected gain of asking another reader as well (package confidence). After an
// answer, Next asks for another one if that pays: if with λ, the weight of cost against score,
//
//	α·gain > λ·(e(spent) − e(spent + price))    e the efficiency of all dollars of the question
//
// so both calls are in the cost. The last answer counts: two estimates that were fitted to different signals are no measure of which
// answer is better, and choosing by them lost on LoCoMo's validation questions. This is the cascade of
// FrugalGPT (Chen, Zaharia and Zou 2023) with the return that routers are trained for in place of thresholds.
package cascade

import (
	"cmp"
	"math"
	"slices"

	"github.com/budgetmem/budgetmem/router/confidence"
)

// Reader is one way of writing an answer.
type Reader struct {
	// Tier is the name of the tier of the module that answers; "" in a system that answers in one way.
	Tier string `json:"tier,omitempty"`
	// Model is the name of the model that answers, and Samples the number of replies that it samples, 0 for one that is not sampled.
	Model   string `json:"model"`
	Samples int    `json:"samples,omitempty"`
	// Dollars is the mean price of an answer.
	Dollars float64 `json:"dollars"`
	// Score is the expected score of an answer by its signals.
	Score *confidence.Estimate `json:"score"`
	// Gains are the expected differences of score, by the signals of this reader's answer, between another reader's answer and its
	// own; by the other's tier.
	Gains map[string]*confidence.Estimate `json:"gains,omitempty"`
	// Answerable is the probability that the memory answers the question, by the signals of this reader's answer; nil where no
	// unanswerable questions were measured.
	Answerable *confidence.Estimate `json:"answerable,omitempty"`
	// Measured says how good Score is on the questions that it was calibrated on.
	Measured Measured `json:"measured"`
}

// Measured are the measures of package confidence for a reader's answers.
type Measured struct {
	// Fitted and Calibrated count the answers that the weights and the isotonic function were fitted to.
	Fitted     int `json:"fitted"`
	Calibrated int `json:"calibrated"`
	// Score is the mean score of the calibrated ones.
	Score float64 `json:"score"`
	// CalibrationError has ten bins, AUROC tells answers that score at least one half from others; nil if all or none do. Both are
	// cross-validated: half of the histories, or of the questions about a single one, is judged by what was fitted to the other half.
	CalibrationError float64  `json:"calibration_error"`
	AUROC            *float64 `json:"auroc,omitempty"`
}

// Asked is an answer that is there.
type Asked struct {
	// Reader is the index of its reader, and Signals what it shows of itself; nil if nothing is known.
	Reader  int
	Signals confidence.Signals
}

// Confidence is the expected score of an answer to a question that the memory answers, in [0, 1]. It returns false if the reader has no
// estimate or a signal is missing.
func (c *Calibration) Confidence(a Asked) (float64, bool) {
	return c.share(a, func(r *Reader) *confidence.Estimate { return r.Score })
}

// Answerable is the probability that the memory answers the question of an answer. It returns false if the reader has no estimate or a
// signal is missing.
func (c *Calibration) Answerable(a Asked) (float64, bool) {
	return c.share(a, func(r *Reader) *confidence.Estimate { return r.Answerable })
}

// KnowsAnswerable reports whether a reader has a probability of being answerable.
func (c *Calibration) KnowsAnswerable() bool {
	return slices.ContainsFunc(c.Readers, func(r Reader) bool { return r.Answerable != nil })
}

func (c *Calibration) share(a Asked, of func(*Reader) *confidence.Estimate) (float64, bool) {
	if a.Reader < 0 || a.Reader >= len(c.Readers) {
		return 0, false
	}
	e := of(&c.Readers[a.Reader])
	if e == nil {
		return 0, false
	}
	v, ok := e.Value(a.Signals)
	return min(max(v, 0), 1), ok
}

// Next returns the reader to ask after those that were asked, if one pays at λ; spent are the dollars of the question so far. Readers
// are asked in their order, and one may be left out. What is known of the last answer decides.
func (c *Calibration) Next(asked []Asked, lambda, spent float64) (reader int, ok bool) {
	if len(asked) == 0 || c.Reward == nil {
		return 0, false
	}
	last := asked[len(asked)-1]
	if last.Reader < 0 || last.Reader >= len(c.Readers) {
		return 0, false
	}
	best := 0.0
	for other := last.Reader + 1; other < len(c.Readers); other++ {
		r := &c.Readers[other]
		estimate := c.Readers[last.Reader].Gains[r.Tier]
		if estimate == nil {
			continue
		}
		gain, known := estimate.Value(last.Signals)
		if !known {
			continue
		}
		worth := c.Reward.Scale*gain - lambda*(c.Reward.Efficiency(spent)-c.Reward.Efficiency(spent+r.Dollars))
		if worth > best {
			best, reader, ok = worth, other, true
		}
	}
	return reader, ok
}

// Index is the index of the reader with a tier's name, -1 if there is none.
func (c *Calibration) Index(tier string) int {
	return slices.IndexFunc(c.Readers, func(r Reader) bool { return r.Tier == tier })
}

// Reward is the return that a question's score and price earn at a λ, with the percentiles of a training or comparison:
//
//	return = Scale·score + λ·e        e = 1 − clip((√dollars − Low) / (High − Low), 0, 1)
type Reward struct {
	Scale float64 `json:"scale"`
	// Low and High are percentiles of √dollars.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Efficiency is e for the price of a question in dollars, in [0, 1].
func (r Reward) Efficiency(dollars float64) float64 {
	c := math.Sqrt(dollars)
	if c <= r.Low {
		return 1 // also when all costs are the same
	}
	if c >= r.High {
		return 0
	}
	return 1 - (c-r.Low)/(r.High-r.Low)
}

// Return is the return of a score and a price in dollars at λ.
func (r Reward) Return(score, dollars, lambda float64) float64 {
	return r.Scale*score + lambda*r.Efficiency(dollars)
}

// Point is what is decided before the first answer at a λ, and the mean result on validation questions.
type Point struct {
	Lambda float64 `json:"lambda"`
	// Tiers are the names of the modules' tiers, the first answer's last.
	Tiers   []string `json:"tiers"`
	Dollars float64  `json:"dollars"`
	Score   float64  `json:"score"`
}

// At returns the point nearest to λ; of two the one of the smaller λ. There must be one.
func (c *Calibration) At(lambda float64) Point {
	return slices.MinFunc(c.Points, func(a, b Point) int {
		return cmp.Compare(math.Abs(a.Lambda-lambda), math.Abs(b.Lambda-lambda))
	})
}

// LambdaFor returns the smallest λ of the points at which a question costs at most the given dollars on average. It returns false if
// there is none.
func (c *Calibration) LambdaFor(dollars float64) (float64, bool) {
	for _, p := range c.Points {
		if p.Dollars <= dollars {
			return p.Lambda, true
		}
	}
	return 0, false
}
