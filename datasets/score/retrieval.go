package score

import (
	"math"
	"slices"
)

// Recall is the share of the gold ids among the first k retrieved ones. It is 1 when there are no gold ids; leave such
// questions out of a mean.
func Recall(retrieved, gold []string, k int) float64 {
	found, total := hits(retrieved, gold, k)
	if total == 0 {
		return 1
	}
	return float64(found) / float64(total)
}

// RecallAll is LongMemEval's recall_all@k: 1 if every gold id is among the first k retrieved ones, else 0.
func RecallAll(retrieved, gold []string, k int) float64 {
	found, total := hits(retrieved, gold, k)
	return truth(found == total)
}

// hits counts the distinct gold ids, and those of them among the first k retrieved ones.
func hits(retrieved, gold []string, k int) (found, total int) {
	top := first(retrieved, k)
	for i, g := range gold {
		if slices.Contains(gold[:i], g) {
			continue
		}
		total++
		if slices.Contains(top, g) {
			found++
		}
	}
	return found, total
}

// NDCG is LongMemEval's ndcg@k with relevance 0 or 1. As in its script the gain is not discounted at ranks 1 and 2, and by
// log2 of the rank from there on. A repeated id counts at its first place only; 0 when there are no gold ids.
func NDCG(retrieved, gold []string, k int) float64 {
	gain, ideal := 0.0, 0.0
	top := first(retrieved, k)
	for i, id := range top {
		if slices.Contains(gold, id) && !slices.Contains(top[:i], id) {
			gain += discount(i)
		}
	}
	_, total := hits(nil, gold, 0)
	for i := range min(total, max(k, 0)) {
		ideal += discount(i)
	}
	if ideal == 0 {
		return 0
	}
	return gain / ideal
}

// discount is the weight of the place i, counted from 0.
func discount(i int) float64 {
	if i == 0 {
		return 1
	}
	return 1 / math.Log2(float64(i+1))
}

func first(ids []string, k int) []string { return ids[:min(len(ids), max(k, 0))] }
