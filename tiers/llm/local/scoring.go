package local

import "slices"

// scoreQueue gathers the rows whose next token is to be scored, so that only they go through the head, many at a time.
type scoreQueue struct {
	eng      *engine
	hidden   []float32   // [n, Dim]
	next     []int32     // [n]
	owner    []*sequence // [n]
	computed []*sequence // sequences in prefill no more
}

// add takes the rows of a chunk that predict a token to score; hidden [S, Dim] are the chunk's rows.
func (q *scoreQueue) add(c chunk, hidden []float32) {
	dim := q.eng.cfg.Dim
	for i := max(0, c.seq.scoreFrom-1-c.seq.n); i < c.len; i++ {
		q.hidden = append(q.hidden, hidden[i*dim:][:dim]...)
		q.next = append(q.next, c.seq.ids[c.seq.n+i+1])
		q.owner = append(q.owner, c.seq)
		c.seq.pending++
	}
}

// flush runs the head on as many full groups of rows as there are, and with all on the rest too. It returns the sequences
// whose score is complete.
func (q *scoreQueue) flush(all bool) ([]*sequence, error) {
	n := len(q.next)
	if !all {
		n -= n % scoreRows
	}
	if n > 0 {
		dim := q.eng.cfg.Dim
		logProbs, err := q.eng.scores(q.hidden[:n*dim], q.next[:n])
		if err != nil {
			return nil, err
		}
		for i, lp := range logProbs {
			q.owner[i].logProb += float64(lp)
			q.owner[i].pending--
		}
		q.hidden = slices.Delete(q.hidden, 0, n*dim)
		q.next, q.owner = slices.Delete(q.next, 0, n), slices.Delete(q.owner, 0, n)
	}
	var finished []*sequence
	q.computed = slices.DeleteFunc(q.computed, func(seq *sequence) bool {
		if seq.pending == 0 {
			finished = append(finished, seq)
		}
		return seq.pending == 0
	})
	return finished, nil
}

// drop removes the computed sequences for which gone is true.
func (q *scoreQueue) drop(gone func(*sequence) bool) {
	q.computed = slices.DeleteFunc(q.computed, gone)
}

// forget removes the rows of a sequence that has ended early.
func (q *scoreQueue) forget(seq *sequence) {
	if seq.pending == 0 {
		return
	}
	dim := q.eng.cfg.Dim
	for i := len(q.owner) - 1; i >= 0; i-- {
		if q.owner[i] == seq {
			q.hidden = slices.Delete(q.hidden, i*dim, (i+1)*dim)
			q.next, q.owner = slices.Delete(q.next, i, i+1), slices.Delete(q.owner, i, i+1)
		}
	}
	seq.pending = 0
}
