package retrieve

import (
	"math"
	"strings"

	"github.com/budgetmem/budgetmem/tiers/text"
)

// vocabulary numbers the stems of a memory's language. It remembers the words it has stemmed, since stemming is the slow
// part and words repeat.
type vocabulary struct {
	language text.Language
	ofWord   map[string]int32
	ofStem   map[string]int32
}

func newVocabulary(l text.Language) *vocabulary {
	return &vocabulary{language: l, ofWord: map[string]int32{}, ofStem: map[string]int32{}}
}

// add returns the number of a lower-case word's stem, a new one if need be.
func (v *vocabulary) add(word string) int32 {
	if id, ok := v.ofWord[word]; ok {
		return id
	}
	stem := v.language.Stem(word)
	id, ok := v.ofStem[stem]
	if !ok {
		id = int32(len(v.ofStem))
		v.ofStem[stem] = id
	}
	v.ofWord[word] = id
	return id
}

// addAll returns the numbers of the stems of the words that are no stop words.
func (v *vocabulary) addAll(words []string) []int32 {
	var ids []int32
	for _, w := range words {
		if w = strings.ToLower(w); !v.language.IsStop(w) {
			ids = append(ids, v.add(w))
		}
	}
	return ids
}

// find returns the number of a lower-case word's stem, -1 if no text holds it. It changes nothing.
func (v *vocabulary) find(word string) int32 {
	if id, ok := v.ofWord[word]; ok {
		return id
	}
	if id, ok := v.ofStem[v.language.Stem(word)]; ok {
		return id
	}
	return -1
}

// invertedIndex finds the texts of a list that hold a stem, for BM25.
type invertedIndex struct {
	postings [][]posting // by stem
	lengths  []float64   // stems in each text
	mean     float64     // of the lengths
}

type posting struct {
	text  int32
	count float32
}

// Parameters of BM25 as in Lucene and SQLite (Robertson and Zaragoza 2009).
const bm25K1, bm25B = 1.2, 0.75

// newInvertedIndex indexes texts given as the numbers of their stems, all below size.
func newInvertedIndex(texts [][]int32, size int) *invertedIndex {
	x := &invertedIndex{postings: make([][]posting, size), lengths: make([]float64, len(texts))}
	for i, stems := range texts {
		for _, s := range stems {
			if list := x.postings[s]; len(list) > 0 && list[len(list)-1].text == int32(i) {
				list[len(list)-1].count++
			} else {
				x.postings[s] = append(list, posting{int32(i), 1})
			}
		}
		x.lengths[i] = float64(len(stems))
		x.mean += x.lengths[i] / float64(len(texts))
	}
	return x
}

// idf is the weight of a stem, ln(1 + (N − n + ½)/(n + ½)) for n of N texts. A stem of number -1 is in none.
func (x *invertedIndex) idf(stem int32) float64 {
	n := 0.0
	if stem >= 0 {
		n = float64(len(x.postings[stem]))
	}
	return math.Log1p((float64(len(x.lengths)) - n + 0.5) / (n + 0.5))
}

// bm25 returns the score of every text for the stems.
func (x *invertedIndex) bm25(stems []int32) []float64 {
	scores := make([]float64, len(x.lengths))
	for _, s := range stems {
		if s < 0 {
			continue
		}
		idf := x.idf(s)
		for _, p := range x.postings[s] {
			n := float64(p.count)
			scores[p.text] += idf * n * (bm25K1 + 1) / (n + bm25K1*(1-bm25B+bm25B*x.lengths[p.text]/x.mean))
		}
	}
	return scores
}
