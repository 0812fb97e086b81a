package openai

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

const (
	defaultCooldown = time.Second
	longestCooldown = 30 * time.Second       // doubling ends here
	deadWait        = 10 * time.Minute       // after a key was refused
	failuresInRow   = 3                      // until an endpoint is left alone for others
	trialWait       = 100 * time.Millisecond // while one call tries an endpoint that failed
)

// rotation hands out routes. Calls of a session go to the same endpoint while that is not much busier than the others; other calls to
// the route with the fewest in flight. Routes that limit calls or fail are left alone for a while.
type rotation struct {
	cooldown  time.Duration
	now       func() time.Time
	endpoints []int // of each route: several keys of one endpoint are a route each

	mu        sync.Mutex
	next      int // where a search among equals begins
	routes    []health
	latencies map[int][]time.Duration // by endpoint, the latest last, of calls that may be hedged
}

// health is the recent record of a route.
type health struct {
	inFlight int
	until    time.Time // left alone until then
	failures int       // in a row
	dead     error     // its key was refused, and why
	// trial says that the route was left alone for failing, and has not answered since: one call at a time tries it.
	trial     bool
	cooldowns int64 // how often it was left alone
}

func newRotation(endpoints []int, cooldown time.Duration) *rotation {
	if cooldown <= 0 {
		cooldown = defaultCooldown
	}
	return &rotation{cooldown: cooldown, now: time.Now, endpoints: endpoints, routes: make([]health, len(endpoints))}
}

// do runs call with the index of a route. A route whose key is refused is passed over for the next,
// at once; every other failure is returned, with the time until some route may be used again as its RetryAfter.
// If none may be used now, the error is an Unsent one that says when.
func (r *rotation) do(ctx context.Context, call func(route int) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return &llm.Error{Kind: llm.ErrUnavailable, Unsent: true, Final: true, Err: context.Cause(ctx)}
		}
		i, err := r.take(llm.Session(ctx), legOf(ctx))
		if err != nil {
			return err
		}
		err = r.use(ctx, i, call)
		if ctx.Err() != nil {
			return err // says nothing about the route
		}
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

// use makes a call on a route that was taken, and gives it back.
func (r *rotation) use(ctx context.Context, i int, call func(route int) error) error {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.routes[i].inFlight--
	}()
	start := r.now()
	err := call(i)
	r.took(ctx, r.endpoints[i], r.now().Sub(start), err)
	if ctx.Err() == nil {
		r.record(i, err)
	}
	return err
}

func keyRefused(err error) bool { return errors.Is(err, llm.ErrAuth) || errors.Is(err, llm.ErrQuota) }

// A session's endpoint is passed over when it has more calls in flight than this many times the mean, and one more.
const boundedLoad = 1.25

// take returns a route that may be used, and counts a call on it. The two attempts of a pair get different endpoints.
func (r *rotation) take(session string, l leg) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	var usable []int
	busy := map[int]int{} // calls in flight of each endpoint that has a usable route
	var dead error
	limited, all := false, 0
	for k := range r.routes {
		i := (r.next + k) % len(r.routes)
		h := &r.routes[i]
		switch {
		case r.endpoints[i] == l.excluded():
			limited = true
		case now.Before(h.until) && h.dead != nil:
			dead = h.dead
		case now.Before(h.until), h.trial && h.inFlight > 0:
			limited = true
		default:
			h.dead = nil
			usable = append(usable, i)
			busy[r.endpoints[i]] += h.inFlight
			all += h.inFlight
		}
	}
	if len(usable) == 0 {
		if !limited {
			return 0, dead
		}
		return 0, &llm.Error{Kind: llm.ErrRateLimited, Unsent: true, Message: "every endpoint is cooling down", RetryAfter: r.waitLocked(now)}
	}
	most := boundedLoad*float64(all+1)/float64(len(busy)) + 1
	best := slices.MinFunc(usable, func(a, b int) int {
		x, y := r.endpoints[a], r.endpoints[b]
		if session != "" && x != y {
			if over, under := float64(busy[x]) >= most, float64(busy[y]) >= most; over != under {
				return cmp.Compare(btoi(over), btoi(under))
			} else if !over {
				return cmp.Compare(rank(session, y), rank(session, x)) // the highest first
			}
		}
		return cmp.Compare(r.routes[a].inFlight, r.routes[b].inFlight)
	})
	r.next = best + 1
	r.routes[best].inFlight++
	l.goes(r.endpoints[best], r.latencies[r.endpoints[best]])
	return best, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// rank orders the endpoints for a session, in another order for each: when one fails, its sessions are spread over all others, and
// the others' stay where they are. It is rendezvous hashing (Thaler and Ravishankar, 1998).
func rank(session string, endpoint int) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d", session, endpoint)
	x := h.Sum64() // its high bits hardly depend on the last characters
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	return x ^ x>>33
}

// pause leaves a route alone, as an endpoint's headers ask.
func (r *rotation) pause(i int, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.routes[i].leaveUntil(now.Add(wait), now)
}

// record notes how a call on route i went.
func (r *rotation) record(i int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := &r.routes[i]
	if err == nil {
		h.failures, h.trial = 0, false
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
		h.trial = true
	case errors.Is(err, llm.ErrBadRequest):
		h.failures, h.trial = 0, false // the request's fault
	}
	if wait > 0 {
		h.leaveUntil(now.Add(wait), now)
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
		left := max(0, h.until.Sub(now))
		if h.trial && h.inFlight > 0 {
			left = max(left, trialWait)
		}
		if h.dead == nil && (shortest < 0 || left < shortest) {
			shortest = left
		}
	}
	return max(0, shortest)
}
