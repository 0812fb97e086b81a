package score

import (
	"strings"

	"github.com/budgetmem/budgetmem/internal/pytext"
)

// LoCoMoF1 is the token F1 of LoCoMo's evaluation script: commas removed, lower case, ASCII punctuation removed, the
// words a, an, the, and dropped, every word stemmed (Porter), words counted as often as they occur. Two empty sides score 0.
func LoCoMoF1(prediction, gold string) float64 {
	f1, _, _ := overlap(locomoTokens(prediction), locomoTokens(gold))
	return f1
}

// LoCoMoF1Max is LoCoMo's rule for multi-hop questions: both sides are split at commas; each part of the gold answer
// takes the best LoCoMoF1 over the parts of the prediction, and the mean over the gold parts is the score.
func LoCoMoF1Max(prediction, gold string) float64 {
	predicted, golds := parts(prediction), parts(gold)
	sum := 0.0
	for _, g := range golds {
		best := 0.0
		for _, p := range predicted {
			f1, _, _ := overlap(p, g)
			best = max(best, f1)
		}
		sum += best
	}
	return sum / float64(len(golds))
}

// LoCoMoRefusal is LoCoMo's rule for adversarial questions: 1 if the answer says that no information is available or
// that something is not mentioned, else 0.
func LoCoMoRefusal(prediction string) float64 {
	p := pytext.Lower(prediction)
	return truth(strings.Contains(p, "no information available") || strings.Contains(p, "not mentioned"))
}

// TokenSetF1 is the F1 that A-MEM and mem0 report: lower case, full stops, commas, exclamation and question marks read as
// spaces, words compared as sets, no stemming.
func TokenSetF1(prediction, gold string) float64 {
	f1, _, _ := overlap(distinct(simpleTokens(prediction)), distinct(simpleTokens(gold)))
	return f1
}

// HotpotF1 is HotpotQA's official answer F1, with precision and recall: lower case, ASCII punctuation and the words a, an,
// the removed, no stemming. All are 0 when exactly one side is "yes", "no" or "noanswer", or both are and they differ.
func HotpotF1(prediction, gold string) (f1, precision, recall float64) {
	p, g := hotpotNormal(prediction), hotpotNormal(gold)
	if p != g && (hotpotWord(p) || hotpotWord(g)) {
		return 0, 0, 0
	}
	return overlap(pytext.Fields(p), pytext.Fields(g))
}

// Exact is HotpotQA's official exact match: 1 if both sides are equal once normalised as for HotpotF1, else 0.
func Exact(prediction, gold string) float64 {
	return truth(hotpotNormal(prediction) == hotpotNormal(gold))
}

func locomoTokens(s string) []string {
	s = strings.ReplaceAll(s, ",", "") // first, since what stands beside a sigma decides about its lower case
	s = removeWords(removePunctuation(pytext.Lower(s)), wordRegex, "a", "an", "the", "and")
	tokens := pytext.Fields(s)
	for i, t := range tokens {
		tokens[i] = stem(t)
	}
	return tokens
}

// parts returns the tokens of each piece between commas.
func parts(s string) [][]string {
	var out [][]string
	for piece := range strings.SplitSeq(s, ",") {
		out = append(out, locomoTokens(piece))
	}
	return out
}

func simpleTokens(s string) []string {
	return pytext.Fields(strings.NewReplacer(".", " ", ",", " ", "!", " ", "?", " ").Replace(pytext.Lower(s)))
}

func hotpotNormal(s string) string {
	return strings.Join(pytext.Fields(removeWords(removePunctuation(pytext.Lower(s)), wordRe, "a", "an", "the")), " ")
}

func hotpotWord(s string) bool { return s == "yes" || s == "no" || s == "noanswer" }

// overlap compares two bags of words. All three values are 0 if no word is shared.
func overlap(prediction, gold []string) (f1, precision, recall float64) {
	left := make(map[string]int, len(gold))
	for _, w := range gold {
		left[w]++
	}
	same := 0
	for _, w := range prediction {
		if left[w] > 0 {
			left[w]--
			same++
		}
	}
	if same == 0 {
		return 0, 0, 0
	}
	precision = float64(same) / float64(len(prediction))
	recall = float64(same) / float64(len(gold))
	return 2 * precision * recall / (precision + recall), precision, recall
}

func distinct(words []string) []string {
	seen := make(map[string]bool, len(words))
	var out []string
	for _, w := range words {
		if !seen[w] {
			seen[w] = true
			out = append(out, w)
		}
	}
	return out
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
