package llm

import (
	"context"
	"errors"
	"time"
)

// Hedger is an optional capability of a Client that several endpoints serve: where a call takes long at one, another is asked too.
type Hedger interface {
	// CanHedge says whether there are two endpoints at least.
	CanHedge() bool
	// Hedge returns the contexts of a call's two attempts, which go to different endpoints. after gets a value once the first one is
	// under way: how long that endpoint takes for all but the slowest calls. It gets none as long as that is not known.
	Hedge(ctx context.Context) (first, second context.Context, after <-chan time.Duration)
}

// ErrOvertaken is the context's cause where an attempt was given up because another endpoint answered first.
var ErrOvertaken = errors.New("another endpoint answered first")

// hedge is the layer that asks a second endpoint where the first one takes longer than it does for nearly all calls. The reply that comes
// first counts, and the other attempt is cancelled. Each attempt passes the spend limits by itself; one that is cancelled may be billed,
// and counts as uncertain. Where the limits have no room for two, one is made.
func (m meter) hedge(h Hedger) Middleware {
	return func(next Handler) Handler {
		return func(ctx context.Context, call Call) (Reply, error) {
			if call.Chat == nil {
				return next(ctx, call)
			}
			shares, err := call.charge.forTwo(ctx, func() Bound { return m.bound(call) }, call)
			if err != nil {
				return Reply{}, err
			} else if shares == nil {
				return next(ctx, call)
			}
			defer call.charge.rejoin(shares)
			r := race{next: next, call: call, shares: shares, start: time.Now(), ended: make(chan int, 2)}
			var after <-chan time.Duration
			r.contexts[0], r.contexts[1], after = h.Hedge(ctx)
			return r.run(after)
		}
	}
}

// race is a call whose attempts may be two.
type race struct {
	next     Handler
	call     Call
	shares   []*charge // of the money that is held for the call
	contexts [2]context.Context
	start    time.Time

	cancel  [2]context.CancelCauseFunc
	replies [2]Reply
	errs    [2]error
	ended   chan int // gets the number of an attempt
}

// begin makes an attempt.
func (r *race) begin(i int) {
	var ctx context.Context
	ctx, r.cancel[i] = context.WithCancelCause(r.contexts[i])
	call := r.call
	call.charge = r.shares[i]
	go func() {
		r.replies[i], r.errs[i] = r.next(ctx, call)
		r.ended <- i
	}()
}

func (r *race) run(after <-chan time.Duration) (Reply, error) {
	r.begin(0)
	running, begun := 1, 1
	winner := -1
	var slow <-chan time.Time
	for running > 0 {
		select {
		case wait := <-after:
			timer := time.NewTimer(wait)
			defer timer.Stop()
			slow = timer.C
		case <-slow:
			if slow = nil; winner < 0 {
				r.begin(1)
				running, begun = running+1, 2
			}
		case i := <-r.ended:
			running--
			r.cancel[i](nil)
			slow = nil // an attempt that failed in time is for the retries
			if winner < 0 && r.errs[i] == nil {
				winner = i
				if other := 1 - i; running > 0 {
					r.cancel[other](ErrOvertaken)
				}
			}
		}
	}
	if begun == 1 {
		return r.replies[0], r.errs[0]
	}
	best := max(winner, 0) // why the second one failed may be that there was no room for it
	reply := r.replies[best]
	u := reply.Usage.Add(r.replies[1-best].Usage)
	u.Calls, u.Failed, u.Hedged = 1, 0, 1
	if r.errs[best] != nil {
		u.Failed = 1
	}
	u.MS = float64(time.Since(r.start)) / float64(time.Millisecond)
	reply.Usage = u
	return reply, r.errs[best]
}

// forTwo divides what is held for a call among two attempts at one time. It returns nil if there is no room for two. The error is one of
// the context or of the ledger.
func (ch *charge) forTwo(ctx context.Context, bound func() Bound, call Call) ([]*charge, error) {
	if ch == nil {
		return []*charge{nil, nil}, nil
	}
	if err := ch.begin(ctx, bound); err != nil {
		return nil, err
	}
	if ch.attempts < 2 {
		return nil, nil
	}
	return ch.parts([]Call{call, call}), nil
}

// rejoin takes back what the attempts have not used.
func (ch *charge) rejoin(shares []*charge) {
	if ch == nil {
		return
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for _, s := range shares {
		s.mu.Lock()
		switch {
		case s.held == nil:
		case ch.held == nil:
			ch.held = s.held
		default:
			ch.held.need += s.held.need
		}
		s.held = nil
		s.mu.Unlock()
	}
}
