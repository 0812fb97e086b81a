package router

import (
	"fmt"
	"math"
)

// Predictor predicts what combinations that are not traced would have brought for traced questions, by the outcome model of
// LearnOffline. It is safe for concurrent use.
type Predictor struct {
	experts []expert
	expert  []int // of each episode
	place   []int // of each episode, among its expert's
}

// expert predicts for a group of questions.
type expert struct {
	scores, costs *outcomeModel // of the scores, and of the roots of the dollars
}

// expertRows bounds the episodes that one model is fitted to: the work grows with the cube, the memory with the square. Where there
// are more, questions are divided, in their order, among several models.
const expertRows = 2000

// NewPredictor fits models to traced episodes.
func NewPredictor(shape Shape, logged []Logged) (*Predictor, error) {
	return newPredictor(shape, logged, expertRows)
}

func newPredictor(shape Shape, logged []Logged, most int) (*Predictor, error) {
	fail := func(err error) (*Predictor, error) { return nil, fmt.Errorf("predict outcomes from traces: %w", err) }
	shape, err := shapeOf(shape, logged)
	if err != nil {
		return fail(err)
	}
	p := &Predictor{expert: make([]int, len(logged)), place: make([]int, len(logged))}
	var group []Logged
	fit := func() error {
		e, err := newExpert(shape, group)
		p.experts, group = append(p.experts, e), nil
		return err
	}
	for _, rows := range byQuestion(logged) {
		if len(group) > 0 && len(group)+len(rows) > most {
			if err := fit(); err != nil {
				return fail(err)
			}
		}
		for _, r := range rows {
			p.expert[r], p.place[r] = len(p.experts), len(group)
			group = append(group, logged[r])
		}
	}
	if err := fit(); err != nil {
		return fail(err)
	}
	return p, nil
}

func newExpert(shape Shape, logged []Logged) (e expert, err error) {
	scores, costs := make([]float64, len(logged)), make([]float64, len(logged))
	for i, l := range logged {
		scores[i], costs[i] = l.Outcome.Score, math.Sqrt(l.Outcome.Dollars)
	}
	gram, all := grams(shape, logged), upTo(len(logged), len(logged))
	if e.scores, err = fitOutcome(shape, logged, gram, scores, all, false, 0); err != nil {
		return e, fmt.Errorf("scores: %w", err)
	}
	if e.costs, err = fitOutcome(shape, logged, gram, costs, all, false, 0); err != nil {
		return e, fmt.Errorf("costs: %w", err)
	}
	return e, nil
}

// Predict returns what choices would have brought in the place of the episode at an index: a score in [0, 1], and dollars.
func (p *Predictor) Predict(episode int, choices []int) Outcome {
	e, at, one := p.experts[p.expert[episode]], p.place[episode], [][]int{choices}
	root := max(0, e.costs.predict(at, one)[0])
	return Outcome{Score: min(max(0, e.scores.predict(at, one)[0]), 1), Dollars: root * root}
}
