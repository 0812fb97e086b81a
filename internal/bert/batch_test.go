package bert

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestBatchSize(t *testing.T) {
	for _, c := range []struct{ n, limit, want int }{
		{1, 128, 1}, {2, 128, 1}, {3, 128, 4}, {4, 128, 4}, {11, 128, 4}, {12, 128, 16}, {16, 8, 4}, {1000, 128, 64}, {1000, 8, 4}, {5, 1, 1},
	} {
		if got := batchSize(c.n, c.limit); got != c.want {
			t.Errorf("batchSize(%d, %d) = %d, want %d", c.n, c.limit, got, c.want)
		}
	}
}

// TestBatches checks that every row is in one batch that it fits, that little is padding, and that shapes are few.
func TestBatches(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	shapes := map[[2]int]bool{}
	for range 50 {
		rows := make([]Row, random.IntN(600))
		for i := range rows {
			rows[i] = Row{Index: i, IDs: make([]int, 2+random.IntN(MaxTokens-1))}
		}
		slices.SortFunc(rows, func(a, b Row) int { return cmp.Compare(len(a.IDs), len(b.IDs)) })
		seen, used, padded := map[int]bool{}, 0, 0
		for _, b := range Batches(rows) {
			shapes[[2]int{b.Size, b.Length}] = true
			padded += b.Size * b.Length
			if len(b.Rows) == 0 || len(b.Rows) > b.Size {
				t.Fatalf("%d rows in a batch of %d", len(b.Rows), b.Size)
			}
			for _, r := range b.Rows {
				if seen[r.Index] || len(r.IDs) > b.Length {
					t.Fatalf("row %d of %d tokens, seen %v, in a batch of length %d", r.Index, len(r.IDs), seen[r.Index], b.Length)
				}
				seen[r.Index] = true
				used += len(r.IDs)
			}
			ids, lengths, firsts := b.Inputs()
			if len(ids) != b.Size*b.Length || len(lengths) != b.Size || len(firsts) != b.Size || slices.Min(lengths) < 1 {
				t.Fatalf("%d ids and lengths %v in a batch of [%d, %d]", len(ids), lengths, b.Size, b.Length)
			}
		}
		if len(seen) != len(rows) {
			t.Fatalf("%d of %d rows are in batches", len(seen), len(rows))
		}
		if len(rows) > 100 && float64(used) < 0.75*float64(padded) {
			t.Errorf("%d tokens padded to %d", used, padded)
		}
	}
	if len(shapes) > 35 {
		t.Errorf("%d shapes to compile", len(shapes))
	}
}
