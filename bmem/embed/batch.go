package embed

// row is one text to embed: its place among the caller's texts and its token ids.
type row struct {
	index int
	ids   []int
}

// batch is rows that run together, padded to [size, length] tokens.
type batch struct {
	rows         []row
	size, length int
}

// Batches come in few shapes, because XLA compiles each, for some 0.4 s. Lengths are rounded up to one of bucketLengths;
// sizes are powers of four, up to batchTokens tokens. Larger batches are not faster: their activations leave the CPU's cache.
var bucketLengths = []int{16, 32, 48, 64, 96, 128, 160, 192, 224, maxTokens}

const batchTokens = 2048

// batches cuts rows, sorted by length, into batches.
func batches(rows []row) []batch {
	var out []batch
	for _, length := range bucketLengths {
		n := 0
		for n < len(rows) && len(rows[n].ids) <= length {
			n++
		}
		for n > 0 {
			size := batchSize(n, batchTokens/length)
			take := min(size, n)
			out = append(out, batch{rows: rows[:take], size: size, length: length})
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

// inputs returns the padded token ids, [size, length] row by row, and the lengths [size]. Rows that only fill up the
// batch have length 1, so that their mean is defined.
func (b batch) inputs() (ids, lengths []int32) {
	ids, lengths = make([]int32, b.size*b.length), make([]int32, b.size)
	for i := range lengths {
		lengths[i] = 1
	}
	for i, r := range b.rows {
		lengths[i] = int32(len(r.ids))
		for j, id := range r.ids {
			ids[i*b.length+j] = int32(id)
		}
	}
	return ids, lengths
}
