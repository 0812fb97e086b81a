package memory

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Error is a refusal that the caller can do something about.
type Error struct {
	Status  int // of HTTP
	Message string
	// RetryAfter is when it is worth asking again, in seconds; 0 for no time in particular.
	RetryAfter int
	// Budget is what may still be spent, where that is the reason; else nil.
	Budget *Budget
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// bad refuses a request.
func bad(format string, args ...any) error {
	return &Error{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

// AsError gives an error of the Service its HTTP status. Its message is for the caller; one about the server's inside is not.
func AsError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, bmem.ErrNoMemory), errors.Is(err, bmem.ErrNoTurn):
		return &Error{Status: http.StatusNotFound, Message: "there is no such memory or turn"}
	case errors.Is(err, bmem.ErrNoTurnsThen):
		return &Error{Status: http.StatusNotFound, Message: err.Error()}
	case errors.Is(err, bmem.ErrTurnExists):
		return &Error{Status: http.StatusConflict, Message: "the id of a turn is taken by another turn; leave ids out, or edit that turn"}
	case errors.Is(err, bmem.ErrCursor):
		return &Error{Status: http.StatusNotFound, Message: "cursor: it is none that a page gave as next"}
	case errors.Is(err, bmem.ErrNoCalibration):
		return &Error{Status: http.StatusConflict, Message: "min_confidence, min_answerable: answers have no confidence here; the server needs --calibration"}
	case errors.Is(err, bmem.ErrNoAnswerable):
		return &Error{Status: http.StatusConflict, Message: "min_answerable: it is not known here whether the memory answers; the server needs a --calibration that was fitted with --unanswerable"}
	case errors.Is(err, bmem.ErrNoTurns), errors.Is(err, bmem.ErrNoQuestion):
		return &Error{Status: http.StatusBadRequest, Message: err.Error()}
	case errors.Is(err, bmem.ErrMaxCost), errors.Is(err, llm.ErrBudget):
		return &Error{Status: http.StatusPaymentRequired, Message: err.Error()}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Error{Status: http.StatusServiceUnavailable, Message: "the request ended before the answer"}
	}
	return &Error{Status: http.StatusInternalServerError, Message: "the server failed; its log says how"}
}
