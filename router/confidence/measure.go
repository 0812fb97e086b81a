package confidence

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Bins is the usual number of bins of a CalibrationError.
const Bins = 10

// CalibrationError is the expected calibration error (Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017, equation 3): confidences
// in [0, 1] are sorted into bins of equal width, and the distances of a bin's mean confidence from its mean score are averaged over
// the answers. Scores lie in [0, 1]; with 0 and 1 the mean score is the accuracy. Slices of different or no length, fewer than one
// bin, and numbers outside of [0, 1] are errors.
func CalibrationError(confidences, scores []float64, bins int) (float64, error) {
	if err := paired(confidences, scores); err != nil {
		return 0, fmt.Errorf("calibration error: %w", err)
	}
	if bins < 1 {
		return 0, fmt.Errorf("calibration error of %d bins: at least 1 is needed", bins)
	}
	gaps := make([]float64, bins)
	for i, c := range confidences {
		if !(c >= 0 && c <= 1 && scores[i] >= 0 && scores[i] <= 1) {
			return 0, fmt.Errorf("calibration error: answer %d has confidence %v and score %v, outside of 0 to 1", i, c, scores[i])
		}
		gaps[min(int(c*float64(bins)), bins-1)] += scores[i] - c
	}
	sum := 0.0
	for _, g := range gaps {
		sum += math.Abs(g)
	}
	return sum / float64(len(scores)), nil
}

// AUROC is the area under the receiver operating characteristic: the probability that a right answer has a higher confidence than a
// wrong one, ties counting half (Hanley and McNeil 1982). Slices of different length, and answers that are all right or all wrong,
// are errors.
func AUROC(confidences []float64, right []bool) (float64, error) {
	if len(confidences) != len(right) {
		return 0, fmt.Errorf("AUROC of %d confidences and %d answers", len(confidences), len(right))
	}
	order := byConfidence(confidences)
	rights, ranks := 0.0, 0.0 // sum of the ranks of right answers, from the lowest confidence
	for from := 0; from < len(order); {
		to := from + 1
		for to < len(order) && confidences[order[to]] == confidences[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			if right[i] {
				rights++
				ranks += float64(len(order)) - float64(from+to-1)/2
			}
		}
		from = to
	}
	wrongs := float64(len(right)) - rights
	if rights == 0 || wrongs == 0 {
		return 0, fmt.Errorf("AUROC of %g right and %g wrong answers: both are needed", rights, wrongs)
	}
	return (ranks - rights*(rights+1)/2) / (rights * wrongs), nil
}

// Coverage is a point of a risk–coverage curve.
type Coverage struct {
	// Threshold is the confidence from which on a question is answered.
	Threshold float64 `json:"threshold"`
	// Share of the questions that are answered, in (0, 1].
	Share float64 `json:"coverage"`
	// Risk is the mean of 1 − score of these.
	Risk float64 `json:"risk"`
}

// RiskCoverage returns the risk–coverage curve of selective answering (El-Yaniv and Wiener 2010) by falling threshold, and the area
// under it (AURC; Geifman, Uziel and El-Yaniv 2019): the mean over answers of the risk at the answer's own confidence. Slices of
// different or no length are errors.
func RiskCoverage(confidences, scores []float64) ([]Coverage, float64, error) {
	if err := paired(confidences, scores); err != nil {
		return nil, 0, fmt.Errorf("risk–coverage curve: %w", err)
	}
	var curve []Coverage
	order := byConfidence(confidences)
	lost, area, n := 0.0, 0.0, float64(len(order))
	for from := 0; from < len(order); {
		to := from
		threshold := confidences[order[from]]
		for ; to < len(order) && confidences[order[to]] == threshold; to++ {
			lost += 1 - scores[order[to]]
		}
		risk := lost / float64(to)
		curve = append(curve, Coverage{threshold, float64(to) / n, risk})
		area += risk * float64(to-from) / n
		from = to
	}
	return curve, area, nil
}

// byConfidence lists answers by falling confidence.
func byConfidence(confidences []float64) []int {
	order := make([]int, len(confidences))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(confidences[b], confidences[a]) })
	return order
}

func paired(confidences, scores []float64) error {
	if len(confidences) != len(scores) {
		return fmt.Errorf("%d confidences of %d scores", len(confidences), len(scores))
	}
	if len(scores) == 0 {
		return errNoAnswers
	}
	return nil
}
