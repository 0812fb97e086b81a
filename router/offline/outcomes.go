package offline

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/budgetmem/budgetmem/router"
)

// outcomes holds the estimated outcome of every combination of tiers in the place of each episode: predicted, and corrected
// by what was measured.
type outcomes struct {
	shape        router.Shape
	episodes     []router.Episode
	reward       *router.Reward
	unit         float64     // returns are divided by it, so that the entropy's weight does not depend on their unit
	combinations [][]int     // [A][modules]
	score        [][]float32 // [rows][A], times α
	efficiency   [][]float32 // [rows][A]
	handicap     []float32   // [A], see handicaps

	scores, efficiencies *GaussianProcess // the models that predicted them
}

func newOutcomes(shape router.Shape, episodes []router.Episode, reward *router.Reward, cfg Config) (*outcomes, error) {
	t := &outcomes{shape: shape, episodes: episodes, reward: reward}
	var err error
	if t.combinations, err = shape.Modules.Combinations(); err != nil {
		return nil, err
	}
	t.handicap = handicaps(t.combinations, shape, GainOf(episodes))
	scores, efficiencies := returnParts(reward, episodes)
	if t.unit = max(stat.PopStdDev(scores, nil), stat.PopStdDev(efficiencies, nil)); t.unit == 0 {
		t.unit = 1
	}
	gram := grams(shape, episodes)
	if t.scores, t.score, err = t.fill(gram, scores, cfg); err != nil {
		return nil, fmt.Errorf("scores: %w", err)
	}
	if t.efficiencies, t.efficiency, err = t.fill(gram, efficiencies, cfg); err != nil {
		return nil, fmt.Errorf("costs: %w", err)
	}
	return t, nil
}

// returnParts returns α·score and the efficiency of each episode, which λ combines to its return.
func returnParts(r *router.Reward, episodes []router.Episode) (scores, efficiencies []float64) {
	for _, e := range episodes {
		o := e.Outcome()
		scores = append(scores, r.Scale()*o.Score)
		efficiencies = append(efficiencies, r.Efficiency(o.Dollars))
	}
	return scores, efficiencies
}

// fill predicts and corrects one value for every row and combination.
func (t *outcomes) fill(gram []*mat.SymDense, values []float64, cfg Config) (*GaussianProcess, [][]float32, error) {
	p, err := fit(t.shape, t.episodes, gram, values, indices(len(values)), fitOptions{seed: uint64(cfg.Seed)})
	if err != nil {
		return nil, nil, err
	}
	return p, t.correct(p, values, cfg), nil
}

// correct returns a model's predictions for every row and combination, corrected by the rows' values.
func (t *outcomes) correct(p *GaussianProcess, values []float64, cfg Config) [][]float32 {
	// All measured outcomes of a question correct each of its rows; a combination measured twice counts by its mean.
	rows, times, distinct := map[string][]int{}, map[string]float64{}, map[string]float64{}
	for i, e := range t.episodes {
		rows[e.ID] = append(rows[e.ID], i)
		if times[key(e)]++; times[key(e)] == 1 {
			distinct[e.ID]++
		}
	}
	index := map[string]int{} // of a combination
	for c, choices := range t.combinations {
		index[fmt.Sprint(choices)] = c
	}
	out := make([][]float32, len(t.episodes))
	for i, e := range t.episodes {
		predicted := p.predict(i, t.combinations)
		corrected := append([]float64(nil), predicted...)
		for _, o := range rows[e.ID] {
			other := t.episodes[o]
			propensity := other.Propensity
			if propensity == 0 {
				propensity = distinct[e.ID] / float64(len(t.combinations))
			}
			c := index[fmt.Sprint(other.Choices)]
			corrected[c] += min(1/propensity, cfg.MaxWeight) / times[key(other)] * (values[o] - predicted[c])
		}
		out[i] = make([]float32, len(corrected))
		for c, v := range corrected {
			out[i][c] = float32(v)
		}
	}
	return out
}

// key identifies a question's combination.
func key(e router.Episode) string { return fmt.Sprint(e.ID, e.Choices) }

// indices lists 0 … n−1.
func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// Estimate is the estimated outcome of one combination of tiers for all questions, as means over the questions.
type Estimate struct {
	Choices []int
	// Score is scaled by the reward's α, so that Score + λ·Efficiency is the mean return.
	Score, Efficiency float64
	// ScoreVariance and EfficiencyVariance are the posterior variances of the combination's effect. They are small where
	// the combination, or others that share its tiers, are measured often.
	ScoreVariance, EfficiencyVariance float64
}

// Return is the mean return at λ.
func (e Estimate) Return(lambda float64) float64 { return e.Score + lambda*e.Efficiency }

// LowerBound is the return at λ minus its standard deviation. Choosing by it avoids combinations that look best by luck
// because they were hardly measured.
func (e Estimate) LowerBound(lambda float64) float64 {
	return e.Return(lambda) - math.Sqrt(e.ScoreVariance+lambda*lambda*e.EfficiencyVariance)
}

// Estimates holds an estimate for each combination of tiers, and what the measured scores depend on.
type Estimates struct {
	Combinations []Estimate
	Scores       Explained
}

// EstimateCombinations estimates the outcome of every combination of tiers if all questions used it: what is measured
// counts as measured, and a GaussianProcess predicts the rest. Each question counts once, however many episodes it has.
// Episodes that do not fit the shape, and shapes with more than 4,096 combinations, are errors.
func EstimateCombinations(shape router.Shape, episodes []router.Episode, reward *router.Reward) (*Estimates, error) {
	fail := func(err error) (*Estimates, error) {
		return nil, fmt.Errorf("estimate combinations from episodes: %w", err)
	}
	shape, err := router.CheckEpisodes(shape, episodes)
	if err != nil {
		return fail(err)
	}
	t, err := newOutcomes(shape, episodes, reward, DefaultConfig())
	if err != nil {
		return fail(err)
	}
	rows := map[string]float64{}
	for _, e := range episodes {
		rows[e.ID]++
	}
	weights := make([]float64, len(episodes))
	for i, e := range episodes {
		weights[i] = 1 / rows[e.ID] / float64(len(rows))
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
	return &Estimates{out, t.scores.Explained()}, nil
}
