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

// What a step of prefill costs, in units of a token of a full long chunk: longS and manyB*manyS tokens alike, and a short
// chunk, whose products are less efficient.
const (
	longCost  = longS
	shortCost = 1.3 * shortS
)

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
