package retrieve

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// TestInvertedIndexCounts compares an index with plain counts, of texts that it is made of and of those that come later: new texts
// mostly, but earlier ones grow too, as sessions do that are taken up again.
func TestInvertedIndexCounts(t *testing.T) {
	const stems = 300
	rng := rand.New(rand.NewPCG(1, 2))
	counts, lengths := map[int32]map[int32]int{}, []int32(nil)
	some := func(text int) []int32 {
		list := make([]int32, rng.IntN(20))
		if text == len(lengths) {
			lengths = append(lengths, 0)
		}
		lengths[text] += int32(len(list))
		for i := range list {
			list[i] = rng.Int32N(1 + rng.Int32N(stems)) // low numbers are frequent
			if counts[list[i]] == nil {
				counts[list[i]] = map[int32]int{}
			}
			counts[list[i]][int32(text)]++
		}
		return list
	}
	next := func() int {
		if len(lengths) > 0 && rng.IntN(4) == 0 {
			return rng.IntN(len(lengths))
		}
		return len(lengths)
	}
	compare := func(x *invertedIndex) {
		t.Helper()
		for s := int32(-1); s <= stems; s++ {
			got, before := map[int32]int{}, int32(-1)
			for text, n := range x.texts(s) {
				if text <= before {
					t.Fatalf("stem %d: text %d comes after text %d", s, text, before)
				}
				got[text], before = n, text
			}
			if !maps.Equal(got, counts[s]) {
				t.Fatalf("stem %d: counts %v, want %v", s, got, counts[s])
			}
			if n := x.number(s); n != len(counts[s]) {
				t.Fatalf("stem %d is in %d texts, want %d", s, n, len(counts[s]))
			}
		}
		total := 0
		for text, n := range lengths {
			if total += int(n); x.lengths[text] != n {
				t.Fatalf("text %d has %d stems, want %d", text, x.lengths[text], n)
			}
		}
		if x.total != total || len(x.lengths) != len(lengths) {
			t.Fatalf("%d stems in %d texts, want %d in %d", x.total, len(x.lengths), total, len(lengths))
		}
	}

	var parts []stemsOfText
	for range 200 {
		text := next()
		parts = append(parts, stemsOfText{text, some(text)})
	}
	x := newInvertedIndex(parts, stems)
	compare(x)
	packed := 0
	for i := range 600 {
		text := next()
		x.add(text, some(text))
		if x.loose == 0 {
			packed++
		}
		if i%50 == 0 {
			compare(x)
		}
	}
	compare(x)
	if packed < 2 || packed > 6 {
		t.Errorf("packed %d times", packed)
	}
	empty := newInvertedIndex(nil, 0)
	counts, lengths = nil, nil
	compare(empty)
	if scores := empty.bm25([]int32{-1, 3}); len(scores) != 0 {
		t.Errorf("scores of no text: %v", scores)
	}
}
