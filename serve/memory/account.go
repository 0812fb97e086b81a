package memory

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Account is what a caller's questions are paid from. Package tenant has one that is kept on disk.
type Account interface {
	// Owner is the name in counters and in the audit log; "" for requests that no tenant makes.
	Owner() string
	// Reserve sets want dollars aside for a question, +Inf for as much as it takes. Where less is left, it sets that aside if it is at
	// least least, and fails with an *Error otherwise.
	Reserve(ctx context.Context, want, least float64) (Hold, error)
	// Spending says what was spent by day.
	Spending(ctx context.Context) (SpendingResult, error)
}

// Hold is money that is set aside for one question. Exactly one Settle ends it.
type Hold interface {
	// Dollars is how much it is; +Inf for no limit.
	Dollars() float64
	// Settle books what the question cost instead, durably, and returns what is left; nil where there is no limit. An error leaves
	// the whole hold booked.
	Settle(dollars float64) (*Budget, error)
	// Refusal explains that a question did not fit into the hold, given what is left after it.
	Refusal(left *Budget, why error) error
}

// Budget is what an account may still spend.
type Budget struct {
	Question *float64 `json:"question,omitempty" jsonschema:"limit of one question in dollars"`
	Hour     *Window  `json:"hour,omitempty" jsonschema:"limit of this hour"`
	Day      *Window  `json:"day,omitempty" jsonschema:"limit of this day, UTC"`
}

// Window is a limit of an hour or a day.
type Window struct {
	Limit  float64 `json:"limit" jsonschema:"in dollars"`
	Left   float64 `json:"left" jsonschema:"of the limit, in dollars, without what questions in flight may cost"`
	Renews string  `json:"renews" jsonschema:"when the limit starts again, RFC 3339"`
}

// SpendingResult says what was spent.
type SpendingResult struct {
	Accounts []AccountSpending `json:"accounts"`
}

// AccountSpending is what one account spent.
type AccountSpending struct {
	Name   string        `json:"name" jsonschema:"of the tenant; empty for requests that no tenant made"`
	Budget *Budget       `json:"budget,omitempty" jsonschema:"what may still be spent; left out where there is no limit"`
	Days   []DaySpending `json:"days" jsonschema:"the days on which something was asked, latest first, of the last 31"`
}

// DaySpending is what one day cost.
type DaySpending struct {
	Day     string  `json:"day" jsonschema:"UTC, such as 2025-03-03"`
	Asked   int     `json:"asked" jsonschema:"questions and chats that were paid for"`
	Dollars float64 `json:"dollars"`
}

// Spend makes a call that costs something from an account, which may be nil. The call gets what it may cost: want dollars, +Inf for
// as much as it takes, or less, but at least least, if that is all that is left. It returns the most that it did cost, which is booked
// before Spend returns. Where the booking fails, which goes to log, all of what it might cost stays booked.
func Spend(ctx context.Context, a Account, want, least float64, log *slog.Logger, call func(most float64) (spent float64, err error)) (left *Budget, err error) {
	if a == nil {
		_, err := call(want)
		return nil, err
	}
	hold, err := a.Reserve(ctx, want, least)
	if err != nil {
		return nil, err
	}
	spent := hold.Dollars() // what stays if the call panics
	defer func() {
		var failed error
		if left, failed = hold.Settle(spent); failed != nil {
			log.Error("what a question cost could not be written; the most that it can cost stays booked", "tenant", a.Owner(), "why", failed)
		}
		if errors.Is(err, bmem.ErrMaxCost) || errors.Is(err, llm.ErrBudget) {
			err = hold.Refusal(left, err)
		}
	}()
	spent, err = call(hold.Dollars())
	return nil, err
}

// Spending says what the scope's account spent by day.
func (s *Service) Spending(ctx context.Context, scope Scope) (SpendingResult, error) {
	if scope.Account == nil {
		return SpendingResult{Accounts: []AccountSpending{}}, nil
	}
	return scope.Account.Spending(ctx)
}

type scopeKey struct{}

// WithScope says what the requests under ctx may reach.
func WithScope(ctx context.Context, s Scope) context.Context {
	return context.WithValue(ctx, scopeKey{}, s)
}

// ScopeOf returns what WithScope said; the zero Scope if nothing did.
func ScopeOf(ctx context.Context) Scope {
	s, _ := ctx.Value(scopeKey{}).(Scope)
	return s
}

// ScopeOfRequest returns the scope of a request's context.
func ScopeOfRequest(r *http.Request) Scope { return ScopeOf(r.Context()) }
