package llm

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Cap is a limit on what the calls made within a context may cost together, such as those of one question. It is a Ledger of
// its own, with two differences: a reply from the cache counts as if it was paid, so that the limit means the same
// whether something was asked before or not, and part of the limit can be set aside for later calls. Only clients made by
// Stack keep to it; see Capped.
type Cap struct {
	ledger *Ledger
	total  pico
}

// NewCap returns a limit in dollars.
func NewCap(dollars float64) (*Cap, error) {
	l, err := NewLedger(dollars)
	if err != nil {
		return nil, err
	}
	return &Cap{l, l.limit}, nil
}

// Within returns a context whose calls are held to the limit. A call that does not fit fails with a BudgetError.
func (c *Cap) Within(ctx context.Context) context.Context {
	return context.WithValue(ctx, capKey{}, c)
}

// SetAside keeps so many dollars from the calls made from now on, instead of what was set aside before.
func (c *Cap) SetAside(dollars float64) {
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = max(0, c.total-picoUp(dollars))
	close(l.changed)
	l.changed = make(chan struct{})
}

// Left is what calls made now may cost, in dollars: without what is spent, reserved and set aside.
func (c *Cap) Left() float64 { return c.ledger.Balance().Left() }

// Spent is what the calls so far have cost at most, in dollars.
func (c *Cap) Spent() float64 {
	b := c.ledger.Balance()
	return b.Spent + b.Uncertain
}

type (
	capKey    struct{}
	chargeKey struct{}
	probeKey  struct{}
)

// probe adds up the bounds of calls that are not made.
type probe struct {
	mu  sync.Mutex
	sum Bound
}

func (p *probe) add(b Bound) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sum.In += b.In
	p.sum.Out += b.Out
	p.sum.Dollars += b.Dollars
}

// WorstCase runs f with calls that are not made but get an empty reply, and returns the most that these calls could have
// cost. What f would do after a reply that is not empty is not seen. Only clients made by Stack keep to it; see Capped.
func WorstCase(ctx context.Context, f func(context.Context)) Bound {
	p := &probe{}
	f(context.WithValue(ctx, probeKey{}, p))
	return p.sum
}

// Capped says whether calls of a client are held to a Cap and can be probed, as those of a client made by Stack.
func Capped(c Client) bool {
	if s, ok := c.(scoringLayer); ok {
		c = s.layer
	}
	_, ok := c.(*capped)
	return ok
}

// capped is the outermost layer of a stack: it reserves for a call before anything else sees it, and settles for what came
// from the cache. Inside the retries, attempts settles for what was called.
type capped struct {
	inner
	price Price
}

func (c *capped) Chat(ctx context.Context, req Request) (resp Response, err error) {
	err = c.charged(ctx, func() Bound { return c.price.Bound(c.Client, req) }, func(ctx context.Context) (Usage, error) {
		resp, err = c.Client.Chat(ctx, req)
		return resp.Usage, err
	})
	return resp, err
}

func (c *capped) score(ctx context.Context, next Scorer, reqs []ScoreRequest) (scores []Score, u Usage, err error) {
	scores = make([]Score, len(reqs)) // what a probe gets
	err = c.charged(ctx, func() Bound { return c.price.scoreBound(c.Client, reqs) }, func(ctx context.Context) (Usage, error) {
		scores, u, err = next.Score(ctx, reqs)
		return u, err
	})
	return scores, u, err
}

// charged makes a call within the limit of its context. bound is asked for only where there is one: counting the tokens of a
// prompt takes time.
func (c *capped) charged(ctx context.Context, bound func() Bound, call func(context.Context) (Usage, error)) error {
	if p, ok := ctx.Value(probeKey{}).(*probe); ok {
		p.add(bound())
		return nil
	}
	limit, ok := ctx.Value(capKey{}).(*Cap)
	if !ok {
		_, err := call(ctx)
		return err
	}
	ch := &charge{client: &limited{c.inner, limit.ledger, c.price}, bound: bound()}
	if err := ch.begin(ctx); err != nil {
		return err
	}
	usage, err := call(context.WithValue(ctx, chargeKey{}, ch))
	ch.end(usage, err)
	return err
}

// charge is the money of one call, over all its attempts.
type charge struct {
	client *limited // for refusals
	bound  Bound

	mu   sync.Mutex
	held *reservation // nil once it is settled
}

// begin reserves for an attempt, unless an earlier one left its reservation because it cost nothing.
func (ch *charge) begin(ctx context.Context) error {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.held != nil {
		return nil
	}
	var err error
	if ch.held, err = ch.client.ledger.reserve(ctx, ch.client.Model(), picoUp(ch.bound.Dollars)); errors.Is(err, ErrBudget) {
		return ch.client.refusal(ch.bound)
	}
	return err
}

// attempted settles for an attempt.
func (ch *charge) attempted(u Usage, err error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	switch {
	case ch.held == nil:
	case err == nil || u.Dollars > 0:
		ch.settle(picoUp(u.Dollars), true)
	case errors.Is(err, ErrBudget) || !mayBeBilled(err): // it cost nothing
	default:
		ch.settle(ch.held.need, false)
	}
}

// end settles for what no attempt has: a reply from the cache, or a call that another question made.
func (ch *charge) end(u Usage, err error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	switch {
	case ch.held == nil:
	case err == nil:
		ch.settle(picoUp(u.Dollars), true)
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded): // it may go on for others
		ch.settle(ch.held.need, false)
	default:
		ch.settle(0, true)
	}
}

// settle ends the reservation; a ledger in memory has nothing that can fail.
func (ch *charge) settle(cost pico, sure bool) {
	_ = ch.held.settle(cost, sure)
	ch.held = nil
}

// attempts is the layer inside the retries.
type attempts struct{ inner }

func (a *attempts) Chat(ctx context.Context, req Request) (resp Response, err error) {
	err = attempt(ctx, func() (Usage, error) {
		resp, err = a.Client.Chat(ctx, req)
		return resp.Usage, err
	})
	return resp, err
}

func (a *attempts) score(ctx context.Context, next Scorer, reqs []ScoreRequest) (scores []Score, u Usage, err error) {
	err = attempt(ctx, func() (Usage, error) {
		scores, u, err = next.Score(ctx, reqs)
		return u, err
	})
	return scores, u, err
}

func attempt(ctx context.Context, call func() (Usage, error)) error {
	ch, ok := ctx.Value(chargeKey{}).(*charge)
	if !ok {
		_, err := call()
		return err
	}
	if err := ch.begin(ctx); err != nil {
		return fmt.Errorf("another attempt: %w", err)
	}
	usage, err := call()
	ch.attempted(usage, err)
	return err
}
