package retrieve

import (
	"cmp"
	"iter"
	"math"
	"slices"
)

// invertedIndex finds the texts of a list that hold a stem, for BM25. Texts may grow.
type invertedIndex struct {
	lengths []int32 // stems in each text
	total   int     // of the lengths

	// The texts that hold stem s, in order and as often as they hold it, are packed[starts[s]:starts[s+1]], and later[s] with what
	// came after those.
	packed []int32
	starts []uint32
	later  map[int32][]int32
	loose  int // how many are in later
}

// Parameters of BM25 as in Lucene and SQLite (Robertson and Zaragoza 2009).
const bm25K1, bm25B = 1.2, 0.75

// stemsOfText are stems of a text.
type stemsOfText struct {
	text  int
	stems []int32
}

// newInvertedIndex indexes texts by stems, whose numbers are below a limit. A text may come in several parts.
func newInvertedIndex(parts []stemsOfText, limit int) *invertedIndex {
	slices.SortStableFunc(parts, func(a, b stemsOfText) int { return cmp.Compare(a.text, b.text) })
	x := &invertedIndex{starts: make([]uint32, limit+1)}
	if len(parts) > 0 {
		x.lengths = make([]int32, parts[len(parts)-1].text+1)
	}
	for _, p := range parts {
		for _, s := range p.stems {
			x.starts[s+1]++
		}
		x.lengths[p.text] += int32(len(p.stems))
		x.total += len(p.stems)
	}
	for s := range limit {
		x.starts[s+1] += x.starts[s]
	}
	x.packed = make([]int32, x.total)
	ends := slices.Clone(x.starts)
	for _, p := range parts {
		for _, s := range p.stems {
			x.packed[ends[s]] = int32(p.text)
			ends[s]++
		}
	}
	return x
}

// add appends stems to a text, which is one of those there are or the next one.
func (x *invertedIndex) add(text int, stems []int32) {
	if text == len(x.lengths) {
		x.lengths = append(x.lengths, 0)
	}
	x.lengths[text] += int32(len(stems))
	x.total += len(stems)
	if x.later == nil {
		x.later = map[int32][]int32{}
	}
	for _, s := range stems {
		list := x.later[s]
		at := len(list)
		if at > 0 && list[at-1] > int32(text) { // an earlier text has grown
			at, _ = slices.BinarySearch(list, int32(text))
		}
		x.later[s] = slices.Insert(list, at, int32(text))
	}
	if x.loose += len(stems); x.loose > 1024+len(x.packed)/4 {
		x.pack()
	}
}

// pack puts everything side by side, which takes less room. It is done so seldom that it adds a fixed time to a text, whatever
// the number of texts.
func (x *invertedIndex) pack() {
	limit := max(0, len(x.starts)-1)
	for s := range x.later {
		limit = max(limit, int(s)+1)
	}
	packed, starts := make([]int32, 0, x.total), make([]uint32, limit+1)
	for s := range limit {
		before, later := x.lists(int32(s))
		packed = append(append(packed, before...), later...)
		if len(before) > 0 && len(later) > 0 && later[0] < before[len(before)-1] {
			slices.Sort(packed[starts[s]:])
		}
		starts[s+1] = uint32(len(packed))
	}
	x.packed, x.starts, x.later, x.loose = packed, starts, nil, 0
}

// lists returns the texts that hold a stem, packed and later; none for -1.
func (x *invertedIndex) lists(stem int32) (packed, later []int32) {
	if stem >= 0 && int(stem)+1 < len(x.starts) {
		packed = x.packed[x.starts[stem]:x.starts[stem+1]]
	}
	return packed, x.later[stem]
}

// texts returns the texts that hold a stem, in order, and how often each holds it; none for -1.
func (x *invertedIndex) texts(stem int32) iter.Seq2[int32, int] {
	return func(yield func(int32, int) bool) {
		a, b := x.lists(stem)
		for len(a)+len(b) > 0 {
			if len(a) == 0 || len(b) > 0 && b[0] < a[0] {
				a, b = b, a
			}
			text, n := a[0], 0
			for len(a) > 0 && a[0] == text {
				a, n = a[1:], n+1
			}
			for len(b) > 0 && b[0] == text {
				b, n = b[1:], n+1
			}
			if !yield(text, n) {
				return
			}
		}
	}
}

// number is how many texts hold a stem.
func (x *invertedIndex) number(stem int32) (n int) {
	for range x.texts(stem) {
		n++
	}
	return n
}

// idf is the weight of a stem, ln(1 + (N − n + ½)/(n + ½)) for n of N texts. A stem of number -1 is in none.
func (x *invertedIndex) idf(stem int32) float64 {
	n := float64(x.number(stem))
	return math.Log1p((float64(len(x.lengths)) - n + 0.5) / (n + 0.5))
}

// bm25 returns the score of every text for the stems.
func (x *invertedIndex) bm25(stems []int32) []float64 {
	scores := make([]float64, len(x.lengths))
	mean := float64(x.total) / float64(max(1, len(x.lengths)))
	for _, s := range stems {
		idf := x.idf(s)
		for text, count := range x.texts(s) {
			n := float64(count)
			scores[text] += idf * n * (bm25K1 + 1) / (n + bm25K1*(1-bm25B+bm25B*float64(x.lengths[text])/mean))
		}
	}
	return scores
}
