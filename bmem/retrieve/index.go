package retrieve

import (
	"math"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/tiers/text"
)

// vocabulary numbers the stems of a memory's language. It remembers what it found out about each word, since stemming is the
// slow part and words repeat.
type vocabulary struct {
	language text.Language
	ofWord   map[string]word // as it is written
	ofStem   map[string]int32
}

// word is what is known of a word.
type word struct {
	stem   int32 // stopWord for those that carry no meaning
	number bool  // it is a number
	time   bool  // it names a time, such as "yesterday" or "2022"
}

const stopWord = -1

func newVocabulary(l text.Language) *vocabulary {
	return &vocabulary{language: l, ofWord: map[string]word{}, ofStem: map[string]int32{}}
}

// add returns the number of a lower-case word's stem, a new one if need be.
func (v *vocabulary) add(word string) int32 {
	stem := v.language.Stem(word)
	id, ok := v.ofStem[stem]
	if !ok {
		id = int32(len(v.ofStem))
		if stem != word {
			stem = strings.Clone(stem) // not a piece of a text that would be kept with it
		}
		v.ofStem[stem] = id
	}
	return id
}

// look returns what is known of a word, after having looked at it the first time.
func (v *vocabulary) look(w string) word {
	known, ok := v.ofWord[w]
	if !ok {
		w = strings.Clone(w) // not a piece of a text that would be kept with it
		lower := strings.ToLower(w)
		digits := strings.Trim(w, "0123456789") == ""
		known = word{
			stem:   stopWord,
			number: digits || numberWords[lower],
			time:   digits && len(w) == 4 && w > "1500" && w < "2100" || w == "May" || timeWords[lower],
		}
		if !v.language.IsStop(lower) {
			known.stem = v.add(lower)
		}
		v.ofWord[w] = known
	}
	return known
}

// addAll returns the numbers of the stems of the words that are no stop words.
func (v *vocabulary) addAll(words []string) []int32 {
	var ids []int32
	for _, w := range words {
		if known := v.look(w); known.stem != stopWord {
			ids = append(ids, known.stem)
		}
	}
	return ids
}

// find returns the number of a lower-case word's stem, -1 if no text holds it. It changes nothing.
func (v *vocabulary) find(word string) int32 {
	if known, ok := v.ofWord[word]; ok {
		return known.stem
	}
	if id, ok := v.ofStem[v.language.Stem(word)]; ok {
		return id
	}
	return -1
}

// invertedIndex finds the texts of a list that hold a stem, for BM25. Texts may grow.
type invertedIndex struct {
	postings [][]posting // by stem, each in the order of the texts
	lengths  []float64   // stems in each text
	total    float64     // of the lengths
}

type posting struct {
	text  int32
	count float32
}

// Parameters of BM25 as in Lucene and SQLite (Robertson and Zaragoza 2009).
const bm25K1, bm25B = 1.2, 0.75

// add appends stems to a text, which is one of those there are or the next one.
func (x *invertedIndex) add(text int, stems []int32) {
	if text == len(x.lengths) {
		x.lengths = append(x.lengths, 0)
	}
	for _, s := range stems {
		for int(s) >= len(x.postings) {
			x.postings = append(x.postings, nil)
		}
		x.postings[s] = count(x.postings[s], int32(text))
	}
	x.lengths[text] += float64(len(stems))
	x.total += float64(len(stems))
}

// compact gives back the room that lists have for growing, which is a third of what they take. They may grow afterwards.
func (x *invertedIndex) compact() {
	n := 0
	for _, list := range x.postings {
		n += len(list)
	}
	all, lists := make([]posting, 0, n), make([][]posting, len(x.postings))
	for i, list := range x.postings {
		from := len(all)
		all = append(all, list...)
		lists[i] = all[from:len(all):len(all)]
	}
	x.postings = lists
}

// count counts a text once more in a list.
func count(list []posting, text int32) []posting {
	if n := len(list); n == 0 || list[n-1].text < text {
		return append(list, posting{text, 1})
	} else if list[n-1].text == text {
		list[n-1].count++
		return list
	}
	i, found := slices.BinarySearchFunc(list, text, func(p posting, t int32) int { return int(p.text - t) })
	if !found {
		list = slices.Insert(list, i, posting{text: text})
	}
	list[i].count++
	return list
}

// list returns the texts that hold a stem; none for -1.
func (x *invertedIndex) list(stem int32) []posting {
	if stem < 0 || int(stem) >= len(x.postings) {
		return nil
	}
	return x.postings[stem]
}

// idf is the weight of a stem, ln(1 + (N − n + ½)/(n + ½)) for n of N texts. A stem of number -1 is in none.
func (x *invertedIndex) idf(stem int32) float64 {
	n := float64(len(x.list(stem)))
	return math.Log1p((float64(len(x.lengths)) - n + 0.5) / (n + 0.5))
}

// bm25 returns the score of every text for the stems.
func (x *invertedIndex) bm25(stems []int32) []float64 {
	scores := make([]float64, len(x.lengths))
	mean := x.total / float64(max(1, len(x.lengths)))
	for _, s := range stems {
		idf := x.idf(s)
		for _, p := range x.list(s) {
			n := float64(p.count)
			scores[p.text] += idf * n * (bm25K1 + 1) / (n + bm25K1*(1-bm25B+bm25B*x.lengths[p.text]/mean))
		}
	}
	return scores
}
