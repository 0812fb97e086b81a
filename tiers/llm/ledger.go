package llm

import (
	"context"
	"fmt"
	"math"
	"sync"
)

// pico counts money in 1e-12 dollars. Whole numbers add up without drift, so that a limit can hold exactly; any price
// with up to six decimals per million tokens is exact in them.
type pico int64

const perDollar = 1e12

// picoUp rounds up, for what is spent; it saturates.
func picoUp(dollars float64) pico {
	// The tiny slack keeps the float noise of an exact amount from adding a unit.
	v := math.Ceil(dollars*perDollar*(1-1e-15) - 1e-6)
	return pico(min(max(v, 0), math.MaxInt64/4))
}

// picoDown rounds down, for limits; it saturates, so that an infinite limit is no limit.
func picoDown(dollars float64) pico {
	return pico(min(math.Floor(dollars*perDollar*(1+1e-15)+1e-6), math.MaxInt64/4))
}

func (p pico) dollars() float64 { return float64(p) / perDollar }

// Ledger holds a spend limit that is never passed, however many calls run at one time: a call first reserves the most
// it can cost and afterwards settles for what it did cost. A call that could pass the limit is not made, and fails with
// a BudgetError; one that would fit if calls in flight turned out cheap waits for these.
//
// What a failed call cost is often not known: a reply that was cut or came too late may be billed. Such a call is settled
// at the most it could cost, and the sum of these is shown apart, as Uncertain.
//
// The limit rests on the endpoint keeping to MaxTokens and on Price.Bound; an endpoint that bills more than either
// is shown by Overruns.
type Ledger struct {
	mu       sync.Mutex
	limit    pico
	spent    pico
	unsure   pico
	reserved pico
	overruns int
	changed  chan struct{} // closed and replaced whenever a reservation is settled
	journal  *journal      // nil: in memory only
}

// NewLedger is a ledger in memory. The limit is in dollars; +Inf only counts, 0 lets nothing through that costs anything.
func NewLedger(limit float64) (*Ledger, error) {
	if !(limit >= 0) {
		return nil, fmt.Errorf("a spend limit must be 0 dollars or more, not %v", limit)
	}
	return &Ledger{limit: picoDown(limit), changed: make(chan struct{})}, nil
}

// Balance is the state of a Ledger, in dollars.
type Balance struct {
	Limit     float64 `json:"limit"`
	Spent     float64 `json:"spent"`     // known cost of settled calls
	Uncertain float64 `json:"uncertain"` // most that failed calls of unknown cost can have cost
	Reserved  float64 `json:"reserved"`  // most that the calls in flight can cost
	Overruns  int     `json:"overruns"`  // calls that cost more than their bound
}

// Left is what new calls can reserve, in dollars.
func (b Balance) Left() float64 { return max(0, b.Limit-b.Spent-b.Uncertain-b.Reserved) }

// Balance returns the state at this moment.
func (l *Ledger) Balance() Balance {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.balance()
}

func (l *Ledger) balance() Balance {
	return Balance{l.limit.dollars(), l.spent.dollars(), l.unsure.dollars(), l.reserved.dollars(), l.overruns}
}

// BudgetError says that a call was not made, and what would fit. It matches ErrBudget.
type BudgetError struct {
	Model   string
	Balance Balance
	Need    Bound // what the call could have cost
	// FitsReply is the most reply tokens that could be afforded with this prompt; negative if the prompt alone is too
	// much.
	FitsReply int
}

// Error names the limit, what is left of it, what the call could have cost and what would fit.
func (e *BudgetError) Error() string {
	left := max(0, e.Balance.Limit-e.Balance.Spent-e.Balance.Uncertain)
	fits := fmt.Sprintf("with this prompt a reply of at most %d tokens would fit", e.FitsReply)
	if e.FitsReply < 0 {
		fits = "the prompt alone is too much"
	}
	return fmt.Sprintf("%v: a call to %s can cost $%.6f (prompt up to %d tokens, reply up to %d), but $%.6f of $%.6f is left: %s",
		ErrBudget, e.Model, e.Need.Dollars, e.Need.In, e.Need.Out, left, e.Balance.Limit, fits)
}

// Unwrap returns ErrBudget.
func (e *BudgetError) Unwrap() error { return ErrBudget }

// reservation is money set aside for one call. Exactly one settle ends it.
type reservation struct {
	ledger *Ledger
	need   pico
	row    int64 // in the journal
}

// reserve sets need aside, waiting while calls in flight may yet free enough. It returns ErrBudget, bare, if need does
// not fit.
func (l *Ledger) reserve(ctx context.Context, model string, need pico) (*reservation, error) {
	for {
		l.mu.Lock()
		free := l.limit - l.spent - l.unsure
		if need > free {
			l.mu.Unlock()
			return nil, ErrBudget
		}
		if need <= free-l.reserved {
			l.reserved += need
			l.mu.Unlock()
			row, err := l.journal.reserve(model, need)
			if err != nil {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.release(need)
			}
			return &reservation{l, need, row}, err
		}
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for calls in flight to free part of the spend limit: %w", context.Cause(ctx))
		}
	}
}

// settle replaces the reservation by what the call cost; sure is false if that is only a bound.
func (r *reservation) settle(cost pico, sure bool) error {
	l := r.ledger
	l.mu.Lock()
	if sure {
		l.spent += cost
	} else {
		l.unsure += cost
	}
	if cost > r.need {
		l.overruns++
	}
	l.release(r.need)
	l.mu.Unlock()
	// Should this not come to pass, the file holds the most that the call can have cost.
	return l.journal.settle(r.row, cost, sure)
}

// release frees a reservation and wakes those who wait. The caller holds mu.
func (l *Ledger) release(need pico) {
	l.reserved -= need
	close(l.changed)
	l.changed = make(chan struct{})
}

// Wrap returns c with every call held to the limit. It reads what a call cost from its usage, so c must fill in dollars
// (Prices.Wrap); prices must know c's model. Place it inside a Retry: each attempt is a call.
func (l *Ledger) Wrap(c Client, prices Prices) (Client, error) {
	price, err := prices.Price(c.Model())
	if err != nil {
		return nil, err
	}
	return asClient(&limited{inner{c}, l, price}), nil
}

type limited struct {
	inner
	ledger *Ledger
	price  Price
}

func (c *limited) Chat(ctx context.Context, req Request) (resp Response, err error) {
	err = c.within(ctx, c.price.Bound(c.Client, req), func() (Usage, error) {
		resp, err = c.Client.Chat(ctx, req)
		return resp.Usage, err
	})
	return resp, err
}

func (c *limited) score(ctx context.Context, next Scorer, reqs []ScoreRequest) (scores []Score, u Usage, err error) {
	err = c.within(ctx, c.price.scoreBound(c.Client, reqs), func() (Usage, error) {
		scores, u, err = next.Score(ctx, reqs)
		return u, err
	})
	return scores, u, err
}

// within reserves the bound, makes the call and settles.
func (c *limited) within(ctx context.Context, bound Bound, call func() (Usage, error)) (err error) {
	need := picoUp(bound.Dollars)
	held, err := c.ledger.reserve(ctx, c.Model(), need)
	if err == ErrBudget {
		return c.refusal(bound)
	} else if err != nil {
		return err
	}
	cost, sure := need, false // what stays if the call panics
	defer func() {
		if serr := held.settle(cost, sure); serr != nil && err == nil {
			err = serr
		}
	}()
	usage, err := call()
	switch {
	case err == nil || usage.Paid > 0:
		cost, sure = picoUp(usage.Paid), true
	case !mayBeBilled(err):
		cost, sure = 0, true
	}
	return err
}

func (c *limited) refusal(bound Bound) error {
	b := c.ledger.Balance()
	free := b.Limit - b.Spent - b.Uncertain - c.price.Dollars(bound.In, 0)
	fits := bound.Out
	switch {
	case free < 0:
		fits = -1
	case c.price.Out > 0:
		fits = min(fits, int(free/c.price.Out*1e6))
	}
	return &BudgetError{Model: c.Model(), Balance: b, Need: bound, FitsReply: fits}
}
