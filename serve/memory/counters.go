package memory

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/budgetmem/budgetmem/bmem"
)

// Counters count what a Service did for one account since it was made.
type Counters struct {
	Adds, Edits, Searches, Asks, Forgets int64 // requests that were done
	Refused                              int64 // by a budget or a full queue
	Failed                               int64 // for another reason
	TurnsAdded, TurnsForgotten           int64
	TokensIn, TokensOut                  int64
	Dollars                              float64
}

// counts holds the counters by the owner of the account.
type counts struct {
	mu sync.Mutex
	by map[string]*Counters
}

// Counters returns the counters by the owner of the account; "" is for requests that no tenant makes.
func (s *Service) Counters() map[string]Counters {
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	out := map[string]Counters{}
	for owner, c := range s.counts.by {
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

// event is one request, as the audit log has it: nothing of what anybody said.
type event struct {
	Time         string            `json:"time"` // when it ended
	Tenant       string            `json:"tenant,omitempty"`
	Action       string            `json:"action"`
	Memory       string            `json:"memory"`
	Status       int               `json:"status"` // of HTTP
	Turns        int               `json:"turns,omitempty"`
	Tiers        map[string]string `json:"tiers,omitempty"`
	TokensIn     int               `json:"tokens_in,omitempty"`
	TokensOut    int               `json:"tokens_out,omitempty"`
	Dollars      float64           `json:"dollars,omitempty"`
	Milliseconds float64           `json:"ms"`

	start time.Time
}

// begin returns the event of a request that begins, for a memory by its stored name. The end is told to note.
func begin(scope Scope, action, memory string) *event {
	e := &event{Action: action, Memory: memory, start: time.Now()}
	if scope.Account != nil {
		e.Tenant = scope.Account.Owner()
	}
	return e
}

// asked adds what a question took.
func (e *event) asked(t bmem.Trace) {
	u := t.Usage()
	e.Tiers, e.TokensIn, e.TokensOut, e.Dollars = servedTiers(t), u.In, u.Out, u.Dollars
}

// note counts a request that has ended, and writes it into the audit log.
func (s *Service) note(e *event, err error) {
	e.Status = http.StatusOK
	if err != nil {
		e.Status = AsError(err).Status
	}
	s.count(e)
	if s.options.Audit == nil || e.Action == searching {
		return
	}
	now := time.Now()
	e.Time, e.Milliseconds = now.UTC().Format(time.RFC3339Nano), float64(now.Sub(e.start).Microseconds())/1000
	line, err := json.Marshal(e)
	if err == nil {
		_, err = s.options.Audit.Write(append(line, '\n'))
	}
	if err != nil {
		s.options.Log.Error("the audit log cannot be written", "why", err)
	}
}

func (s *Service) count(e *event) {
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	c := s.counts.by[e.Tenant]
	if c == nil {
		if s.counts.by == nil {
			s.counts.by = map[string]*Counters{}
		}
		c = &Counters{}
		s.counts.by[e.Tenant] = c
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
	}
}
