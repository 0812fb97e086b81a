package calibrate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/router/confidence"
)

// Abstention is what a least confidence does to questions that have an answer and to those that have none.
type Abstention struct {
	// MinConfidence is the highest least confidence that keeps Lost within the bound.
	MinConfidence float64 `json:"min_confidence"`
	// Lost is the mean score that the answerable questions lose, those that are withheld scoring 0, and Withheld their share.
	Lost     float64 `json:"lost"`
	Withheld float64 `json:"withheld"`
	// Abstained is the share of the unanswerable questions whose answers are withheld, as they should be.
	Abstained float64 `json:"abstained"`
	// AUROC is the probability that an answerable question's answer has a higher confidence than an unanswerable one's.
	AUROC float64 `json:"auroc"`
	// Answerable and Unanswerable are the numbers of questions.
	Answerable   int `json:"answerable"`
	Unanswerable int `json:"unanswerable"`
}

// Abstain finds, for a reader of a calibration, the highest least confidence by which answerable questions lose at most a mean score of
// most, at least 0, and says what share of the unanswerable ones it abstains from. Files of other systems, and answers without a
// confidence, are errors.
func Abstain(c *cascade.Calibration, reader int, answerable, unanswerable *episodes.File, most float64) (Abstention, error) {
	if !(most >= 0) {
		return Abstention{}, fmt.Errorf("abstaining: at most %v of the mean score may be lost: must be at least 0", most)
	}
	all, err := judged(c, reader, answerable, unanswerable)
	if err != nil {
		return Abstention{}, err
	}
	n := 0.0
	for _, a := range all {
		if a.answerable {
			n++
		}
	}
	least, lost := 0.0, 0.0
	for i, a := range all {
		if i == 0 || a.confidence > all[i-1].confidence { // all of the answers below are counted
			if lost/n > most {
				break
			}
			least = a.confidence
		}
		if a.answerable {
			lost += a.score
		}
	}
	return withhold(all, least)
}

// AbstainBelow says what a least confidence in [0, 1] that was chosen on other questions does. The errors are those of Abstain.
func AbstainBelow(c *cascade.Calibration, reader int, answerable, unanswerable *episodes.File, least float64) (Abstention, error) {
	if !(least >= 0 && least <= 1) {
		return Abstention{}, fmt.Errorf("abstaining: the least confidence is %v, must be in 0 to 1", least)
	}
	all, err := judged(c, reader, answerable, unanswerable)
	if err != nil {
		return Abstention{}, err
	}
	return withhold(all, least)
}

// judgement is an answer with its confidence, and whether the question has an answer.
type judgement struct {
	confidence, score float64
	answerable        bool
}

// judged has a reader's answers to both kinds of questions, the least confident first.
func judged(c *cascade.Calibration, reader int, answerable, unanswerable *episodes.File) ([]judgement, error) {
	a, h := answerable.Header, unanswerable.Header
	h.Dataset, h.DataHash, h.Split, h.Metric = a.Dataset, a.DataHash, a.Split, a.Metric
	if diff := episodes.Difference(a, h); diff != "" {
		return nil, fmt.Errorf("abstaining: traces of answerable and unanswerable questions are of different systems: %s", diff)
	}
	var all []judgement
	for _, f := range []*episodes.File{answerable, unanswerable} {
		measured, _ := Measured(f)
		for _, m := range measured {
			if m.Answers[reader] == nil {
				continue
			}
			v, ok := c.Confidence(cascade.Asked{Reader: reader, Signals: m.Answers[reader].Signals})
			if !ok {
				return nil, fmt.Errorf("abstaining: the answer to %s has no confidence", m.Question)
			}
			all = append(all, judgement{v, m.Answers[reader].Score, f == answerable})
		}
	}
	slices.SortStableFunc(all, func(x, y judgement) int { return cmp.Compare(x.confidence, y.confidence) })
	return all, nil
}

// withhold withholds the answers below a least confidence. Without questions of both kinds it fails.
func withhold(all []judgement, least float64) (Abstention, error) {
	out := Abstention{MinConfidence: least}
	confidences, answerable := make([]float64, len(all)), make([]bool, len(all))
	lost, withheld, abstained := 0.0, 0.0, 0.0
	for i, a := range all {
		confidences[i], answerable[i] = a.confidence, a.answerable
		below := a.confidence < least
		switch {
		case a.answerable:
			if out.Answerable++; below {
				lost, withheld = lost+a.score, withheld+1
			}
		default:
			if out.Unanswerable++; below {
				abstained++
			}
		}
	}
	if out.Answerable == 0 || out.Unanswerable == 0 {
		return Abstention{}, errors.New("abstaining: there must be answerable and unanswerable questions")
	}
	out.Lost, out.Withheld, out.Abstained = lost/float64(out.Answerable), withheld/float64(out.Answerable), abstained/float64(out.Unanswerable)
	var err error
	out.AUROC, err = confidence.AUROC(confidences, answerable)
	return out, err
}
