package llm

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/budgetmem/budgetmem/internal/money"
)

// Ledger holds a spend limit that is never passed, however many calls run at the same time: a call first reserves the
// most it can cost and afterwards settles for what it did cost. A call that could pass the limit is not made and fails
// with a BudgetError; one that fits as soon as calls in flight turn out cheap waits for these.
//
// What a failed call cost is often not known: a reply that was cut or came too late may be billed. Such a call is settled
// at the most it could cost, and the sum of these is shown separately, as Uncertain.
//
// The limit rests on the endpoint keeping to MaxTokens and on Bound. Overruns counts the calls whose endpoint reported
// something else; they are settled at their bound.
type Ledger struct {
	mu       sync.Mutex
	limit    money.Picodollars
	spent    money.Picodollars
	unsure   money.Picodollars
	reserved money.Picodollars
	overruns int
	changed  chan struct{} // closed and replaced whenever a reservation is settled
	journal  *journal      // nil: in memory only
	failed   error         // the first error of settling in the journal, after which nothing more is reserved

	// With Share, limit is what this machine holds of the shared one.
	shared      Allowance
	holding     sync.Mutex // held while limit follows shared
	reported    money.Picodollars
	reports     sync.WaitGroup
	stopReports func()
}

// NewLedger returns a ledger in memory. The limit is in dollars: +Inf only counts, 0 refuses every call that costs
// anything. A negative limit or NaN is an error.
func NewLedger(limit float64) (*Ledger, error) {
	if !(limit >= 0) {
		return nil, fmt.Errorf("a spend limit must be 0 dollars or more, not %v", limit)
	}
	return &Ledger{limit: money.RoundDown(limit), changed: make(chan struct{})}, nil
}

// Balance is the state of a Ledger, in dollars.
type Balance struct {
	Limit     float64 `json:"limit"`            // with Shared what this machine holds
	Spent     float64 `json:"spent"`            // known cost of settled calls
	Uncertain float64 `json:"uncertain"`        // most that failed calls of unknown cost can have cost
	Reserved  float64 `json:"reserved"`         // most that the calls in flight can cost
	Overruns  int     `json:"overruns"`         // calls whose reported usage was impossible or beyond their bound
	Shared    bool    `json:"shared,omitempty"` // other machines spend from the same limit, see Allowance
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
	return Balance{l.limit.Dollars(), l.spent.Dollars(), l.unsure.Dollars(), l.reserved.Dollars(), l.overruns, l.shared != nil}
}

// BudgetError says that a call was not made, and what would fit. It matches ErrBudget.
type BudgetError struct {
	Model   string
	Balance Balance
	Need    Bound // what the call could have cost
	// FitsReply is the longest reply, in tokens, that could be afforded with this prompt; negative if the prompt alone
	// is too expensive.
	FitsReply int
}

// Error names the limit, what is left of it, what the call could have cost and what would fit.
func (e *BudgetError) Error() string {
	left := max(0, e.Balance.Limit-e.Balance.Spent-e.Balance.Uncertain)
	fits := fmt.Sprintf("with this prompt a reply of at most %d tokens would fit", e.FitsReply)
	if e.FitsReply < 0 {
		fits = "the prompt alone is too much"
	}
	of := "$" + money.Text(e.Balance.Limit)
	if e.Balance.Shared {
		of = "this machine's part, " + of + ", of a limit that machines share"
	}
	return fmt.Sprintf("%v: a call to %s can cost $%s (prompt up to %d tokens, reply up to %d), but $%s of %s is left: %s",
		ErrBudget, e.Model, money.Text(e.Need.Dollars), e.Need.In, e.Need.Out, money.Text(left), of, fits)
}

// Unwrap returns ErrBudget.
func (e *BudgetError) Unwrap() error { return ErrBudget }

// reservation is money set aside for one call. Exactly one settle ends it.
type reservation struct {
	ledger *Ledger
	model  string
	need   money.Picodollars
	row    int64 // in the journal
}

// reserve sets need aside, waiting while calls in flight may still free enough. It returns ErrBudget itself if need does
// not fit.
func (l *Ledger) reserve(ctx context.Context, model string, need money.Picodollars) (*reservation, error) {
	var seen scarcity
	for {
		l.mu.Lock()
		if l.failed != nil {
			defer l.mu.Unlock()
			return nil, l.failed
		}
		free := l.limit - l.spent.Plus(l.unsure)
		if need > free && l.shared == nil {
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
			return &reservation{l, model, need, row}, err
		}
		changed := l.changed
		l.mu.Unlock()
		if l.shared != nil {
			if err := l.more(ctx, need, &seen); err != nil {
				return nil, err
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for calls in flight to free part of the spend limit: %w", context.Cause(ctx))
		}
	}
}

// take makes a part of the reservation one of its own: need, or what there is. It is for ledgers in memory.
func (r *reservation) take(need money.Picodollars) *reservation {
	need = min(need, r.need)
	r.need -= need
	return &reservation{ledger: r.ledger, model: r.model, need: need}
}

// settle replaces the reservation by what the call cost; sure is false if that is only a bound. What was paid for is used also
// if the file cannot be written, which ends the next calls: it still holds the most that this one can have cost.
func (r *reservation) settle(cost money.Picodollars, sure bool) {
	l := r.ledger
	l.mu.Lock()
	if sure {
		l.spent = l.spent.Plus(cost)
	} else {
		l.unsure = l.unsure.Plus(cost)
	}
	if cost > r.need {
		l.overruns++
	}
	l.release(r.need)
	l.mu.Unlock()
	if err := l.journal.settle(r.row, r.model, r.need, cost, sure); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.failed == nil {
			l.failed = err
		}
	}
}

// overran notes a call whose endpoint reported impossible token counts.
func (l *Ledger) overran() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.overruns++
}

// release frees a reservation and wakes the calls that wait. The caller holds mu.
func (l *Ledger) release(need money.Picodollars) {
	l.reserved -= need
	l.wake()
}

// wake lets the calls that wait look again. The caller holds mu.
func (l *Ledger) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// spend is the layer that makes each attempt within the limit of l, which may be nil, and of the call's Cap. It reads what
// an attempt cost from its usage.
func (m meter) spend(l *Ledger) Middleware {
	return func(next Handler) Handler {
		return func(ctx context.Context, call Call) (Reply, error) {
			bound := sync.OnceValue(func() Bound { return m.bound(call) })
			return call.charge.attempt(ctx, bound, func() (Reply, error) {
				if l == nil {
					return next(ctx, call)
				}
				return m.within(ctx, l, bound(), func() (Reply, error) { return next(ctx, call) })
			})
		}
	}
}

// within reserves the bound, makes the call and settles.
func (m meter) within(ctx context.Context, l *Ledger, bound Bound, call func() (Reply, error)) (reply Reply, err error) {
	need := money.RoundUp(bound.Dollars)
	held, err := l.reserve(ctx, m.model, need)
	if err == ErrBudget {
		return Reply{}, m.refusal(l, bound)
	} else if err != nil {
		return Reply{}, err
	}
	cost, sure := need, false // what stays if the call panics
	defer func() {
		held.settle(cost, sure)
		if reply.Usage.Corrected > 0 {
			l.overran()
		}
	}()
	reply, err = call()
	switch {
	case err == nil || reply.Usage.Paid > 0:
		cost, sure = money.RoundUp(reply.Usage.Paid), true
	case !mayBeBilled(err):
		cost, sure = 0, true
	}
	return reply, err
}

// refusal is the error for a call that does not fit into a limit.
func (m meter) refusal(l *Ledger, bound Bound) error {
	b := l.Balance()
	free := b.Limit - b.Spent - b.Uncertain - m.rates.Dollars(bound.In, 0)
	fits := bound.Out
	switch {
	case free < 0:
		fits = -1
	case m.rates.Out > 0:
		fits = min(fits, int(min(free/m.rates.Out*1e6, math.MaxInt32)))
	}
	return &BudgetError{Model: m.model, Balance: b, Need: bound, FitsReply: fits}
}
