package calibrate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/router/confidence"
)

// Measure is what answers are withheld by.
type Measure string

// The measures: the expected score of the answer, and the probability that the memory answers the question at all.
const (
	ByConfidence Measure = "confidence"
	ByAnswerable Measure = "answerable"
)

// of is the measure of an answer by a calibration.
func (m Measure) of(c *cascade.Calibration, a cascade.Asked) (float64, bool) {
	if m == ByAnswerable {
		return c.Answerable(a)
	}
	return c.Confidence(a)
}

// Abstention is what withholding answers below a least value of a measure does to questions that have an answer and to those that have
// none.
type Abstention struct {
	By Measure `json:"by"`
	// Least is the highest least value that keeps Lost within the bound.
	Least float64 `json:"least"`
	// Lost is the mean score that the answerable questions lose, those that are withheld scoring 0, and Withheld their share.
	Lost     stats.Interval `json:"lost"`
	Withheld float64        `json:"withheld"`
	// Abstained is the share of the unanswerable questions whose answers are withheld, as they should be.
	Abstained stats.Interval `json:"abstained"`
	// AUROC is the probability that the measure of an answerable question's answer is higher than that of an unanswerable one's.
	AUROC float64 `json:"auroc"`
}

// abstentionSeed draws the questions of the intervals.
const abstentionSeed = 42

// Questions are those that a memory answers, and those that it does not.
type Questions struct{ Answerable, Unanswerable *episodes.File }

// Abstain finds, for a reader of a calibration, the highest least value of a measure by which answerable questions lose at most a mean
// score of most, at least 0, and says what share of the unanswerable ones it abstains from. Files of other systems, and answers without
// the measure, are errors.
func Abstain(c *cascade.Calibration, reader int, by Measure, q Questions, most float64) (Abstention, error) {
	all, err := q.judged(c, reader, by)
	if err != nil {
		return Abstention{}, err
	}
	return highest(all, by, most)
}

// AbstainHeldOut is Abstain by the probability that the memory answers, with every question judged by estimates that were fitted to
// questions about other histories, as the calibration's own have seen these. names are the signals to use; nil for all.
func AbstainHeldOut(c *cascade.Calibration, reader int, names []string, q Questions, most float64) (Abstention, error) {
	if err := q.check(); err != nil {
		return Abstention{}, err
	}
	fold := q.folds()
	part := func(f *episodes.File, in func(fold int) bool) *episodes.File {
		return f.Where(func(e router.Episode) bool { return in(fold[e.ID]) })
	}
	var all []judgement
	for k := range heldOutFolds {
		others, held := func(f int) bool { return f != k }, func(f int) bool { return f == k }
		fitted := *c
		fitted.Readers = slices.Clone(c.Readers)
		answerable, _ := Measured(part(q.Answerable, others))
		unanswerable, _ := Measured(part(q.Unanswerable, others))
		if err := fitted.FitAnswerable(answerable, unanswerable, names); err != nil {
			return Abstention{}, fmt.Errorf("abstaining: without a part of the histories: %w", err)
		}
		some, err := Questions{part(q.Answerable, held), part(q.Unanswerable, held)}.judged(&fitted, reader, ByAnswerable)
		if err != nil {
			return Abstention{}, err
		}
		all = append(all, some...)
	}
	byValue(all)
	return highest(all, ByAnswerable, most)
}

// heldOutFolds is how many parts the histories are divided into at most.
const heldOutFolds = 10

// folds says in which part each question is: the questions about a history are in one, unless there is one history only.
func (q Questions) folds() map[string]int {
	ids := slices.Concat(q.Answerable.IDs(), q.Unanswerable.IDs())
	fold := map[string]int{}
	about := episodes.Histories(ids)
	for h, questions := range about {
		for i, n := range questions {
			fold[ids[n]] = h % heldOutFolds
			if len(about) == 1 {
				fold[ids[n]] = i % heldOutFolds
			}
		}
	}
	return fold
}

// highest finds the highest least value that loses at most a mean score of most. all are in the order of their values.
func highest(all []judgement, by Measure, most float64) (Abstention, error) {
	if !(most >= 0) {
		return Abstention{}, fmt.Errorf("abstaining: at most %v of the mean score may be lost: must be at least 0", most)
	}
	n := 0.0
	for _, a := range all {
		if a.answerable {
			n++
		}
	}
	least, lost := 0.0, 0.0
	for i, a := range all {
		if i == 0 || a.value > all[i-1].value { // all of the answers below are counted
			if lost/n > most {
				break
			}
			least = a.value
		}
		if a.answerable {
			lost += a.score
		}
	}
	return withhold(all, by, least)
}

// AbstainBelow says what a least value in [0, 1] that was chosen on other questions does. The errors are those of Abstain.
func AbstainBelow(c *cascade.Calibration, reader int, by Measure, q Questions, least float64) (Abstention, error) {
	if !(least >= 0 && least <= 1) {
		return Abstention{}, fmt.Errorf("abstaining: the least %s is %v, must be in 0 to 1", by, least)
	}
	all, err := q.judged(c, reader, by)
	if err != nil {
		return Abstention{}, err
	}
	return withhold(all, by, least)
}

// judgement is an answer with its value of the measure, and whether the question has an answer.
type judgement struct {
	value, score float64
	answerable   bool
}

func byValue(all []judgement) {
	slices.SortStableFunc(all, func(x, y judgement) int { return cmp.Compare(x.value, y.value) })
}

// check returns an error if the two kinds of questions were asked of different systems.
func (q Questions) check() error {
	a, h := q.Answerable.Header, q.Unanswerable.Header
	h.Dataset, h.DataHash, h.Split, h.Metric = a.Dataset, a.DataHash, a.Split, a.Metric
	if diff := episodes.Difference(a, h); diff != "" {
		return fmt.Errorf("abstaining: traces of answerable and unanswerable questions are of different systems: %s", diff)
	}
	return nil
}

// judged has a reader's answers to both kinds of questions, those of the least value first.
func (q Questions) judged(c *cascade.Calibration, reader int, by Measure) ([]judgement, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	var all []judgement
	for _, f := range []*episodes.File{q.Answerable, q.Unanswerable} {
		measured, _ := Measured(f)
		for _, m := range measured {
			if m.Answers[reader] == nil {
				continue
			}
			v, ok := by.of(c, cascade.Asked{Reader: reader, Signals: m.Answers[reader].Signals})
			if !ok {
				return nil, fmt.Errorf("abstaining: the answer to %s has no %s", m.Question, by)
			}
			all = append(all, judgement{v, m.Answers[reader].Score, f == q.Answerable})
		}
	}
	byValue(all)
	return all, nil
}

// withhold withholds the answers below a least value. Without questions of both kinds it fails.
func withhold(all []judgement, by Measure, least float64) (Abstention, error) {
	values, answerable := make([]float64, len(all)), make([]bool, len(all))
	var lost, abstained []float64
	withheld := 0.0
	for i, a := range all {
		values[i], answerable[i] = a.value, a.answerable
		below := 0.0
		if a.value < least {
			below = 1
		}
		if a.answerable {
			lost, withheld = append(lost, a.score*below), withheld+below
		} else {
			abstained = append(abstained, below)
		}
	}
	if len(lost) == 0 || len(abstained) == 0 {
		return Abstention{}, errors.New("abstaining: there must be answerable and unanswerable questions")
	}
	auroc, err := confidence.AUROC(values, answerable)
	return Abstention{By: by, Least: least, Lost: stats.Bootstrap(lost, abstentionSeed), Withheld: withheld / float64(len(lost)),
		Abstained: stats.Bootstrap(abstained, abstentionSeed), AUROC: auroc}, err
}
