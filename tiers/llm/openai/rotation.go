package openai

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

const (
	defaultCooldown = time.Second
	longestCooldown = 30 * time.Second // doubling ends here
	deadWait        = 10 * time.Minute // after a key was refused
	failuresInRow   = 3                // until an endpoint is left alone for others
)

// rotation hands out routes in turn and skips those that limit calls or fail.
type rotation struct {
	cooldown time.Duration
	now      func() time.Time

	mu     sync.Mutex
	next   int
	routes []health
}

// health is the recent record of a route.
type health struct {
	until    time.Time // left alone until then
	failures int       // in a row
	dead     error     // its key was refused, and why
}

func newRotation(n int, cooldown time.Duration) *rotation {
	if cooldown <= 0 {
		cooldown = defaultCooldown
	}
	return &rotation{cooldown: cooldown, now: time.Now, routes: make([]health, n)}
}

// do runs call with the index of the route whose turn it is. A route whose key is refused is passed over for the next,
// at once; every other failure is returned, with the time until some route may be used again as its RetryAfter.
// If none may be used now, the error is an Unsent one that says when.
func (r *rotation) do(ctx context.Context, call func(route int) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return &llm.Error{Kind: llm.ErrUnavailable, Unsent: true, Final: true, Err: context.Cause(ctx)}
		}
		i, err := r.pick()
		if err != nil {
			return err
		}
		err = call(i)
		if ctx.Err() != nil {
			return err // says nothing about the route
		}
		r.record(i, err)
		if err == nil {
			return nil
		}
		if keyRefused(err) && r.anyAlive() {
			continue // ends: the refused route is out now
		}
		var e *llm.Error
		if errors.As(err, &e) {
			e.RetryAfter = r.wait()
		}
		return err
	}
}

func keyRefused(err error) bool { return errors.Is(err, llm.ErrAuth) || errors.Is(err, llm.ErrQuota) }

// pick returns the next route that may be used.
func (r *rotation) pick() (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	var dead error
	limited := false
	for k := range r.routes {
		i := (r.next + k) % len(r.routes)
		h := &r.routes[i]
		if !now.Before(h.until) {
			h.dead = nil
			r.next = i + 1
			return i, nil
		}
		if h.dead != nil {
			dead = h.dead
		} else {
			limited = true
		}
	}
	if !limited {
		return 0, dead
	}
	return 0, &llm.Error{Kind: llm.ErrRateLimited, Unsent: true, Message: "every endpoint is cooling down", RetryAfter: r.waitLocked(now)}
}

// record notes how a call on route i went.
func (r *rotation) record(i int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := &r.routes[i]
	if err == nil {
		h.failures = 0
		return
	}
	now := r.now()
	if !now.Before(h.until) { // of the calls in flight when a limit struck, only the first counts
		h.failures++
	}
	var e *llm.Error
	errors.As(err, &e)
	var wait time.Duration
	switch {
	case keyRefused(err):
		h.dead = err
		wait = deadWait
	case e != nil && e.RetryAfter > 0:
		wait = e.RetryAfter
	case errors.Is(err, llm.ErrRateLimited):
		wait = r.doubled(h.failures - 1)
	case errors.Is(err, llm.ErrUnavailable) && len(r.routes) > 1 && h.failures >= failuresInRow:
		wait = r.doubled(h.failures - failuresInRow)
	case errors.Is(err, llm.ErrBadRequest):
		h.failures = 0 // the request's fault
	}
	if until := now.Add(wait); until.After(h.until) {
		h.until = until
	}
}

// doubled is the cooldown after a number of doublings.
func (r *rotation) doubled(times int) time.Duration {
	return min(r.cooldown<<min(max(times, 0), 16), max(r.cooldown, longestCooldown))
}

func (r *rotation) anyAlive() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.routes {
		if h.dead == nil {
			return true
		}
	}
	return false
}

// wait is the time until some route may be used; 0 if one may be now.
func (r *rotation) wait() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waitLocked(r.now())
}

func (r *rotation) waitLocked(now time.Time) time.Duration {
	shortest := time.Duration(-1)
	for _, h := range r.routes {
		if left := max(0, h.until.Sub(now)); h.dead == nil && (shortest < 0 || left < shortest) {
			shortest = left
		}
	}
	return max(0, shortest)
}
