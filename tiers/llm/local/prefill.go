package local

import (
	"slices"
)

// chunk is a piece of a sequence in a step of prefill: tokens [n, n+len) of it.
type chunk struct {
	seq *sequence
	len int
}

// nextPrefill picks what to compute next from the waiting prompts, in order of arrival: a long piece of one, or short
// pieces of several, whichever is more tokens for its cost.
func (s *scheduler) nextPrefill() []chunk {
	var many []chunk
	var solo chunk
	claimed := map[blockKey]bool{}
	generating := s.pool.running() + len(s.ready)
	waiting := s.waiting[:0]
	for _, seq := range s.waiting {
		if !seq.scoring {
			generating++
			// One that has not begun can wait until others give back memory.
			if generating > s.maxBatch || generating > 1 && seq.n == 0 && s.prefix.full() {
				waiting = append(waiting, seq)
				continue
			}
		}
		if before := seq.n; seq.n%blockTokens == 0 {
			seq.adopt(s.prefix)
			s.count(func(st *Stats) { st.Reused += seq.n - before })
		}
		left := seq.end() - seq.n
		if left == 0 {
			if seq.scoring {
				s.finish(seq, nil) // nothing to compute: a text of one token
			} else {
				s.ready = append(s.ready, seq)
			}
			continue
		}
		waiting = append(waiting, seq)
		// A block that an earlier sequence of this step computes will be in the cache afterwards: wait for it.
		if k, ok := seq.nextKey(); ok {
			if claimed[k] {
				continue
			}
			claimed[k] = true
		}
		if len(many) < manyB && seq.n+manyS <= manyTokens/manyB {
			many = append(many, chunk{seq, min(left, manyS)})
		}
		if c := soloChunk(seq, left); solo.seq == nil || c.rate() > solo.rate() {
			solo = c
		}
	}
	clear(s.waiting[len(waiting):])
	s.waiting = waiting
	total := 0
	for _, c := range many {
		total += c.len
	}
	switch {
	case solo.seq == nil:
		return nil
	case len(many) > 1 && float64(total)/longCost > solo.rate():
		return many
	}
	return []chunk{solo}
}

// soloChunk is the next piece of a prompt with left tokens to compute, when it is computed alone.
func soloChunk(seq *sequence, left int) chunk {
	if left <= 2*shortS {
		return chunk{seq, min(left, shortS)}
	}
	return chunk{seq, min(left, longS)}
}

// rate is how many tokens the chunk computes for its cost when computed alone.
func (c chunk) rate() float64 {
	if c.len <= shortS {
		return float64(c.len) / shortCost
	}
	return float64(c.len) / longCost
}

// prefill computes chunks: one of up to longS tokens, or up to manyB of up to manyS.
func (s *scheduler) prefill(chunks []chunk) error {
	B, S := 1, longS
	switch {
	case len(chunks) > 1:
		B, S = manyB, manyS
	case chunks[0].len <= shortS:
		S = shortS
	}
	need := 0
	for _, c := range chunks {
		need = max(need, c.seq.n+S)
	}
	buf, err := s.buffer(s.shapes.prefill(B, S, need))
	if err != nil {
		return err
	}
	tokens, pos0 := make([]int32, B*S), make([]int32, B)
	slots := buf.assign(chunks)
	for i, c := range chunks {
		b := slots[i]
		pos0[b] = int32(c.seq.n)
		copy(tokens[b*S:], c.seq.ids[c.seq.n:c.seq.n+c.len])
	}
	if err := buf.load(s.eng.cfg, chunks, slots); err != nil {
		return err
	}
	err = s.eng.forward(tokens, pos0, buf.cache, func(hidden, kv []float32) error {
		dim := s.eng.cfg.Dim
		for i, c := range chunks {
			s.count(func(st *Stats) { st.Prefilled += c.len })
			if c.seq.scoring {
				s.rows.add(c, hidden[slots[i]*S*dim:][:S*dim])
			}
			if err := s.keep(c, kvRows{kv, B, S, slots[i]}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.afterPrefill()
}

// buffer returns the scratch cache for a shape. There is one for each batch size.
func (s *scheduler) buffer(shape Shape) (*scratch, error) {
	buf := s.scratch[shape.B]
	if buf != nil && buf.cache.T == shape.T {
		return buf, nil
	}
	if buf != nil {
		buf.cache.finalize()
		delete(s.scratch, shape.B)
	}
	cache, err := s.eng.newCache(shape.B, shape.T)
	if err != nil {
		return nil, err
	}
	buf = &scratch{cache: cache, held: make([][]*block, shape.B)}
	s.scratch[shape.B] = buf
	return buf, nil
}

// keep stores the new keys and values of a chunk in blocks, whole ones in the prefix cache.
func (s *scheduler) keep(c chunk, kv kvRows) error {
	seq := c.seq
	for from := 0; from < c.len; from += blockTokens {
		k, whole := seq.nextKey()
		n := min(blockTokens, c.len-from)
		b, err := s.prefix.alloc()
		if err != nil {
			return err
		}
		b.fill(s.eng.cfg, kv, from, n)
		if whole && n == blockTokens {
			b = s.prefix.put(k, b)
		}
		seq.blocks = append(seq.blocks, b)
		seq.n += n
	}
	return nil
}

// afterPrefill moves on the sequences whose prompts are computed, and runs the scoring head when it has enough rows or
// no more are coming.
func (s *scheduler) afterPrefill() error {
	var moved []*sequence
	scoring := false
	s.waiting = slices.DeleteFunc(s.waiting, func(seq *sequence) bool {
		if seq.n < seq.end() {
			scoring = scoring || seq.scoring
			return false
		}
		moved = append(moved, seq)
		return true
	})
	for _, seq := range moved {
		if seq.scoring {
			s.prefix.releaseAll(seq.blocks)
			seq.blocks = nil
			s.rows.computed = append(s.rows.computed, seq)
		} else {
			s.ready = append(s.ready, seq)
		}
	}
	finished, err := s.rows.flush(!scoring)
	if err != nil {
		return err
	}
	for _, seq := range finished {
		s.count(func(st *Stats) { st.Scored += len(seq.ids) - seq.scoreFrom })
		s.finish(seq, nil)
	}
	return nil
}
