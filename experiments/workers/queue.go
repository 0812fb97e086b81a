package workers

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/budgetmem/budgetmem/experiments/run"
)

// publishing is how many tasks are on their way into the queue at one time: the server answers once one is on its disk.
const publishing = 16

// publish puts the tasks into the queue. It puts those in again that are neither there nor done, in case the server lost them.
func (co *coordination) publish(ctx context.Context) error {
	if err := co.consumer(ctx); err != nil {
		return err
	}
	for {
		group, gctx := errgroup.WithContext(ctx)
		group.SetLimit(publishing)
		for _, t := range co.left() {
			if gctx.Err() == nil {
				group.Go(func() error { return co.put(gctx, t) })
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
		if err := co.drained(ctx); err != nil {
			return err
		}
	}
}

// left lists the tasks without the policies that are done, in the order in which they were added.
func (co *coordination) left() []run.Task {
	co.mu.Lock()
	defer co.mu.Unlock()
	var out []run.Task
	order := co.order
	co.order = nil
	for _, subject := range order {
		t := run.Task{Question: co.tasks[subject].Question}
		for _, p := range co.tasks[subject].Policies {
			if k := (pair{t.Question, p}); co.pending[k] && !co.handed[k] {
				t.Policies = append(t.Policies, p)
			}
		}
		if len(t.Policies) > 0 {
			out, co.order = append(out, t), append(co.order, subject)
		}
	}
	return out
}

// consumer makes the run's consumer, from which workers fetch.
func (co *coordination) consumer(ctx context.Context) error {
	_, err := retry(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
		return co.Conn.js.CreateOrUpdateConsumer(ctx, tasksStream, jetstream.ConsumerConfig{Durable: consumerOf(co.job.id()), FilterSubject: co.job.taskSubjects(),
			AckPolicy: jetstream.AckExplicitPolicy, AckWait: co.Conn.lease, MaxDeliver: cmp.Or(co.MostDeliveries, mostDeliveries), MaxAckPending: mostTasks, Replicas: co.Conn.replicas})
	})
	if err != nil {
		return fmt.Errorf("make the queue of the run: %w", err)
	}
	return nil
}

// put puts a task into the queue, unless it is there.
func (co *coordination) put(ctx context.Context, t run.Task) error {
	data, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("describe question %s: %w", t.Question, err)
	}
	header := http.Header{}
	if co.Sending != nil {
		co.Sending(ctx, header)
	}
	for {
		_, err = retry(ctx, func(ctx context.Context) (*jetstream.PubAck, error) {
			return co.Conn.js.PublishMsg(ctx, &nats.Msg{Subject: co.job.taskSubject(t), Header: nats.Header(header), Data: data})
		})
		switch {
		case err == nil || refusedSecond(err):
			return nil
		case !refusedFull(err):
			return fmt.Errorf("put question %s into the queue: %w", t.Question, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// drained returns when the queue has been empty for a while, though the questions are not all done.
func (co *coordination) drained(ctx context.Context) error {
	for empty := 0; empty < 3; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(co.Conn.lease / 10):
		}
		m, err := co.Conn.look(ctx, tasksStream, 1, co.job.taskSubjects())
		if err != nil {
			return err
		}
		if empty++; m != nil {
			empty = 0
		}
	}
	return nil
}
