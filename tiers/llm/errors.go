package llm

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Why a call failed, for errors.Is. Retryable says which of these may succeed later.
var (
	// ErrRateLimited: the endpoint wants fewer calls (429).
	ErrRateLimited = errors.New("rate limited")
	// ErrNoServer: nothing listens at the address of an endpoint on this machine. It comes with ErrUnavailable.
	ErrNoServer = errors.New("no server")
	// ErrUnavailable: no usable reply: 5xx, a timeout, a broken connection, a body that is cut or is no reply.
	ErrUnavailable = errors.New("endpoint unavailable")
	// ErrEmpty: a reply with no text in it.
	ErrEmpty = errors.New("empty reply")
	// ErrReasoning: a reply that was cut inside its reasoning, so that it holds no answer.
	ErrReasoning = errors.New("reply cut inside its reasoning")

	// ErrAuth: the key is missing, wrong or not allowed to do this (401, 403).
	ErrAuth = errors.New("not authorised")
	// ErrQuota: the account has no money left (402, or 429 that says so).
	ErrQuota = errors.New("account quota used up")
	// ErrBadRequest: the endpoint understood and refused: unknown model, prompt too long and the like (other 4xx).
	ErrBadRequest = errors.New("request refused")
	// ErrBudget: the call could have passed the spend limit and was not made. See BudgetError.
	ErrBudget = errors.New("spend limit reached")
	// ErrUnpriced: the price table does not know the model.
	ErrUnpriced = errors.New("model has no price")
	// ErrCache: the response cache cannot be read or written.
	ErrCache = errors.New("response cache")
	// ErrLedger: the spend ledger's file cannot be read or written.
	ErrLedger = errors.New("spend ledger")
)

// Error is a failed call to a model.
type Error struct {
	// Kind is one of the Err values of this package.
	Kind error
	// Status is the HTTP status, 0 if there was none.
	Status int
	// Message is what the endpoint said, without keys.
	Message string
	// RetryAfter is how long the endpoint asked to be left alone; 0 if it did not say.
	RetryAfter time.Duration
	// Unsent: the call never left this process.
	Unsent bool
	// Final: sending the same again does not help, whatever the Kind.
	Final bool
	// Err is the cause below, if any.
	Err error
}

// Error says what kind of failure it was, the status, and what the endpoint said.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Kind.Error())
	if e.Status != 0 {
		fmt.Fprintf(&b, " (HTTP %d)", e.Status)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns Kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// KindOfStatus returns the Err value for an HTTP status that is no success.
func KindOfStatus(status int) error {
	switch {
	case status == http.StatusTooManyRequests:
		return ErrRateLimited
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ErrAuth
	case status == http.StatusPaymentRequired:
		return ErrQuota
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusConflict:
		return ErrUnavailable
	case status >= 400 && status < 500:
		return ErrBadRequest
	}
	return ErrUnavailable
}

// Retryable says whether the same call may succeed later.
func Retryable(err error) bool {
	var e *Error
	if errors.As(err, &e) && e.Final {
		return false
	}
	return errors.Is(err, ErrRateLimited) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrEmpty)
}

// mayBeBilled says whether a call that failed with err may cost money all the same: the model may have done its work
// before the connection broke or somebody on the way lost patience. An endpoint that answers with an error does not bill.
func mayBeBilled(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return true
	}
	gaveUp := e.Status == http.StatusGatewayTimeout || e.Status == 524 // 524: a proxy's own timeout
	return !e.Unsent && (e.Status < 400 || gaveUp)
}
