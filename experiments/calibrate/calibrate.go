// Package calibrate fits, to traces, the estimates by which answers get a confidence and better models are asked where that pays
// (router/cascade).
package calibrate

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/cascade"
)

// Options says what is fitted.
type Options struct {
	// Weights are fitted to Train, isotonic functions to Validation. With no Train, regressions alone are fitted to Validation.
	Train, Validation *episodes.File
	// Unanswerable are questions that the memories do not answer. The probability that one does is fitted to these and Validation; nil for
	// none.
	Unanswerable *episodes.File
	// Models are the names of the models that answer, one for each tier of the answer; a single one answers all.
	Models []string
	// Samples are the numbers of replies that the tiers sample, 0 for one; nil for one each.
	Samples []int
	// Signals are the names of the signals that are used, of which each reader has those that its answers come with; nil uses all that
	// nine tenths of the answers have.
	Signals []string
	// Lambdas are the weights of cost for which it is chosen how a cascade begins; nil means none.
	Lambdas []float64
	// Note is for people.
	Note string
}

// answerModule is the name of the module that answers.
const answerModule = "answer"

// readers lists the ways of answering of a space: the tiers of its module that answers, or the one way of systems without.
func readers(space router.Space, o Options) ([]cascade.Reader, error) {
	tiers := []string{""}
	if last := space[len(space)-1]; last.Name == answerModule {
		tiers = last.Tiers
	}
	if len(o.Models) != 1 && len(o.Models) != len(tiers) {
		return nil, fmt.Errorf("%d models for the %d ways of answering %q", len(o.Models), len(tiers), tiers)
	}
	if o.Samples != nil && len(o.Samples) != len(tiers) {
		return nil, fmt.Errorf("numbers of samples for %d of the %d ways of answering %q", len(o.Samples), len(tiers), tiers)
	}
	var out []cascade.Reader
	for i, tier := range tiers {
		r := cascade.Reader{Tier: tier, Model: o.Models[min(i, len(o.Models)-1)]}
		if o.Samples != nil {
			r.Samples = o.Samples[i]
		}
		out = append(out, r)
	}
	return out, nil
}

// Measured groups a file's episodes by question and notes: those that differ in the tier of the answer alone. notes holds the tiers
// of the other modules of each measurement.
func Measured(f *episodes.File) (measured []cascade.Measurement, notes [][]int) {
	last := len(f.Space) - 1
	routed, readers := f.Space[last].Name == answerModule, 1
	if routed {
		readers = len(f.Space[last].Tiers)
	}
	at := map[string]int{}
	for _, e := range f.Episodes {
		others, reader := e.Choices, 0
		if routed {
			others, reader = e.Choices[:last], e.Choices[last]
		}
		k := fmt.Sprint(e.ID, others)
		i, ok := at[k]
		if !ok {
			i = len(measured)
			at[k] = i
			measured = append(measured, cascade.Measurement{Question: e.ID, History: episodes.HistoryOf(e.ID), Dollars: e.ModulesDollars, Answers: make([]*cascade.Measure, readers)})
			notes = append(notes, others)
		}
		measured[i].Answers[reader] = &cascade.Measure{Signals: e.Answered().Signals, Score: e.Score, Dollars: e.AnswerDollars}
	}
	return measured, notes
}

// Fit fits a calibration. Files of different systems or without signals, and too few questions, are errors; match them with
// cascade.ErrNoSignals and confidence.ErrTooFew.
func Fit(o Options) (*cascade.Calibration, error) {
	fail := func(err error) (*cascade.Calibration, error) { return nil, fmt.Errorf("calibrate answers: %w", err) }
	if o.Validation == nil {
		return fail(errors.New("there are no validation traces"))
	}
	h := o.Validation.Header
	validation, notes := Measured(o.Validation)
	var train []cascade.Measurement
	if o.Train != nil {
		of := o.Train.Header
		of.Split = h.Split
		if diff := episodes.Difference(of, h); diff != "" {
			return fail(fmt.Errorf("training and validation traces are of different systems: %s", diff))
		}
		train, _ = Measured(o.Train)
	}
	of, err := readers(h.Space, o)
	if err != nil {
		return fail(err)
	}
	var reward *cascade.Reward
	if len(of) > 1 {
		fixed := o.Validation.Reward(true).Fixed()
		reward = &fixed
	}
	c, err := cascade.Fit(of, train, validation, reward, o.Signals)
	if err != nil {
		return fail(err)
	}
	c.Dataset, c.Metric, c.Note = h.Dataset, h.Metric, o.Note
	if o.Unanswerable != nil {
		if err := (Questions{o.Validation, o.Unanswerable}).check(); err != nil {
			return fail(err)
		}
		unanswerable, _ := Measured(o.Unanswerable)
		if err := c.FitAnswerable(validation, unanswerable, o.Signals); err != nil {
			return fail(err)
		}
	}
	if reward != nil {
		all, _ := Measured(o.Validation)
		if c.Points, err = points(c, h.Space, all, notes, o.Lambdas); err != nil {
			return fail(err)
		}
	}
	return c, c.Check()
}

// Complete returns the measurements that have an answer of every reader, of those notes for which most questions have them, grouped by
// notes in the order of their first appearance.
func Complete(measured []cascade.Measurement, notes [][]int) (groups [][]cascade.Measurement, of [][]int) {
	at := map[string]int{}
	most := 0
	for i, m := range measured {
		if slices.Contains(m.Answers, nil) {
			continue
		}
		k := fmt.Sprint(notes[i])
		g, ok := at[k]
		if !ok {
			g = len(groups)
			at[k] = g
			groups, of = append(groups, nil), append(of, notes[i])
		}
		groups[g] = append(groups[g], m)
		most = max(most, len(groups[g]))
	}
	kept := 0
	for g := range groups {
		if len(groups[g]) == most {
			groups[kept], of[kept] = groups[g], of[g]
			kept++
		}
	}
	return groups[:kept], of[:kept]
}

// points chooses for each λ the notes and the first reader whose cascade earns most on the measurements.
func points(c *cascade.Calibration, space router.Space, measured []cascade.Measurement, notes [][]int, lambdas []float64) ([]cascade.Point, error) {
	groups, of := Complete(measured, notes)
	if len(groups) == 0 && len(lambdas) > 0 {
		return nil, errors.New("no notes were answered by every tier: collect them by a design of notes, such as uniform")
	}
	var out []cascade.Point
	for _, lambda := range lambdas {
		best, top := cascade.Point{}, math.Inf(-1)
		for g, group := range groups {
			for first := range c.Readers {
				p, earned := cascade.Point{Lambda: lambda}, 0.0
				for _, m := range group {
					score, dollars, _ := c.Play(m, first, lambda) // all are measured
					p.Score += score / float64(len(group))
					p.Dollars += dollars / float64(len(group))
					earned += c.Reward.Return(score, dollars, lambda)
				}
				if earned > top {
					p.Tiers = append(names(space, of[g]), c.Readers[first].Tier)
					best, top = p, earned
				}
			}
		}
		out = append(out, best)
	}
	return out, nil
}

// names are those of the tiers of the first modules.
func names(space router.Space, choices []int) []string {
	out := make([]string, len(choices))
	for m, tier := range choices {
		out[m] = space[m].Tiers[tier]
	}
	return out
}
