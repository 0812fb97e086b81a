package openai

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

const (
	keptLatencies  = 64 // of each endpoint
	fewestToJudge  = 20
	hedgedQuantile = 0.95
)

// CanHedge implements llm.Hedger.
func (c *Client) CanHedge() bool { return len(c.config.Endpoints) > 1 }

// Hedge implements llm.Hedger. A second attempt is worth it after the 95th percentile of what the first one's endpoint took lately.
func (c *Client) Hedge(ctx context.Context) (first, second context.Context, after <-chan time.Duration) {
	p := &pair{after: make(chan time.Duration, 1), at: [2]int{-1, -1}}
	return context.WithValue(ctx, legKey{}, leg{p, 0}), context.WithValue(ctx, legKey{}, leg{p, 1}), p.after
}

type legKey struct{}

// pair is a call with two attempts. Its fields are guarded by the rotation's lock.
type pair struct {
	after chan time.Duration
	at    [2]int // the endpoints of the attempts; -1 for none yet
	told  bool   // after has got its value
}

// leg is one attempt of a pair; the zero value is an attempt of none.
type leg struct {
	*pair
	n int
}

func legOf(ctx context.Context) leg {
	l, _ := ctx.Value(legKey{}).(leg)
	return l
}

// excluded is the endpoint that the attempt must not go to; -1 for none.
func (l leg) excluded() int {
	if l.pair == nil {
		return -1
	}
	return l.at[1-l.n]
}

// goes says that the attempt goes to an endpoint, which took so long lately. The caller holds the rotation's lock.
func (l leg) goes(endpoint int, lately []time.Duration) {
	if l.pair == nil {
		return
	}
	l.at[l.n] = endpoint
	if l.n != 0 || l.told || len(lately) < fewestToJudge {
		return
	}
	l.told = true
	sorted := slices.Sorted(slices.Values(lately))
	l.after <- sorted[int(hedgedQuantile*float64(len(sorted)))]
}

// took notes how long an attempt of a pair took at an endpoint. One that was overtaken would have taken longer still.
func (r *rotation) took(ctx context.Context, endpoint int, d time.Duration, err error) {
	if legOf(ctx).pair == nil || err != nil && !errors.Is(context.Cause(ctx), llm.ErrOvertaken) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.latencies == nil {
		r.latencies = map[int][]time.Duration{}
	}
	all := append(r.latencies[endpoint], d)
	r.latencies[endpoint] = all[max(0, len(all)-keptLatencies):]
}
