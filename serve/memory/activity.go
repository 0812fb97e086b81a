package memory

import (
	"cmp"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Activity counts what callers of a server do, and writes it into an audit log. It is safe for concurrent use.
type Activity struct {
	audit io.Writer
	log   *slog.Logger

	mu sync.Mutex
	by map[string]*Counters // by the owner of the account
}

// NewActivity returns an Activity. audit, if not nil, gets a line of JSON for each addition, edit, question and deletion, and for each
// call of a served model, in one Write, without any text of turns, questions, chats or answers. That audit cannot be written goes to log;
// nil means slog.Default.
func NewActivity(audit io.Writer, log *slog.Logger) *Activity {
	return &Activity{audit: audit, log: cmp.Or(log, slog.Default()), by: map[string]*Counters{}}
}

// Counters count what was done for one account since the Activity was made.
type Counters struct {
	Adds, Edits, Searches, Asks, Forgets int64 // requests about memories that were done
	Chats, Scores, Embeddings            int64 // calls of served models that were done
	Refused                              int64 // by a budget or a full queue
	Failed                               int64 // for another reason
	TurnsAdded, TurnsForgotten           int64
	TokensIn, TokensOut                  int64 // of questions and calls
	Dollars                              float64
}

// Counters returns the counters by the owner of the account; "" is for requests that no tenant makes.
func (a *Activity) Counters() map[string]Counters {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[string]Counters{}
	for owner, c := range a.by {
		out[owner] = *c
	}
	return out
}

// What a service does.
const (
	adding     = "add"
	editing    = "edit"
	searching  = "search"
	asking     = "ask"
	forgetting = "forget"
)

// The calls of served models.
const (
	Chat  = "chat"
	Score = "score"
	Embed = "embed"
)

// event is one request, as the audit log has it: nothing of what anybody said.
type event struct {
	Time         string            `json:"time"` // when it ended
	Tenant       string            `json:"tenant,omitempty"`
	Action       string            `json:"action"`
	Memory       string            `json:"memory,omitempty"`
	Model        string            `json:"model,omitempty"` // of a call
	Status       int               `json:"status"`          // of HTTP
	Turns        int               `json:"turns,omitempty"`
	Tiers        map[string]string `json:"tiers,omitempty"`
	TokensIn     int               `json:"tokens_in,omitempty"`
	TokensOut    int               `json:"tokens_out,omitempty"`
	Dollars      float64           `json:"dollars,omitempty"`
	Milliseconds float64           `json:"ms"`

	start time.Time
}

// begin returns the event of a request that begins. The end is told to note.
func begin(scope Scope, action string) *event {
	e := &event{Action: action, start: time.Now()}
	if scope.Account != nil {
		e.Tenant = scope.Account.Owner()
	}
	return e
}

// about returns the event of a request for a memory by its stored name.
func about(scope Scope, action, memory string) *event {
	e := begin(scope, action)
	e.Memory = memory
	return e
}

// asked adds what a question took.
func (e *event) asked(t bmem.Trace) {
	e.Tiers = servedTiers(t)
	e.used(t.Usage())
}

// used adds tokens and dollars.
func (e *event) used(u llm.Usage) { e.TokensIn, e.TokensOut, e.Dollars = u.In, u.Out, u.Dollars }

// Begin notes that a caller's call of a served model begins. action is Chat, Score or Embed. The caller says at its end what it took,
// the dollars that were booked included, and its status of HTTP.
func (a *Activity) Begin(scope Scope, action, model string) (end func(used llm.Usage, status int)) {
	e := begin(scope, action)
	e.Model = model
	return func(used llm.Usage, status int) {
		e.used(used)
		a.note(e, status)
	}
}

// ended notes the end of a request about a memory.
func (a *Activity) ended(e *event, err error) {
	status := http.StatusOK
	if err != nil {
		status = AsError(err).Status
	}
	a.note(e, status)
}

// note counts a request that has ended, and writes it into the audit log. A search, which changes and costs nothing, is counted alone.
func (a *Activity) note(e *event, status int) {
	e.Status = status
	a.count(e)
	if a.audit == nil || e.Action == searching {
		return
	}
	now := time.Now()
	e.Time, e.Milliseconds = now.UTC().Format(time.RFC3339Nano), float64(now.Sub(e.start).Microseconds())/1000
	line, err := json.Marshal(e)
	if err == nil {
		_, err = a.audit.Write(append(line, '\n'))
	}
	if err != nil {
		a.log.Error("the audit log cannot be written", "why", err)
	}
}

func (a *Activity) count(e *event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.by[e.Tenant]
	if c == nil {
		c = &Counters{}
		a.by[e.Tenant] = c
	}
	c.TokensIn += int64(e.TokensIn)
	c.TokensOut += int64(e.TokensOut)
	c.Dollars += e.Dollars
	switch {
	case e.Status == http.StatusTooManyRequests || e.Status == http.StatusPaymentRequired:
		c.Refused++
		return
	case e.Status != http.StatusOK:
		c.Failed++
		return
	}
	switch e.Action {
	case adding:
		c.Adds++
		c.TurnsAdded += int64(e.Turns)
	case editing:
		c.Edits++
	case searching:
		c.Searches++
	case asking:
		c.Asks++
	case forgetting:
		c.Forgets++
		c.TurnsForgotten += int64(e.Turns)
	case Chat:
		c.Chats++
	case Score:
		c.Scores++
	case Embed:
		c.Embeddings++
	}
}
