package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// ErrClosed is returned for requests to a model that was closed.
var ErrClosed = errors.New("local model is closed")

// Stats counts what a model has computed since it was opened.
type Stats struct {
	Prefilled int     `json:"prefilled"` // prompt tokens computed
	Reused    int     `json:"reused"`    // prompt tokens whose keys and values were in the prefix cache
	Decoded   int     `json:"decoded"`   // reply tokens computed
	Scored    int     `json:"scored"`    // tokens whose log-probability was computed
	Shapes    []Shape `json:"shapes"`    // decoder programs compiled so far
}

// scheduler batches requests: it computes prompts in chunks, several short ones together, and decodes all running replies
// one token at a time, letting new ones join at every step. One goroutine, run, owns everything in it.
type scheduler struct {
	eng      *engine
	prefix   *prefixCache
	shapes   *shapeSet
	maxBatch int

	inbox chan []*sequence
	quit  chan struct{}
	ended chan struct{}

	waiting []*sequence // prompts not fully computed, in order of arrival
	ready   []*sequence // prompts computed, to join decode
	pool    *pool       // replies being generated
	scratch map[int]*scratch
	rows    scoreQueue
	streak  int // prefill steps since the last decode step

	counting sync.Mutex
	stats    Stats
}

// maxStreak is how many steps of prefill may pass while replies wait for their next token. Filling the batch first pays:
// a step of decode takes almost as long for one reply as for all.
const maxStreak = 16

func newScheduler(eng *engine, context, maxBatch int, cacheBytes int64) *scheduler {
	s := &scheduler{
		eng: eng, prefix: newPrefixCache(eng.be, eng.cfg, cacheBytes), shapes: newShapeSet(context, maxBatch), maxBatch: maxBatch,
		inbox: make(chan []*sequence), quit: make(chan struct{}), ended: make(chan struct{}),
		scratch: map[int]*scratch{},
	}
	s.pool = &pool{eng: eng, shapes: s.shapes}
	s.rows.eng = eng
	s.shapes.onCompile = func(shape Shape) { s.count(func(st *Stats) { st.Shapes = append(st.Shapes, shape) }) }
	go s.run()
	return s
}

// submit hands sequences to the scheduler; each is sent to its done channel, which must have room, when it ends.
func (s *scheduler) submit(ctx context.Context, seqs []*sequence) error {
	select {
	case s.inbox <- seqs:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ended:
		return ErrClosed
	}
}

// snapshot returns the counts so far, also while a step is computed.
func (s *scheduler) snapshot() Stats {
	s.counting.Lock()
	defer s.counting.Unlock()
	st := s.stats
	st.Shapes = slices.Clone(st.Shapes)
	return st
}

func (s *scheduler) count(change func(*Stats)) {
	s.counting.Lock()
	defer s.counting.Unlock()
	change(&s.stats)
}

// close ends the goroutine; requests in flight fail with ErrClosed.
func (s *scheduler) close() {
	close(s.quit)
	<-s.ended
}

func (s *scheduler) run() {
	defer close(s.ended)
	for {
		busy := len(s.waiting)+len(s.ready)+s.pool.running() > 0
		if !s.receive(!busy) {
			s.failAll(ErrClosed)
			s.pool.finalize()
			for _, c := range s.scratch {
				c.cache.finalize()
			}
			s.prefix.finalize()
			return
		}
		s.dropCancelled()
		if err := s.step(); err != nil {
			s.failAll(err)
		}
	}
}

// gather is how long an idle scheduler waits for company after the first request: callers start together.
const gather = time.Millisecond

// receive takes all that has arrived, and with wait waits for something to arrive. It returns false when the model closes.
func (s *scheduler) receive(wait bool) bool {
	if wait {
		select {
		case seqs := <-s.inbox:
			s.waiting = append(s.waiting, seqs...)
			time.Sleep(gather)
		case <-s.quit:
			return false
		}
	}
	// Senders that are blocked are all taken: a select with a timer would leave most of them for later steps.
	for {
		select {
		case seqs := <-s.inbox:
			s.waiting = append(s.waiting, seqs...)
		case <-s.quit:
			return false
		default:
			return true
		}
	}
}

// step computes one batch.
func (s *scheduler) step() error {
	if err := s.admit(); err != nil {
		return err
	}
	running := s.pool.running()
	if running == 0 || s.streak < maxStreak {
		batch := s.nextPrefill()
		if len(batch) > 0 {
			s.streak++
			return s.prefill(batch)
		}
	}
	s.streak = 0
	if running == 0 {
		return nil
	}
	s.count(func(st *Stats) { st.Decoded += running })
	finished, err := s.pool.step()
	for _, seq := range finished {
		s.finish(seq, nil)
	}
	return err
}

// admit moves computed prompts into decode.
func (s *scheduler) admit() error {
	n := min(len(s.ready), s.maxBatch-s.pool.running())
	for n > 0 && !s.pool.admits(s.ready[:n]) {
		n--
	}
	if n == 0 {
		return nil
	}
	joining := s.ready[:n]
	if err := s.pool.join(joining); err != nil {
		return err
	}
	for _, seq := range joining {
		s.prefix.releaseAll(seq.blocks)
		seq.blocks = nil
	}
	s.ready = slices.Delete(s.ready, 0, n)
	return nil
}

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

// What a step of prefill costs, in units of a token of a full long chunk: longS and manyB*manyS tokens alike, and a short
// chunk, whose products are less efficient.
const (
	longCost  = longS
	shortCost = 1.3 * shortS
)

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

// finish sends a sequence back to its caller.
func (s *scheduler) finish(seq *sequence, err error) {
	s.prefix.releaseAll(seq.blocks)
	seq.blocks = nil
	s.rows.forget(seq)
	seq.err = err
	if seq.tokens != nil {
		close(seq.tokens)
	}
	seq.done <- seq
}

// dropCancelled ends the sequences whose callers have gone.
func (s *scheduler) dropCancelled() {
	drop := func(seq *sequence) bool {
		if err := seq.ctx.Err(); err != nil {
			s.finish(seq, err)
			return true
		}
		return false
	}
	s.waiting = slices.DeleteFunc(s.waiting, drop)
	s.ready = slices.DeleteFunc(s.ready, drop)
	s.rows.drop(drop)
	s.pool.drop(drop)
}

// failAll ends everything in flight.
func (s *scheduler) failAll(err error) {
	err = fmt.Errorf("local model: %w", err)
	fail := func(seq *sequence) bool { s.finish(seq, err); return true }
	s.waiting = slices.DeleteFunc(s.waiting, fail)
	s.ready = slices.DeleteFunc(s.ready, fail)
	s.rows.drop(fail)
	s.pool.drop(fail)
}
