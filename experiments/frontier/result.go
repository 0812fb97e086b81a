package frontier

import (
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/router/offline"
	"github.com/budgetmem/budgetmem/router/portable"
)

// Options says what is compared.
type Options struct {
	// Static assignments are chosen on Validation; all policies are compared on Test.
	Validation, Test *episodes.Replay
	// Train, if not nil, has further questions that the regressions are fitted to, beside those of Validation.
	Train *episodes.Replay
	// Routers are the trained policies, by family.
	Routers []Family
	// Cascades are fitted calibrations; one that is fitted to Validation with all signals is always compared beside them.
	Cascades []Cascade
	// Reward computes the returns of all policies; nil means one with alignment that has observed the validation traces.
	Reward *router.Reward
	// Lambdas are the weights of cost at which policies that depend on λ are evaluated; nil means DefaultLambdas. A router is
	// evaluated at the nearest λ of the range that it was trained for.
	Lambdas []float64
	// Seed drives the random policy and the bootstrap. With the seed of the collection, the random policy's combinations are
	// the first ones of the design random:K, and traced.
	Seed int64
	// InFlight is the number of questions asked at one time (default 8).
	InFlight int
	// Progress, if not nil, is called after each of the total evaluations of a policy on a test question, never concurrently.
	Progress func(done, total int)
}

// Family is a set of routers that differ only in the seed of their training.
type Family struct {
	Name  string
	Seeds []*portable.Router
}

// Cascade is a calibration whose cascade is compared at each λ.
type Cascade struct {
	Name        string
	Calibration *cascade.Calibration
}

// DefaultLambdas returns the λs of a comparison.
func DefaultLambdas() []float64 {
	return []float64{0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1}
}

// curveResamples is the number of bootstrap resamples behind the intervals of curves.
const curveResamples = 1000

// Result is a comparison.
type Result struct {
	Dataset   string `json:"dataset"`
	Split     string `json:"split"`
	Metric    string `json:"metric"`
	Questions int    `json:"questions"` // number of questions compared
	// Of is the number of all questions; those on which some policy failed are left out.
	Of      int            `json:"of"`
	Seed    int64          `json:"seed"`
	Lambdas []float64      `json:"lambdas"` // λs of the comparison
	System  map[string]any `json:"system,omitempty"`
	// Scale is the reward's α.
	Scale float64 `json:"reward_scale"`
	// Weak and Strong are the policies that curves are measured between.
	Weak   string `json:"weak"`
	Strong string `json:"strong"`
	// StaticSearch says how the static assignments were found.
	StaticSearch string `json:"static_search"`
	// Validated lists the differences of system and data set between validation and test traces; "" if there are none.
	Validated string `json:"validation_differs,omitempty"`
	// Explained decomposes the variance of validation scores where static assignments were found by an estimate.
	Explained *offline.Explained `json:"explained,omitempty"`
	// Modules are the decisions, in the order of the points' shares.
	Modules router.Space `json:"modules"`
	Entries []Entry      `json:"entries"`
	// Luck is measured where the test traces hold several draws of answers; nil elsewhere.
	Luck *Luck `json:"luck,omitempty"`
	// Verdicts compare each trained family with the best static assignments.
	Verdicts []Verdict `json:"verdicts,omitempty"`
}

// Entry is a policy, or a family of policies over λ.
type Entry struct {
	Name string `json:"name"`
	// Unreachable marks the oracle, Trained routers.
	Unreachable bool `json:"unreachable,omitempty"`
	Trained     bool `json:"trained,omitempty"`
	// Seeds is the number of trainings that the entry averages; 1 for policies without training.
	Seeds  int     `json:"seeds"`
	Points []Point `json:"points"`
	// Curve holds measures of the points, means over seeds; the 95 % intervals are over questions and seeds.
	Curve          Curve                 `json:"curve"`
	CurveIntervals map[string][2]float64 `json:"curve_intervals"`
	// AreaVersus is the difference of the area to that of the best static assignments, ReturnVersus that of the mean return
	// over the λs; nil for the static assignments themselves.
	AreaVersus   *Difference `json:"area_versus_static,omitempty"`
	ReturnVersus *Difference `json:"return_versus_static,omitempty"`
	// MeanReturn is the mean return over the λs.
	MeanReturn float64 `json:"mean_return"`
	// Counts says where the outcomes come from.
	Counts episodes.Counts `json:"counts"`
}

// Difference is a mean difference with its 95 % bootstrap intervals [low, high]: over questions with fixed seeds, and over
// questions and seeds.
type Difference struct {
	Mean      float64    `json:"mean"`
	Questions [2]float64 `json:"interval_questions"`
	Seeds     [2]float64 `json:"interval_questions_and_seeds"`
}

// Point is a policy at a λ, with its mean score and dollars per question; Lambda is nil for a policy that does not depend on λ.
type Point struct {
	Name    string         `json:"name"`
	Lambda  *float64       `json:"lambda,omitempty"`
	Score   stats.Interval `json:"score"`
	Dollars float64        `json:"dollars"`
	Return  float64        `json:"return"` // at Lambda
	// Versus is the difference of the return to that of the static assignment of this λ, question by question.
	Versus *stats.Interval `json:"return_versus_static,omitempty"`
	// Shares[m][t] is the share of the questions that requested tier t of module m.
	Shares [][]float64 `json:"shares"`
}
