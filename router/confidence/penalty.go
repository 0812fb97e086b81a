package confidence

import "math"

// penalties are the weights of the squared weights in the loss, against a sum over samples, of which one is chosen by
// cross-validation: few samples with many signals need a large one.
var penalties = []float64{1, 3, 10, 30, 100, 300, 1000, 3000}

// folds is the number of parts that samples are divided into for cross-validation.
const folds = 5

// ridge returns the weights with the penalty that predicts held out samples best. Samples of one group are held out together.
func ridge(rows [][]float64, targets []float64, fold []int, loss Loss) []float64 {
	best, penalty := math.Inf(1), penalties[0]
	for _, p := range penalties {
		sum := 0.0
		for k := range folds {
			var inRows [][]float64
			var inTargets []float64
			for i, f := range fold {
				if f != k {
					inRows, inTargets = append(inRows, rows[i]), append(inTargets, targets[i])
				}
			}
			if len(inRows) == 0 { // all are of one group
				inRows, inTargets = rows, targets
			}
			w := regress(inRows, inTargets, loss, p)
			for i, f := range fold {
				if f == k {
					sum += objective(rows[i:i+1], targets[i:i+1], w, loss, 0)
				}
			}
		}
		if sum < best {
			best, penalty = sum, p
		}
	}
	return regress(rows, targets, loss, penalty)
}

// foldsOf divides samples into folds, those of one group into the same one; samples without a group are each one of their own.
func foldsOf(samples []Sample) []int {
	out, groups, at := make([]int, len(samples)), 0, map[string]int{}
	for i, s := range samples {
		n, ok := at[s.Group]
		if !ok || s.Group == "" {
			n = groups
			at[s.Group] = n
			groups++
		}
		out[i] = n % folds
	}
	return out
}
