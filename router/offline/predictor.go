package offline

import (
	"fmt"
	"math"

	"github.com/budgetmem/budgetmem/router"
)

// Predictor predicts the outcomes of combinations that were not measured, for measured questions, by Gaussian processes. It is safe for concurrent use.
type Predictor struct {
	experts []expert
	expert  []int // [episodes] index of its expert
	row     []int // [episodes] its row in that expert
}

// expert predicts for a group of questions.
type expert struct {
	scores, costs *GaussianProcess // costs predicts the square root of the dollars
}

// expertRows bounds the episodes that one model is fitted to: work grows with their cube, memory with their square. Where
// there are more, questions are divided, in their order, among several models.
const expertRows = 2000

// NewPredictor fits models to episodes. Episodes that do not fit the shape are an error.
func NewPredictor(shape router.Shape, episodes []router.Episode) (*Predictor, error) {
	return newPredictor(shape, episodes, expertRows)
}

func newPredictor(shape router.Shape, episodes []router.Episode, most int) (*Predictor, error) {
	fail := func(err error) (*Predictor, error) { return nil, fmt.Errorf("predict outcomes from episodes: %w", err) }
	shape, err := router.CheckEpisodes(shape, episodes)
	if err != nil {
		return fail(err)
	}
	p := &Predictor{expert: make([]int, len(episodes)), row: make([]int, len(episodes))}
	var group []router.Episode
	fit := func() error {
		e, err := newExpert(shape, group)
		p.experts, group = append(p.experts, e), nil
		return err
	}
	for _, rows := range byQuestion(episodes) {
		if len(group) > 0 && len(group)+len(rows) > most {
			if err := fit(); err != nil {
				return fail(err)
			}
		}
		for _, r := range rows {
			p.expert[r], p.row[r] = len(p.experts), len(group)
			group = append(group, episodes[r])
		}
	}
	if err := fit(); err != nil {
		return fail(err)
	}
	return p, nil
}

func newExpert(shape router.Shape, episodes []router.Episode) (e expert, err error) {
	scores, costs := make([]float64, len(episodes)), make([]float64, len(episodes))
	for i, e := range episodes {
		o := e.Outcome()
		scores[i], costs[i] = o.Score, math.Sqrt(o.Dollars)
	}
	gram, all := grams(shape, episodes), indices(len(episodes))
	if e.scores, err = fit(shape, episodes, gram, scores, all, fitOptions{}); err != nil {
		return e, fmt.Errorf("scores: %w", err)
	}
	if e.costs, err = fit(shape, episodes, gram, costs, all, fitOptions{}); err != nil {
		return e, fmt.Errorf("costs: %w", err)
	}
	return e, nil
}

// Predict returns the predicted outcome of choices, one tier for each module, in the place of the episode with the given index:
// a score in [0, 1] and dollars.
func (p *Predictor) Predict(episode int, choices []int) router.Outcome {
	e, row, one := p.experts[p.expert[episode]], p.row[episode], [][]int{choices}
	root := max(0, e.costs.predict(row, one)[0])
	return router.Outcome{Score: min(max(0, e.scores.predict(row, one)[0]), 1), Dollars: root * root}
}
