package score

// Fact is a supporting fact of HotpotQA: a sentence of a document.
type Fact struct {
	Title    string
	Sentence int
}

// Hotpot holds HotpotQA's official values for one question: for the answer, for the supporting facts, or for both jointly.
type Hotpot struct {
	EM, F1, Precision, Recall float64
}

// HotpotAnswer returns the answer's values.
func HotpotAnswer(prediction, gold string) Hotpot {
	f1, precision, recall := HotpotF1(prediction, gold)
	return Hotpot{EM: Exact(prediction, gold), F1: f1, Precision: precision, Recall: recall}
}

// HotpotFacts returns the values of the supporting facts, compared as sets.
func HotpotFacts(predicted, gold []Fact) Hotpot {
	p, g := factSet(predicted), factSet(gold)
	same := 0
	for f := range p {
		if g[f] {
			same++
		}
	}
	h := Hotpot{
		EM:        truth(same == len(p) && same == len(g)),
		Precision: share(same, len(p)),
		Recall:    share(same, len(g)),
	}
	h.F1 = harmonic(h.Precision, h.Recall)
	return h
}

// HotpotJoint returns the joint values: precision, recall and exact match are the products of the two, and F1 follows from
// the joint precision and recall.
func HotpotJoint(answer, facts Hotpot) Hotpot {
	h := Hotpot{
		EM:        answer.EM * facts.EM,
		Precision: answer.Precision * facts.Precision,
		Recall:    answer.Recall * facts.Recall,
	}
	h.F1 = harmonic(h.Precision, h.Recall)
	return h
}

func factSet(facts []Fact) map[Fact]bool {
	set := make(map[Fact]bool, len(facts))
	for _, f := range facts {
		set[f] = true
	}
	return set
}

// share is part/whole, 0 of nothing.
func share(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// harmonic is the harmonic mean of precision and recall, 0 if both are.
func harmonic(precision, recall float64) float64 {
	if precision+recall == 0 {
		return 0
	}
	return 2 * precision * recall / (precision + recall)
}
