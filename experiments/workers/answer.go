package workers

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// answer answers a task under the policies that have no result yet, and stores the results. Its error is one of this machine, or the
// end of the spend limit.
func (w *Worker) answer(ctx context.Context, job Job, a *run.Asker, t run.Task, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil || meta.NumDelivered > 1 {
		if t.Policies, err = w.unanswered(ctx, job, t); err != nil {
			return err
		}
	}
	for _, part := range a.Parts(t) {
		records, err := a.Ask(ctx, part)
		for _, rec := range records {
			if err := w.store(ctx, resultSubject(job.id(), t.Question, rec.Policy), result{Worker: w.Name, Record: rec}); err != nil {
				return err
			}
		}
		if err != nil {
			return w.stopped(ctx, job, err)
		}
	}
	return nil
}

// answerLive answers a question of a session. Its error is as answer's.
func (w *Worker) answerLive(ctx context.Context, job Job, a *run.Asker, t run.Task) error {
	if len(t.Policies) != 1 {
		return fmt.Errorf("a task of a session has %d policies", len(t.Policies))
	}
	p := &remote{conn: w.Conn, subject: job.decisions(), key: t.Policies[0]}
	rec, err := a.AskUnder(ctx, t.Question, p)
	if err != nil {
		return w.stopped(ctx, job, err)
	}
	if p.gone.Load() {
		return nil
	}
	return w.store(ctx, resultSubject(job.id(), t.Question, rec.Policy), result{Worker: w.Name, Record: rec})
}

// stopped passes on why a run cannot go on. That its spend limit is reached all are told.
func (w *Worker) stopped(ctx context.Context, job Job, err error) error {
	if errors.Is(err, llm.ErrBudget) {
		return errors.Join(err, w.store(ctx, job.stopSubject(), result{Worker: w.Name, Stop: err.Error()}))
	}
	return err
}

// unanswered lists the policies of a task that have no result: another worker may have stored some before it died.
func (w *Worker) unanswered(ctx context.Context, job Job, t run.Task) ([]string, error) {
	var left []string
	for _, policy := range t.Policies {
		m, err := w.Conn.look(ctx, resultsStream, 1, resultSubject(job.id(), t.Question, policy))
		if err != nil {
			return nil, err
		}
		if m == nil {
			left = append(left, policy)
		}
	}
	return left, nil
}

// store stores a result, unless one is there.
func (w *Worker) store(ctx context.Context, subject string, r result) error {
	data, err := r.encode()
	if err != nil {
		return err
	}
	if most := w.Conn.nc.MaxPayload(); int64(len(data)) > most {
		r.Record = run.Record{Prediction: r.Record.Prediction}
		r.Record.Scores, r.Record.Prediction.Prediction = nil, ""
		r.Record.Error = fmt.Sprintf("its result of %d bytes is more than the %d that the NATS server lets through: set max_payload higher", len(data), most)
		if data, err = r.encode(); err != nil {
			return err
		}
	}
	_, err = retry(ctx, func(ctx context.Context) (*jetstream.PubAck, error) { return w.Conn.js.Publish(ctx, subject, data) })
	if err != nil && !refusedSecond(err) {
		return fmt.Errorf("store a result: %w", err)
	}
	return nil
}
