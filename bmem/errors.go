package bmem

import (
	"errors"
	"fmt"

	"github.com/budgetmem/budgetmem/bmem/conversation"
	"github.com/budgetmem/budgetmem/bmem/store"
)

// Errors of a Memory, to be tested with errors.Is.
var (
	// ErrNoMemory: there is no memory of this name.
	ErrNoMemory = store.ErrNoMemory
	// ErrNoTurn: the memory has no such turn.
	ErrNoTurn = store.ErrNoTurn
	// ErrTurnExists: another turn of the memory has the id already.
	ErrTurnExists = store.ErrTurnExists
	// ErrCursor: a page was asked for by a cursor that no page gave.
	ErrCursor = store.ErrCursor
	// ErrNoTurns: a memory needs at least one turn with text.
	ErrNoTurns = conversation.ErrNoTurns
	// ErrNoTurnsThen: WithBefore and WithAfter leave no turn to be seen.
	ErrNoTurnsThen = errors.New("no turns")
	// ErrMemoryChanged: the memory of a data set is not what it was when its questions began to be asked.
	ErrMemoryChanged = errors.New("a memory was changed")
	// ErrNoQuestion: the question is empty.
	ErrNoQuestion = errors.New("empty question")
)

// StepError says which step of the pipeline failed. The Answer returned beside it still holds the trace of what ran
// before, so that what a failure cost is known.
type StepError struct {
	// Step is "retrieve", a module's name or "answer".
	Step string
	// Tier is the tier that was asked for; "" where the step has none.
	Tier string
	Err  error
}

// Error implements error.
func (e *StepError) Error() string {
	if e.Tier == "" {
		return fmt.Sprintf("%s: %v", e.Step, e.Err)
	}
	return fmt.Sprintf("%s at tier %s: %v", e.Step, e.Tier, e.Err)
}

// Unwrap returns the cause, which errors.Is and errors.As look at.
func (e *StepError) Unwrap() error { return e.Err }
