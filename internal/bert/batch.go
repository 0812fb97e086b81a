package bert

import (
	"cmp"
	"slices"
)

// Row is one input of an encoder.
type Row struct {
	Index int   // its place among the caller's texts
	IDs   []int // at most MaxTokens
	First int   // tokens of the first segment, where there are two
}

// Batch is rows that run together, padded to [Size, Length] tokens.
type Batch struct {
	Rows         []Row
	Size, Length int
}

// Batches come in few shapes, because XLA compiles each, for some 0.4 s. Lengths are rounded up to one of bucketLengths;
// sizes are powers of four, up to batchTokens tokens. Larger batches are not faster: their activations leave the CPU's cache.
var bucketLengths = []int{16, 32, 48, 64, 96, 128, 160, 192, 224, MaxTokens}

const batchTokens = 2048

// Batches sorts rows by length, so that little of a batch is padding, and cuts them into batches.
func Batches(rows []Row) []Batch {
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(len(a.IDs), len(b.IDs)) })
	var out []Batch
	for _, length := range bucketLengths {
		n := 0
		for n < len(rows) && len(rows[n].IDs) <= length {
			n++
		}
		for n > 0 {
			size := batchSize(n, batchTokens/length)
			take := min(size, n)
			out = append(out, Batch{Rows: rows[:take], Size: size, Length: length})
			rows, n = rows[take:], n-take
		}
	}
	return out
}

// batchSize is the largest power of four that is at most limit and that n rows fill to three quarters or more.
func batchSize(n, limit int) int {
	size := 1
	for next := 4; next <= limit && 4*n >= 3*next; next *= 4 {
		size = next
	}
	return size
}

// Inputs returns the padded token ids [Size, Length], the rows' lengths [Size] and those of their first segments [Size], row by
// row. Rows that only fill up the batch have length 1, so that their mean is defined.
func (b Batch) Inputs() (ids, lengths, firsts []int32) {
	ids, lengths, firsts = make([]int32, b.Size*b.Length), make([]int32, b.Size), make([]int32, b.Size)
	for i := range lengths {
		lengths[i], firsts[i] = 1, 1
	}
	for i, r := range b.Rows {
		lengths[i], firsts[i] = int32(len(r.IDs)), int32(r.First)
		for j, id := range r.IDs {
			ids[i*b.Length+j] = int32(id)
		}
	}
	return ids, lengths, firsts
}
