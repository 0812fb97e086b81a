package workers

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/router"
)

// session has workers answer questions as they come. Each question is asked under a key of its own, by which the worker that answers it
// asks back for every decision of its policy: a policy that is being trained cannot be named to another machine.
type session struct {
	*coordination
	ctx   context.Context // ends with the session, its cause says why
	close context.CancelCauseFunc
	ended chan struct{}
	key   string // what the keys of this start begin with
	n     atomic.Int64

	mu    sync.Mutex
	asked map[string]*asked // by key
	over  bool              // nothing is asked any more
	asks  sync.WaitGroup    // what is asked
}

// asked is a question that waits for its answer.
type asked struct {
	question string
	policy   router.Policy
	ctx      context.Context // that the policy decides under
	record   chan run.Record

	mu      sync.Mutex  // held while the policy decides
	choices map[int]int // by module
	over    bool        // nobody waits for the answer any more
}

// errClosed is why a session ended that its caller closed.
var errClosed = errors.New("the session is closed")

// Open implements run.Executor. A run has one session for each split at a time. The errors are those of the run's folder, of the
// server and of ctx.
func (c *Coordinator) Open(ctx context.Context, a *run.Asker) (run.Session, error) {
	co, err := c.coordinate(a, true)
	if err != nil {
		return nil, err
	}
	// What an earlier start left was asked under its keys.
	if err := errors.Join(co.Conn.purge(ctx, tasksStream, co.job.taskSubjects()), co.Conn.purge(ctx, resultsStream, co.job.results())); err != nil {
		return nil, fmt.Errorf("make the queue of the run: %w", err)
	}
	s := &session{coordination: co, ended: make(chan struct{}), key: strings.ToLower(rand.Text()[:8]), asked: map[string]*asked{}}
	s.ctx, s.close = context.WithCancelCause(ctx)
	decisions, err := co.Conn.nc.Subscribe(co.job.decisions(), func(m *nats.Msg) {
		go func() { _ = m.Respond(s.decide(m.Data)) }() // a worker that hears nothing asks again
	})
	if err != nil {
		return nil, fmt.Errorf("listen to workers: %w", err)
	}
	go func() {
		defer close(s.ended)
		err := co.execute(s.ctx, 1, s.answered)
		_ = decisions.Unsubscribe() // the connection is closed soon
		s.close(err)
		s.mu.Lock()
		s.over = true
		s.mu.Unlock()
		s.asks.Wait() // what they put into the queue is removed
		co.end(ctx, true)
	}()
	return s, nil
}

// Close implements run.Session.
func (s *session) Close() error {
	s.close(errClosed)
	<-s.ended
	return nil
}

// Ask implements run.Session.
func (s *session) Ask(ctx context.Context, question string, p router.Policy) (run.Record, error) {
	key := fmt.Sprintf("%s-%d", s.key, s.n.Add(1))
	t := run.Task{Question: question, Policies: []string{key}}
	both, cancel := context.WithCancel(ctx) // ends with the session too
	defer context.AfterFunc(s.ctx, cancel)()
	q := &asked{question: question, policy: p, ctx: both, record: make(chan run.Record, 1), choices: map[int]int{}}
	if err := s.begin(key, q); err != nil {
		cancel()
		return run.Record{}, err
	}
	defer s.forget(t)
	defer cancel()
	s.add(t)
	err := s.put(both, t)
	if err == nil {
		select {
		case rec := <-q.record:
			rec.Policy = p.Name()
			return rec, nil
		case <-both.Done():
		}
	}
	switch {
	case ctx.Err() != nil:
		return run.Record{}, ctx.Err()
	case s.ctx.Err() != nil:
		return run.Record{}, context.Cause(s.ctx)
	}
	return run.Record{}, err
}

// begin notes a question, unless the session has ended; forget is due then.
func (s *session) begin(key string, q *asked) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return context.Cause(s.ctx)
	}
	s.asks.Add(1)
	s.asked[key] = q
	return nil
}

// answered passes a record on to who asked.
func (s *session) answered(_ context.Context, rec run.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.asked[rec.Policy]; q != nil {
		q.record <- rec // the only one: it was pending
	}
	return nil
}

// forget ends a question, whether it is answered or not wanted any more. Its policy is not used any more then.
func (s *session) forget(t run.Task) {
	defer s.asks.Done()
	key := t.Policies[0]
	s.mu.Lock()
	q := s.asked[key]
	delete(s.asked, key)
	s.mu.Unlock()
	q.mu.Lock()
	q.over = true
	q.mu.Unlock()
	s.coordination.mu.Lock()
	defer s.coordination.mu.Unlock()
	delete(s.tasks, s.job.taskSubject(t))
	delete(s.pending, pair{t.Question, key})
	delete(s.handed, pair{t.Question, key})
}

// query asks for a decision of a policy.
type query struct {
	Key string `json:"key"`
	// State is what a router.State holds.
	Module  int                `json:"module"`
	Query   []float32          `json:"query"`
	Memory  []float32          `json:"memory"`
	Signals map[string]float64 `json:"signals,omitempty"`
}

// decision answers a query.
type decision struct {
	Choice int    `json:"choice"`
	Error  string `json:"error,omitempty"`
	// Gone means that nobody waits for the question any more.
	Gone bool `json:"gone,omitempty"`
}

// decide answers a query in its encoded form.
func (s *session) decide(data []byte) []byte {
	var ask query
	var d decision
	if err := json.Unmarshal(data, &ask); err != nil {
		d.Error = fmt.Sprintf("the coordinator does not know this form of a query: %v", err)
	} else {
		d = s.decision(ask)
	}
	out, err := json.Marshal(d)
	if err != nil {
		panic(err) // it holds plain values only
	}
	return out
}

// decision has the policy decide. A worker that takes a question over from one that died gets the same choices.
func (s *session) decision(ask query) decision {
	s.mu.Lock()
	q := s.asked[ask.Key]
	s.mu.Unlock()
	if q == nil {
		return decision{Gone: true}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.over {
		return decision{Gone: true}
	}
	choice, ok := q.choices[ask.Module]
	if !ok {
		var err error
		choice, err = q.policy.Decide(q.ctx, router.State{Question: q.question, Module: ask.Module, Query: ask.Query,
			Memory: func(context.Context) ([]float32, error) { return ask.Memory, nil }, Signals: ask.Signals})
		if err != nil {
			return decision{Error: err.Error()}
		}
		q.choices[ask.Module] = choice
	}
	return decision{Choice: choice}
}

// remote is a policy that decides where the session is.
type remote struct {
	conn    *Conn
	subject string
	key     string
	gone    atomic.Bool // whether nobody waits for the question any more
}

// errGone ends a question that nobody waits for.
var errGone = errors.New("the question is not wanted any more")

// Name implements router.Policy.
func (r *remote) Name() string { return r.key }

// Decide implements router.Policy. A coordinator that is silent for the length of a lease is taken to be gone.
func (r *remote) Decide(ctx context.Context, s router.State) (int, error) {
	memory, err := s.Memory(ctx)
	if err != nil {
		return 0, err
	}
	data, err := json.Marshal(query{r.key, s.Module, s.Query, memory, s.Signals})
	if err != nil {
		return 0, fmt.Errorf("ask for a decision: %w", err)
	}
	wctx, cancel := context.WithTimeoutCause(ctx, r.conn.lease, errGone)
	defer cancel()
	reply, err := retry(wctx, func(ctx context.Context) (*nats.Msg, error) {
		return r.conn.nc.RequestWithContext(ctx, r.subject, data)
	})
	if err != nil {
		r.gone.Store(errors.Is(err, errGone))
		return 0, fmt.Errorf("ask for a decision: %w", err)
	}
	var d decision
	switch err := json.Unmarshal(reply.Data, &d); {
	case err != nil:
		return 0, fmt.Errorf("ask for a decision: %w", err)
	case d.Gone:
		r.gone.Store(true)
		return 0, errGone
	case d.Error != "":
		return 0, errors.New(d.Error)
	}
	return d.Choice, nil
}
