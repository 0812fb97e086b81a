package run

import (
	"context"
	"fmt"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
)

// Live asks a system a data set's questions, wherever the Executor has them answered; it implements episodes.Live.
type Live struct {
	asker   *Asker
	session Session
}

// NewLive prepares to ask the questions of c. Its policies, folder and judges are not used. Settings that do not fit together
// are an error, as are data files that are not there (match it with datasets.ErrMissingData), and those of the Executor. The caller
// closes it.
func NewLive(ctx context.Context, c Config) (*Live, error) {
	c.RecordStates, c.Policies = true, nil
	a, err := NewAsker(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("ask live: %w", err)
	}
	s, err := a.Executor.Open(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("ask live: %w", err)
	}
	return &Live{a, s}, nil
}

// Close ends the asking.
func (l *Live) Close() error { return l.session.Close() }

// Header describes episodes of the system.
func (l *Live) Header() episodes.Header { return l.asker.header() }

// IDs implements episodes.Live.
func (l *Live) IDs() []string {
	ids := make([]string, len(l.asker.chosen))
	for i, q := range l.asker.chosen {
		ids[i] = q.ID
	}
	return ids
}

// History names the history that a question is about; "" if the question is not among IDs.
func (l *Live) History(id string) string { return l.asker.questions[id].History }

// Ask implements episodes.Live. If the system cannot answer, the error wraps router.ErrFailed, and training continues; if the
// spend limit is reached it wraps llm.ErrBudget, if a data set's memory was changed bmem.ErrMemoryChanged, and if ctx has ended ctx's error,
// all without router.ErrFailed.
func (l *Live) Ask(ctx context.Context, id string, p router.Policy) (router.Episode, error) {
	if _, ok := l.asker.questions[id]; !ok {
		return router.Episode{}, fmt.Errorf("question %s is not among those that can be asked", id)
	}
	rec, err := l.session.Ask(ctx, id, p)
	if err != nil {
		return router.Episode{}, err
	}
	if rec.Failed() {
		return router.Episode{}, fmt.Errorf("%w: question %s: %s", router.ErrFailed, id, rec.Error)
	}
	return rec.episode(l.asker.Memory.Space(), l.asker.metric)
}
