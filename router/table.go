package router

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// Logged is one traced episode: what each decision looked at, what was chosen, and what came of it.
type Logged struct {
	// Question numbers the question; episodes of one question have the same number.
	Question int
	// Query [dim] and Memory, one embedding [dim] a state of the shape or nil for nothing found, are what was looked at.
	Query  []float32
	Memory [][]float32
	// Choices has one tier a module.
	Choices []int
	Outcome Outcome
	// Propensity is the chance that this combination of the question was traced, in (0, 1]. 0 stands for traces drawn evenly:
	// the question's different combinations over all there are.
	Propensity float64
}

// shapeOf returns the shape with its defaults, and refuses traces that are not of it.
func shapeOf(shape Shape, logged []Logged) (Shape, error) {
	shape, err := shape.withDefaults()
	if err != nil {
		return shape, err
	}
	return shape, checkLogged(shape, logged)
}

func checkLogged(shape Shape, logged []Logged) error {
	if len(logged) == 0 {
		return errors.New("there are no traces")
	}
	for i, l := range logged {
		bad := len(l.Query) != shape.Dim || len(l.Memory) != shape.states() || len(l.Choices) != len(shape.Modules)
		for _, m := range l.Memory {
			bad = bad || len(m) != 0 && len(m) != shape.Dim
		}
		if bad {
			return fmt.Errorf("trace %d: query of %d numbers, %d memories, %d choices; the router has dim %d, %d states, %d modules",
				i, len(l.Query), len(l.Memory), len(l.Choices), shape.Dim, shape.states(), len(shape.Modules))
		}
		for m, c := range l.Choices {
			if c < 0 || c >= len(shape.Modules[m].Tiers) {
				return fmt.Errorf("trace %d: module %s has no tier %d", i, shape.Modules[m].Name, c)
			}
		}
		if !l.Outcome.valid() || !(l.Propensity >= 0 && l.Propensity <= 1) {
			return fmt.Errorf("trace %d: score %v, dollars %v, propensity %v are out of range", i, l.Outcome.Score, l.Outcome.Dollars, l.Propensity)
		}
	}
	return nil
}

// rewardOf is the reward that has seen the traces' outcomes.
func rewardOf(logged []Logged, align bool) *Reward {
	outcomes := make([]Outcome, len(logged))
	for i, l := range logged {
		outcomes[i] = l.Outcome
	}
	r := NewReward(align)
	r.Observe(outcomes...)
	return r
}

// parts returns α·score and the efficiency of each trace, of which λ makes its return.
func (r *Reward) parts(logged []Logged) (scores, efficiencies []float64) {
	for _, l := range logged {
		scores = append(scores, r.Scale()*l.Outcome.Score)
		efficiencies = append(efficiencies, r.Efficiency(l.Outcome.Dollars))
	}
	return scores, efficiencies
}

// table holds what every combination of tiers is held to bring in the place of each traced episode.
type table struct {
	shape        Shape
	logged       []Logged
	reward       *Reward
	unit         float64     // returns are divided by it, so that the entropy weighs the same whatever they are measured in
	combinations [][]int     // [A][modules]
	score        [][]float32 // [rows][A], times α
	efficiency   [][]float32 // [rows][A]

	scores, efficiencies *outcomeModel // what they were predicted by
}

func newTable(shape Shape, logged []Logged, reward *Reward, cfg OfflineConfig) (*table, error) {
	t := &table{shape: shape, logged: logged, reward: reward}
	var err error
	if t.combinations, err = shape.Modules.Combinations(); err != nil {
		return nil, err
	}
	scores, efficiencies := reward.parts(logged)
	if t.unit = max(std(scores), std(efficiencies)); t.unit == 0 {
		t.unit = 1
	}
	gram := grams(shape, logged)
	if t.scores, t.score, err = t.fill(gram, scores, cfg); err != nil {
		return nil, fmt.Errorf("scores: %w", err)
	}
	if t.efficiencies, t.efficiency, err = t.fill(gram, efficiencies, cfg); err != nil {
		return nil, fmt.Errorf("costs: %w", err)
	}
	return t, nil
}

// Estimate is what a combination of tiers is held to bring if all questions get it: means of a question.
type Estimate struct {
	Choices []int
	// Score is scaled by the reward's α, so that Score + λ·Efficiency is the mean return.
	Score, Efficiency float64
	// ScoreVariance and EfficiencyVariance say how little is known: the outcome model's posterior variances of the combination's
	// effect. They are small where the combination, or ones that share its tiers, are traced often.
	ScoreVariance, EfficiencyVariance float64
}

// Return is the mean return at λ.
func (e Estimate) Return(lambda float64) float64 { return e.Score + lambda*e.Efficiency }

// AtLeast is the return less its standard deviation. To choose by it is to mistrust what is not traced: of many combinations
// that were hardly tried, the one that looks best owes that to luck.
func (e Estimate) AtLeast(lambda float64) float64 {
	return e.Return(lambda) - math.Sqrt(e.ScoreVariance+lambda*lambda*e.EfficiencyVariance)
}

// Estimates are those of all combinations, and what the traced scores depend on.
type Estimates struct {
	Combinations []Estimate
	Scores       Explained
}

// EstimateCombinations estimates from traces what every combination of tiers would bring if all questions got it: what is
// traced counts as traced, and the outcome model of LearnOffline predicts the rest. A question counts once, however many
// traces it has.
func EstimateCombinations(shape Shape, logged []Logged, reward *Reward) (*Estimates, error) {
	fail := func(err error) (*Estimates, error) {
		return nil, fmt.Errorf("estimate combinations from traces: %w", err)
	}
	shape, err := shapeOf(shape, logged)
	if err != nil {
		return fail(err)
	}
	cfg := DefaultOffline()
	t, err := newTable(shape, logged, reward, cfg)
	if err != nil {
		return fail(err)
	}
	rows := map[int]float64{}
	for _, l := range logged {
		rows[l.Question]++
	}
	weights := make([]float64, len(logged))
	for i, l := range logged {
		weights[i] = 1 / rows[l.Question] / float64(len(rows))
	}
	scores, err := t.scores.variances(weights, t.combinations)
	if err != nil {
		return fail(err)
	}
	efficiencies, err := t.efficiencies.variances(weights, t.combinations)
	if err != nil {
		return fail(err)
	}
	out := make([]Estimate, len(t.combinations))
	for c, choices := range t.combinations {
		out[c] = Estimate{Choices: choices, ScoreVariance: scores[c], EfficiencyVariance: efficiencies[c]}
		for i, w := range weights {
			out[c].Score += w * float64(t.score[i][c])
			out[c].Efficiency += w * float64(t.efficiency[i][c])
		}
	}
	return &Estimates{out, t.scores.explained()}, nil
}

// key identifies a question's combination.
func (l Logged) key() string { return fmt.Sprint(l.Question, l.Choices) }

// fill predicts and corrects one value for every row and combination.
func (t *table) fill(gram []*mat.SymDense, values []float64, cfg OfflineConfig) (*outcomeModel, [][]float32, error) {
	m, err := fitOutcome(t.shape, t.logged, gram, values, upTo(len(values), len(values)), false, uint64(cfg.Seed))
	if err != nil {
		return nil, nil, err
	}
	return m, t.correct(m, values, cfg), nil
}

// correct returns a model's predictions for every row and combination, corrected by the rows' values.
func (t *table) correct(m *outcomeModel, values []float64, cfg OfflineConfig) [][]float32 {
	// All of a question's traced outcomes correct each of its rows; equal choices traced twice count by their mean.
	rows, times, distinct := map[int][]int{}, map[string]float64{}, map[int]float64{}
	for i, l := range t.logged {
		rows[l.Question] = append(rows[l.Question], i)
		if times[l.key()]++; times[l.key()] == 1 {
			distinct[l.Question]++
		}
	}
	place := map[string]int{}
	for c, choices := range t.combinations {
		place[fmt.Sprint(choices)] = c
	}
	out := make([][]float32, len(t.logged))
	for i, l := range t.logged {
		predicted := m.predict(i, t.combinations)
		corrected := append([]float64(nil), predicted...)
		for _, o := range rows[l.Question] {
			other := t.logged[o]
			propensity := other.Propensity
			if propensity == 0 {
				propensity = distinct[l.Question] / float64(len(t.combinations))
			}
			c := place[fmt.Sprint(other.Choices)]
			corrected[c] += min(1/propensity, cfg.MaxWeight) / times[other.key()] * (values[o] - predicted[c])
		}
		out[i] = floats32(corrected)
	}
	return out
}

func floats32(v []float64) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}
