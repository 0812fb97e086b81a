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
// most, and says what share of the unanswerable ones it abstains from. Files of other systems, and answers without a confidence, are
// errors.
func Abstain(c *cascade.Calibration, reader int, answerable, unanswerable *episodes.File, most float64) (Abstention, error) {
	a, h := answerable.Header, unanswerable.Header
	h.Dataset, h.DataHash, h.Split, h.Metric = a.Dataset, a.DataHash, a.Split, a.Metric
	if diff := episodes.Difference(a, h); diff != "" {
		return Abstention{}, fmt.Errorf("abstaining: traces of answerable and unanswerable questions are of different systems: %s", diff)
	}
	type answer struct {
		confidence, score float64
		right             bool // to answer
	}
	var all []answer
	out := Abstention{}
	for _, f := range []*episodes.File{answerable, unanswerable} {
		measured, _ := Measured(f)
		for _, m := range measured {
			if m.Answers[reader] == nil {
				continue
			}
			v, ok := c.Confidence(cascade.Asked{Reader: reader, Signals: m.Answers[reader].Signals})
			if !ok {
				return Abstention{}, fmt.Errorf("abstaining: the answer to %s has no confidence", m.Question)
			}
			all = append(all, answer{v, m.Answers[reader].Score, f == answerable})
			if f == answerable {
				out.Answerable++
			} else {
				out.Unanswerable++
			}
		}
	}
	if out.Answerable == 0 || out.Unanswerable == 0 {
		return Abstention{}, errors.New("abstaining: there must be answerable and unanswerable questions")
	}
	slices.SortStableFunc(all, func(x, y answer) int { return cmp.Compare(x.confidence, y.confidence) })
	lost, withheld, abstained := 0.0, 0, 0
	for from := 0; from < len(all); {
		to := from
		for ; to < len(all) && all[to].confidence == all[from].confidence; to++ {
			if all[to].right {
				lost, withheld = lost+all[to].score, withheld+1
			} else {
				abstained++
			}
		}
		if lost/float64(out.Answerable) > most || to == len(all) {
			break
		}
		out.MinConfidence = all[to].confidence
		out.Lost, out.Withheld, out.Abstained = lost/float64(out.Answerable), float64(withheld)/float64(out.Answerable), float64(abstained)/float64(out.Unanswerable)
		from = to
	}
	confidences, right := make([]float64, len(all)), make([]bool, len(all))
	for i, x := range all {
		confidences[i], right[i] = x.confidence, x.right
	}
	var err error
	out.AUROC, err = confidence.AUROC(confidences, right)
	return out, err
}
