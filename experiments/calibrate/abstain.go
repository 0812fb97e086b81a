package calibrate

import (
	"cmp"
	"errors"
	"fmt"
	"math"
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
// score of most, at least 0, and says what share of the unanswerable ones it abstains from. An answer whose measure is not known is withheld.
// Files of other systems are errors.
func Abstain(c *cascade.Calibration, reader int, by Measure, q Questions, most float64) (Abstention, error) {
	if err := q.check(); err != nil {
		return Abstention{}, err
	}
	return highest(q.judged(c, reader, by), by, most)
}

// AbstainHeldOut is Abstain for each tier of the answer and both measures, with every question judged by a calibration that was fitted to
// questions about other histories, or to other questions where one kind is about a single history. o.Unanswerable must be set.
func AbstainHeldOut(o Options, most float64) (map[string][]Abstention, error) {
	q := Questions{o.Validation, o.Unanswerable}
	if err := q.check(); err != nil {
		return nil, err
	}
	measures := []Measure{ByConfidence, ByAnswerable}
	all := map[string][][]judgement{} // by tier and measure
	fold, n := q.folds()
	for k := range n {
		part := func(f *episodes.File, held bool) *episodes.File {
			return f.Where(func(e router.Episode) bool { return (fold[e.ID] == k) == held })
		}
		others := o
		others.Validation, others.Unanswerable, others.Lambdas = part(q.Answerable, false), part(q.Unanswerable, false), nil
		c, err := Fit(others)
		if err != nil {
			return nil, fmt.Errorf("abstaining: without the questions that are judged: %w", err)
		}
		held := Questions{part(q.Answerable, true), part(q.Unanswerable, true)}
		for i, r := range c.Readers {
			if r.Answerable == nil {
				continue // it did not answer both kinds
			}
			if all[r.Tier] == nil {
				all[r.Tier] = make([][]judgement, len(measures))
			}
			for m, by := range measures {
				all[r.Tier][m] = append(all[r.Tier][m], held.judged(c, i, by)...)
			}
		}
	}
	out := map[string][]Abstention{}
	for tier, byMeasure := range all {
		for m, some := range byMeasure {
			byValue(some)
			a, err := highest(some, measures[m], most)
			if err != nil {
				return nil, err
			}
			out[tier] = append(out[tier], a)
		}
	}
	return out, nil
}

// heldOutFolds is how many parts the histories are divided into at most.
const heldOutFolds = 10

// folds says in which of n parts each question is.
func (q Questions) folds() (fold map[string]int, n int) {
	byQuestion := len(episodes.Histories(q.Answerable.IDs())) < 2 || len(episodes.Histories(q.Unanswerable.IDs())) < 2
	ids := slices.Concat(q.Answerable.IDs(), q.Unanswerable.IDs())
	fold = map[string]int{}
	about := episodes.Histories(ids)
	for h, questions := range about {
		for i, at := range questions {
			fold[ids[at]] = h % heldOutFolds
			if byQuestion {
				fold[ids[at]] = i % heldOutFolds
			}
		}
	}
	for _, f := range fold {
		n = max(n, f+1)
	}
	return fold, n
}

// unknown is the value of an answer whose measure is not known. It is withheld, as it is where a least value is asked for.
const unknown = -1

// highest finds the highest least value, of three digits, that loses at most a mean score of most. all are in the order of their values.
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
		if a.value != unknown && (i == 0 || a.value > all[i-1].value) { // all of the answers below are counted
			if lost/n > most {
				break
			}
			least = math.Floor(1000*a.value) / 1000
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
	if by == ByAnswerable && c.Readers[reader].Answerable == nil {
		return Abstention{}, fmt.Errorf("abstaining: the calibration has no probability that the memory answers for answers %q: fit it with unanswerable questions", c.Readers[reader].Tier)
	}
	if err := q.check(); err != nil {
		return Abstention{}, err
	}
	return withhold(q.judged(c, reader, by), by, least)
}

// judgement is an answer with its value of the measure, and whether the question has an answer.
type judgement struct {
	value, score float64
	answerable   bool
}

func byValue(all []judgement) {
	slices.SortStableFunc(all, func(x, y judgement) int { return cmp.Compare(x.value, y.value) })
}

// check returns an error if the two kinds of questions were asked of different systems, or are of different splits or the same.
func (q Questions) check() error {
	if q.Answerable.Split != q.Unanswerable.Split {
		return fmt.Errorf("abstaining: the answerable questions are of the %s split, the unanswerable ones of %s", q.Answerable.Split, q.Unanswerable.Split)
	}
	ids := q.Answerable.IDs()
	for _, id := range q.Unanswerable.IDs() {
		if slices.Contains(ids, id) {
			return fmt.Errorf("abstaining: question %s is among the answerable and the unanswerable ones", id)
		}
	}
	a, h := q.Answerable.Header, q.Unanswerable.Header
	h.Dataset, h.DataHash, h.Split, h.Metric = a.Dataset, a.DataHash, a.Split, a.Metric
	if diff := episodes.Difference(a, h); diff != "" {
		return fmt.Errorf("abstaining: traces of answerable and unanswerable questions are of different systems: %s", diff)
	}
	return nil
}

// judged has a reader's answers to both kinds of questions, those of the least value first.
func (q Questions) judged(c *cascade.Calibration, reader int, by Measure) []judgement {
	var all []judgement
	for _, f := range []*episodes.File{q.Answerable, q.Unanswerable} {
		measured, _ := Measured(f)
		for _, m := range measured {
			if m.Answers[reader] == nil {
				continue
			}
			v, ok := by.of(c, cascade.Asked{Reader: reader, Signals: m.Answers[reader].Signals})
			if !ok {
				v = unknown
			}
			all = append(all, judgement{v, m.Answers[reader].Score, f == q.Answerable})
		}
	}
	byValue(all)
	return all
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
