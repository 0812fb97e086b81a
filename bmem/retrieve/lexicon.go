package retrieve

import "math"

// lexicon is an inverted index over a list of texts, for BM25.
type lexicon struct {
	postings [][]posting // by stem
	lengths  []float64   // stems a text
	mean     float64     // of the lengths
}

type posting struct {
	text  int32
	count float32
}

// Parameters of BM25, those of SQLite's FTS5.
const bm25K1, bm25B = 1.2, 0.75

// newLexicon indexes texts given as the numbers of their stems, all below size.
func newLexicon(texts [][]int32, size int) *lexicon {
	l := &lexicon{postings: make([][]posting, size), lengths: make([]float64, len(texts))}
	for i, stems := range texts {
		for _, s := range stems {
			if list := l.postings[s]; len(list) > 0 && list[len(list)-1].text == int32(i) {
				list[len(list)-1].count++
			} else {
				l.postings[s] = append(list, posting{int32(i), 1})
			}
		}
		l.lengths[i] = float64(len(stems))
		l.mean += l.lengths[i] / float64(len(texts))
	}
	return l
}

// idf is the weight of a stem, ln(1 + (N − n + ½)/(n + ½)) for n of N texts. A stem of number -1 is in none.
func (l *lexicon) idf(stem int32) float64 {
	n := 0.0
	if stem >= 0 {
		n = float64(len(l.postings[stem]))
	}
	return math.Log1p((float64(len(l.lengths)) - n + 0.5) / (n + 0.5))
}

// bm25 returns the score of every text for the stems.
func (l *lexicon) bm25(stems []int32) []float64 {
	scores := make([]float64, len(l.lengths))
	for _, s := range stems {
		if s < 0 {
			continue
		}
		idf := l.idf(s)
		for _, p := range l.postings[s] {
			n := float64(p.count)
			scores[p.text] += idf * n * (bm25K1 + 1) / (n + bm25K1*(1-bm25B+bm25B*l.lengths[p.text]/l.mean))
		}
	}
	return scores
}
