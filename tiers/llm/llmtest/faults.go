package llmtest

import (
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"
)

// Kind names what goes wrong with a call.
type Kind string

// The faults that the server can inject. Those marked "billed" cost the caller: the model had done its work before the
// fault.
const (
	None    Kind = ""        // a good reply (billed)
	Status  Kind = "status"  // an HTTP error, Fault.Status
	Hang    Kind = "hang"    // no answer until the caller gives up, or for Fault.For (billed)
	Cut     Kind = "cut"     // the connection breaks in the middle of the body (billed)
	Garbage Kind = "garbage" // an HTML page for a body, with Fault.Status
	Prose   Kind = "prose"   // a good reply by form, but chatter where the prompt asked for a payload (billed)
	Empty   Kind = "empty"   // a good reply by form, but with no text (billed)
	Reset   Kind = "reset"   // the connection is closed before any byte of the answer
)

// Fault is one thing that goes wrong.
type Fault struct {
	Kind Kind
	// Status is the HTTP status of Kind Status, 0 means 500, and of Kind Garbage, 0 means 200.
	Status int
	// RetryAfter is sent as the header of that name if not "".
	RetryAfter string
	// Body replaces the body of an error, for example to echo something.
	Body string
	// For bounds a Hang; 0 means until the caller gives up.
	For time.Duration
}

// billed reports whether the caller pays for a call with this fault.
func (f Fault) billed() bool {
	switch f.Kind {
	case None, Hang, Cut, Prose, Empty:
		return true
	}
	return false
}

// Script chooses the fault of a call.
type Script func(Call) Fault

// Sequence injects the faults in the order in which calls arrive, then none.
func Sequence(faults ...Fault) Script {
	return func(c Call) Fault {
		if c.N <= len(faults) {
			return faults[c.N-1]
		}
		return Fault{}
	}
}

// Always injects the same fault into every call.
func Always(f Fault) Script { return func(Call) Fault { return f } }

// Mixed injects faults of all kinds into the given share of calls, in [0,1]: 500, 502, 503, 429 with and without
// Retry-After, hangs, resets, cut bodies, HTML, prose, empty replies. The choice depends on the seed, the messages and
// how often these were sent before, not on the order of arrival, so a run repeats however its calls are scheduled.
func Mixed(seed uint64, share float64) Script {
	kinds := []Fault{
		{Kind: Status, Status: 500}, {Kind: Status, Status: 502}, {Kind: Status, Status: 503},
		{Kind: Status, Status: 429, RetryAfter: "0"}, {Kind: Status, Status: 429},
		{Kind: Hang}, {Kind: Reset}, {Kind: Cut}, {Kind: Garbage, Status: 503}, {Kind: Prose}, {Kind: Empty},
	}
	return func(c Call) Fault {
		h := fnv.New64a()
		for _, m := range c.Messages {
			h.Write([]byte(string(m.Role) + "\x00" + m.Content + "\x00"))
		}
		h.Write([]byte(strings.Join(c.Texts, "\x00")))
		rng := rand.New(rand.NewPCG(seed+uint64(c.Repeat), h.Sum64()))
		if rng.Float64() >= share {
			return Fault{}
		}
		return kinds[rng.IntN(len(kinds))]
	}
}
