package track

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Trackers feeds the runs of a training to its sinks.
type Trackers struct {
	sinks []Sink
	warn  func(string)

	// pause is the delay before a sink is tried again, attempts the number of tries after a run has ended, and grace the time
	// that Close waits.
	pause    time.Duration
	attempts int
	grace    time.Duration

	ctx    context.Context
	cancel context.CancelFunc
	feeds  sync.WaitGroup

	mu      sync.Mutex
	failed  map[Sink]bool // sinks warned about
	missing map[Sink]bool // sinks that lack something
}

// New returns the trackers of a training. warn gets one line when a sink fails for the first time; it may be called from another
// goroutine, one call at a time. The caller closes the result.
func New(sinks []Sink, warn func(string)) *Trackers {
	t := &Trackers{sinks: sinks, warn: warn, pause: 2 * time.Second, attempts: 3, grace: 30 * time.Second, failed: map[Sink]bool{}, missing: map[Sink]bool{}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// Start begins to show a run. It sets run.ID.
func (t *Trackers) Start(run Run) *Recorder {
	r := &Recorder{changed: make(chan struct{})}
	if len(t.sinks) == 0 {
		return r
	}
	state, err := openState(run.Dir)
	if err != nil {
		for _, s := range t.sinks {
			t.report(s, err, true)
		}
		return r
	}
	run.ID = state.ID
	for _, s := range t.sinks {
		t.feeds.Go(func() { t.feed(s, run, state, r) })
	}
	return r
}

// Close waits up to half a minute for the sinks to receive everything, and warns about those that lack something.
func (t *Trackers) Close() {
	done := make(chan struct{})
	go func() {
		t.feeds.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(t.grace):
	}
	t.cancel()
	<-done
	for _, s := range t.sinks {
		if t.failed[s] && !t.missing[s] {
			t.warn(s.String() + ": back again, and nothing is missing there")
		}
	}
}

// report warns about a sink's first error. With last, no further attempt is made for the run: the sink lacks something.
func (t *Trackers) report(s Sink, err error, last bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.missing[s] = t.missing[s] || last
	if !t.failed[s] {
		t.failed[s] = true
		t.warn(fmt.Sprintf("%s: %v; the training goes on, and what is missing there is delivered when it can be, or by the next start of the same command", s, err))
	}
}

// feed delivers a run to a sink, trying again after errors.
func (t *Trackers) feed(s Sink, run Run, state *state, r *Recorder) {
	if state.delivered(s) != "" {
		// A finished run is opened again only for another outcome.
		if _, end := r.wait(t.ctx, -1); end == nil || end.Status != Finished || end.digest() == state.delivered(s) {
			return
		}
	}
	for left := t.attempts; ; {
		end, err := t.deliver(s, run, r)
		if err == nil && end.Status == Finished {
			err = state.deliver(s, end.digest())
		}
		if err == nil {
			return
		}
		if t.ctx.Err() != nil {
			err = errors.New("not everything could be delivered in time")
		}
		if r.ended() {
			left--
		}
		last := left == 0 || t.ctx.Err() != nil || errors.As(err, &Permanent{})
		t.report(s, err, last)
		if last {
			return
		}
		select {
		case <-time.After(t.pause):
		case <-t.ctx.Done():
		}
	}
}

// deliver opens a run in a sink and sends all steps and the outcome, which it returns.
func (t *Trackers) deliver(s Sink, run Run, r *Recorder) (end *Outcome, err error) {
	session, next, err := s.Open(t.ctx, run)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	for {
		steps, end := r.wait(t.ctx, next)
		switch {
		case t.ctx.Err() != nil:
			return nil, t.ctx.Err()
		case len(steps) == 0:
			return end, session.End(t.ctx, *end)
		}
		if err := session.Log(t.ctx, steps); err != nil {
			return nil, err
		}
		next += len(steps)
	}
}

// Recorder receives the measurements of a run. It never waits for a sink.
type Recorder struct {
	mu      sync.Mutex
	steps   []Step
	end     *Outcome
	changed chan struct{} // closed at every change
}

// Record adds the values of the next step. A resumed run records all its steps again, from the first.
func (r *Recorder) Record(values map[string]float64) {
	r.change(func() { r.steps = append(r.steps, Step{len(r.steps), time.Now(), values}) })
}

// End records how the run ended. Nothing may be recorded after it.
func (r *Recorder) End(o Outcome) { r.change(func() { r.end = &o }) }

func (r *Recorder) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

// wait returns the steps from index from on once there are any, or the outcome once it is known. With a negative index it waits
// for the outcome. Both are nil if ctx ends first.
func (r *Recorder) wait(ctx context.Context, from int) (steps []Step, end *Outcome) {
	for {
		r.mu.Lock()
		if from >= 0 && from < len(r.steps) {
			steps = r.steps[from:]
		}
		end, changed := r.end, r.changed
		r.mu.Unlock()
		if steps != nil || end != nil {
			return steps, end
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil
		}
	}
}

func (r *Recorder) ended() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.end != nil
}
