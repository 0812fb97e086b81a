package frontier

import (
	"fmt"
	"math"
	"slices"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/offline"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// The names of the regressions.
const (
	nearestName = "nearest neighbours"
	wordsName   = "TF-IDF regression"
)

// regressions are the entries that choose by simple regressions, fitted to the questions that are not reported.
func (c *comparison) regressions() ([]plan, error) {
	var measured []router.Episode
	for _, r := range []*episodes.Replay{c.Train, c.Validation} {
		if r != nil {
			file, _ := r.Snapshot()
			measured = append(measured, file.Episodes...)
		}
	}
	file, _ := c.Test.Snapshot()
	var asked []router.Episode // one of each question
	for _, e := range file.Episodes {
		if !slices.ContainsFunc(asked, func(a router.Episode) bool { return a.ID == e.ID }) {
			asked = append(asked, e)
		}
	}
	if len(measured) == 0 || len(asked) == 0 {
		return nil, nil // there is nothing to learn from, or no question is known before it is asked live
	}
	near, _, err := offline.NearestNeighbours(file.Shape(), measured, asked, c.Reward, c.Lambdas)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, e := range slices.Concat(measured, asked) {
		texts = append(texts, e.Question)
	}
	words, err := offline.ChooseByFeatures(file.Shape(), measured, asked, tfidf(texts), c.Reward, c.Lambdas, uint64(c.Seed))
	if err != nil {
		return nil, err
	}
	return []plan{c.chosen(nearestName, asked, near), c.chosen(wordsName, asked, words)}, nil
}

// chosen is the entry of combinations for each λ and asked question.
func (c *comparison) chosen(name string, asked []router.Episode, choices offline.Choices) plan {
	p := plan{name: name, lambdas: c.Lambdas, seeds: make([][]router.Policy, 1)}
	for l, lambda := range c.Lambdas {
		policy := lookup{name: fmt.Sprintf("%s@%g", name, lambda), choices: map[string][]int{}}
		for _, id := range c.Test.IDs() {
			policy.choices[id] = make([]int, len(c.space)) // not traced: nothing is known of it
		}
		for q, e := range asked {
			policy.choices[e.ID] = choices[l][q]
		}
		p.seeds[0] = append(p.seeds[0], policy)
	}
	return p
}

// tfidf returns for each text the vector of its words' counts times their inverse document frequency ln((1+n)/(1+df))+1, of unit
// length (Salton and Buckley 1988; the default of scikit-learn). Equal texts count once as a document. Words of only one text
// are left out: nothing can be learned of them.
func tfidf(texts []string) [][]float64 {
	documents := map[string]map[string]float64{}
	df := map[string]float64{}
	for _, t := range texts {
		if documents[t] != nil {
			continue
		}
		counts := map[string]float64{}
		for _, w := range text.Words(t) {
			counts[w]++
		}
		for w := range counts {
			df[w]++
		}
		documents[t] = counts
	}
	var vocabulary []string
	for w, n := range df {
		if n > 1 {
			vocabulary = append(vocabulary, w)
		}
	}
	slices.Sort(vocabulary)
	vectors := map[string][]float64{}
	for t, counts := range documents {
		v, norm := make([]float64, len(vocabulary)), 0.0
		for j, w := range vocabulary {
			v[j] = counts[w] * (math.Log((1+float64(len(documents)))/(1+df[w])) + 1)
			norm += v[j] * v[j]
		}
		for j := range v {
			if norm > 0 {
				v[j] /= math.Sqrt(norm)
			}
		}
		vectors[t] = v
	}
	out := make([][]float64, len(texts))
	for i, t := range texts {
		out[i] = vectors[t]
	}
	return out
}
