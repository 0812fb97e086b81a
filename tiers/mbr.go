package tiers

import (
	"math"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// sampleTemperature is the temperature at which an Answerer with Samples draws its replies.
const sampleTemperature = 0.7

// minimumRisk returns the index of the choice whose answer has the highest expected token F1 against the answers of all
// choices: minimum-Bayes-risk decoding (Kumar and Byrne, 2004; Eikema and Aziz, 2022) with F1 as the utility. Different
// answers are weighted by the model's probability of their tokens where the model told it, else by how often they were drawn. The
// first of equals is taken. answers are the choices' cleaned texts.
func minimumRisk(answers []string, choices []llm.Choice) int {
	words := make([][]string, len(answers))
	for i, a := range answers {
		words[i] = text.Words(a)
	}
	weights := sampleWeights(answers, choices)
	best, most := 0, math.Inf(-1)
	for i := range answers {
		expected := 0.0
		for j, w := range weights {
			if w > 0 {
				expected += w * wordF1(words[i], words[j])
			}
		}
		if expected > most+1e-12 {
			best, most = i, expected
		}
	}
	return best
}

// sampleWeights gives each different answer a weight at its first choice, 0 at its repetitions.
func sampleWeights(answers []string, choices []llm.Choice) []float64 {
	rated := true
	logProbs := make([]float64, len(choices))
	for i, c := range choices {
		rated = rated && c.LogProbs != nil
		logProbs[i] = logProb(c.LogProbs)
	}
	first := map[string]int{}
	weights := make([]float64, len(answers))
	for i, a := range answers {
		at, seen := first[a]
		if !seen {
			at, first[a] = i, i
		}
		switch {
		case !rated:
			weights[at]++
		case !seen:
			weights[at] = math.Exp(logProbs[i])
		default: // the same answer in other tokens, such as with quotes
			weights[at] = max(weights[at], math.Exp(logProbs[i]))
		}
	}
	return weights
}

// logProb is the logarithm of the probability of all tokens together.
func logProb(tokens []llm.TokenLogProb) float64 {
	sum := 0.0
	for _, t := range tokens {
		sum += t.LogProb
	}
	return sum
}

// wordF1 is the harmonic mean of the precision and recall of words, as a multiset; 1 for two answers without words.
func wordF1(a, b []string) float64 {
	if len(a)+len(b) == 0 {
		return 1
	}
	left := map[string]int{}
	for _, w := range a {
		left[w]++
	}
	common := 0
	for _, w := range b {
		if left[w] > 0 {
			left[w]--
			common++
		}
	}
	return 2 * float64(common) / float64(len(a)+len(b))
}
