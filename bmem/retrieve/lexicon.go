package retrieve

import (
	"math"
	"strings"
)

// lexicon is an inverted index of stems over a list of texts, for BM25 on turns.
type lexicon struct {
	stems    map[string]int32 // stem → id
	postings [][]posting      // by stem id
	lengths  []float64        // stems a text
	mean     float64
}

type posting struct {
	text  int32
	count float32
}

// Parameters of BM25, those of SQLite's FTS5.
const bm25K1, bm25B = 1.2, 0.75

func newLexicon(texts []string) *lexicon {
	l := &lexicon{stems: map[string]int32{}, lengths: make([]float64, len(texts))}
	stemOf := map[string]string{} // stemming is the slow part, and words repeat
	for i, text := range texts {
		counts := map[string]float32{}
		for _, w := range words(text) {
			w = strings.ToLower(w)
			if isStop(w) {
				continue
			}
			s, ok := stemOf[w]
			if !ok {
				s = stem(w)
				stemOf[w] = s
			}
			counts[s]++
			l.lengths[i]++
		}
		for s, n := range counts {
			id, ok := l.stems[s]
			if !ok {
				id = int32(len(l.postings))
				l.stems[s] = id
				l.postings = append(l.postings, nil)
			}
			l.postings[id] = append(l.postings[id], posting{int32(i), n})
		}
		l.mean += l.lengths[i] / float64(len(texts))
	}
	return l
}

// query returns the ids of the stems of a question that occur in the texts, each once.
func (l *lexicon) query(question string) []int32 {
	var ids []int32
	seen := map[int32]bool{}
	for _, w := range contentWords(question) {
		if id, ok := l.stems[stem(w)]; ok && !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids
}

// idf is the weight of a stem: ln(1 + (N − n + ½)/(n + ½)).
func (l *lexicon) idf(id int32) float64 {
	n := float64(len(l.postings[id]))
	return math.Log1p((float64(len(l.lengths)) - n + 0.5) / (n + 0.5))
}

// bm25 returns the score of every text for the stems.
func (l *lexicon) bm25(stems []int32) []float64 {
	scores := make([]float64, len(l.lengths))
	for _, id := range stems {
		idf := l.idf(id)
		for _, p := range l.postings[id] {
			n := float64(p.count)
			scores[p.text] += idf * n * (bm25K1 + 1) / (n + bm25K1*(1-bm25B+bm25B*l.lengths[p.text]/l.mean))
		}
	}
	return scores
}
