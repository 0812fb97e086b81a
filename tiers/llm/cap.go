package llm

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/budgetmem/budgetmem/internal/money"
)

// Cap limits what the calls of one context cost together, such as those of one question. It is a Ledger of its own, with
// two differences: a reply from the cache counts as if it was paid, so that the limit means the same whether something
// was asked before or not, and part of the limit can be set aside for later calls. Only clients made by Stack keep to
// it; see Capped.
type Cap struct {
	ledger *Ledger
	total  money.Picodollars
}

// NewCap returns a limit in dollars, 0 or more. A negative limit, or one that is no number, is an error.
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

// SetAside keeps an amount in dollars from the calls made from now on. It replaces what was set aside before.
func (c *Cap) SetAside(dollars float64) {
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = max(0, c.total-money.RoundUp(dollars))
	close(l.changed)
	l.changed = make(chan struct{})
}

// Left is what calls made now may cost, in dollars: the limit without what is spent, reserved and set aside.
func (c *Cap) Left() float64 { return c.ledger.Balance().Left() }

// Spent is the most that the calls so far have cost, in dollars.
func (c *Cap) Spent() float64 {
	b := c.ledger.Balance()
	return b.Spent + b.Uncertain
}

type capKey struct{}

// Capped says whether a client's calls are held to a Cap: whether Stack or Fallback made it. Such a client is a Bounder.
func Capped(c Client) bool {
	switch c.(type) {
	case *stacked, scoringStack, *fallback, scoringFallback:
		return true
	}
	return false
}

// withinCap is the layer outside the cache: it reserves for a call before anything else sees it, and settles for what came
// from the cache. Inside the retries, spend settles for each attempt.
func (m meter) withinCap(next Handler) Handler {
	return func(ctx context.Context, call Call) (Reply, error) {
		limit, ok := ctx.Value(capKey{}).(*Cap)
		if !ok {
			return next(ctx, call)
		}
		call.charge = &charge{meter: m, ledger: limit.ledger, attempts: m.attempts(call)}
		if err := call.charge.begin(ctx, func() Bound { return m.bound(call) }); err != nil {
			return Reply{}, err
		}
		reply, err := next(ctx, call)
		call.charge.end(reply.Usage, err)
		return reply, err
	}
}

// charge is the money that a Cap holds for one call, over all its attempts.
type charge struct {
	meter  meter
	ledger *Ledger

	mu   sync.Mutex
	held *reservation // nil once it is settled
	// part says that what is held is a part of a batch's reservation, made for this call.
	part bool
	// attempts is how many attempts at one time it holds money for: 2 for calls that may be hedged, as long as there is room.
	attempts int
}

// parts divides what is held among the calls of a batch, each of which is settled by itself. A nil charge has nil parts.
func (ch *charge) parts(calls []Call) []*charge {
	out := make([]*charge, len(calls))
	if ch == nil {
		return out
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for i, call := range calls {
		need := money.RoundUp(ch.meter.bound(call).Dollars)
		out[i] = &charge{meter: ch.meter, ledger: ch.ledger, held: ch.held.take(need), part: true}
	}
	ch.settle(0, true) // what rounding left
	return out
}

// begin reserves for an attempt. The reservation of an earlier one that cost nothing is used again if it is enough.
func (ch *charge) begin(ctx context.Context, bound func() Bound) error {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.held != nil && ch.part {
		return nil
	}
	most := bound()
	one := money.RoundUp(most.Dollars)
	for ; ; ch.attempts-- {
		need := one
		if ch.attempts > 1 {
			need = one.Plus(one)
		}
		if ch.held != nil && ch.held.need >= need {
			return nil
		} else if ch.held != nil {
			ch.settle(0, true)
		}
		var err error
		if ch.held, err = ch.ledger.reserve(ctx, ch.meter.model, need); !errors.Is(err, ErrBudget) {
			return err
		} else if ch.attempts < 2 {
			return ch.meter.refusal(ch.ledger, most)
		}
	}
}

// attempted settles for an attempt.
func (ch *charge) attempted(u Usage, err error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	switch {
	case ch.held == nil:
	case err == nil || u.Dollars > 0:
		ch.settle(money.RoundUp(u.Dollars), true)
	case errors.Is(err, ErrBudget) || !mayBeBilled(err): // it cost nothing
	default:
		ch.settle(ch.held.need, false)
	}
}

// end settles for what no attempt has: a reply from the cache, or a call that another question made.
func (ch *charge) end(u Usage, err error) {
	if ch == nil {
		return
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	switch {
	case ch.held == nil:
	case err == nil:
		ch.settle(money.RoundUp(u.Dollars), true)
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded): // it may go on for others
		ch.settle(ch.held.need, false)
	default:
		ch.settle(0, true)
	}
}

// settle ends the reservation.
func (ch *charge) settle(cost money.Picodollars, sure bool) {
	ch.held.settle(cost, sure)
	ch.held = nil
}

// attempt makes one attempt within the limit of a call's Cap, if it has one.
func (ch *charge) attempt(ctx context.Context, bound func() Bound, call func() (Reply, error)) (Reply, error) {
	if ch == nil {
		return call()
	}
	if err := ch.begin(ctx, bound); err != nil {
		return Reply{}, fmt.Errorf("another attempt: %w", err)
	}
	reply, err := call()
	ch.attempted(reply.Usage, err)
	return reply, err
}
