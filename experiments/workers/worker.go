package workers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/budgetmem/budgetmem/experiments/run"
)

// Opened is what a worker answers the questions of one run with.
type Opened struct {
	Asker *run.Asker
	Close func() error
}

// Worker answers questions of the runs that are under way.
type Worker struct {
	Conn *Conn
	// Name tells the workers of a server apart.
	Name string
	// Capacity is the number of questions answered at one time, over all runs.
	Capacity int
	// Open opens data and models of a run. An error makes the worker refuse the run, and is shown where the run was started.
	Open func(ctx context.Context, job Job) (Opened, error)
	// Note, if not nil, is called with lines for the user. It must be safe for concurrent use.
	Note func(string)
	// Received, if not nil, returns the context that a task is answered under, by the headers that Coordinator.Sending gave it. It must
	// be safe for concurrent use.
	Received func(ctx context.Context, header http.Header) context.Context

	slots   chan struct{}
	changed chan struct{} // holds a value if state changed since it was published
	mu      sync.Mutex
	state   presence
}

// runsEvery is how often a worker looks for runs that began or ended.
const runsEvery = 500 * time.Millisecond

// errOver: the coordinator took a run back, with the tasks that are in the queue.
var errOver = errors.New("the run is over")

// Work answers questions until ctx ends, and then gives back those in flight. The error is why it could not start.
func (w *Worker) Work(ctx context.Context) error {
	if w.Capacity < 1 {
		return fmt.Errorf("capacity %d: must be at least 1", w.Capacity)
	}
	if w.Note == nil {
		w.Note = func(string) {}
	}
	w.slots = make(chan struct{}, w.Capacity)
	w.changed = make(chan struct{}, 1)
	w.state = presence{Worker: w.Name, Capacity: w.Capacity, Refused: map[string]string{}}
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { w.present(ctx) })
	all.Go(func() { w.Conn.tellOutages(ctx, w.Note) })
	type serving struct {
		job []byte
		end context.CancelCauseFunc
	}
	served := map[string]serving{} // by run
	for {
		jobs, err := w.Conn.entries(ctx, runsBucket)
		if ctx.Err() != nil {
			return nil
		} else if err != nil {
			return fmt.Errorf("look for runs: %w", err)
		}
		for id, s := range served {
			job, there := jobs[id]
			switch {
			case !there:
				s.end(errOver)
			case !bytes.Equal(job, s.job):
				s.end(nil)
			default:
				continue
			}
			delete(served, id)
		}
		for id, job := range jobs {
			if _, ok := served[id]; ok {
				continue
			}
			rctx, end := context.WithCancelCause(ctx)
			served[id] = serving{job, end}
			all.Go(func() {
				defer end(nil)
				w.serve(rctx, id, job)
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(runsEvery):
		}
	}
}

// present says that the worker is there, until ctx ends.
func (w *Worker) present(ctx context.Context) {
	kv := w.Conn.buckets[workersBucket]
	key := token(w.Name)
	for {
		w.mu.Lock()
		data, err := json.Marshal(w.state)
		w.mu.Unlock()
		if err == nil {
			_, _ = retry(ctx, func(ctx context.Context) (uint64, error) { return kv.Put(ctx, key, data) }) // the next is due soon
		}
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = kv.Purge(ctx, key) // it ends by itself otherwise
			return
		case <-w.changed:
		case <-time.After(presentEvery):
		}
	}
}

// note changes what the worker says of itself.
func (w *Worker) note(change func(*presence)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.state)
	select {
	case w.changed <- struct{}{}:
	default: // present has not yet seen an earlier change
	}
}

// refuse says that the worker does not work for a run, until ctx ends; what is "is refused" or another verb that the worker's user reads.
func (w *Worker) refuse(ctx context.Context, id, what string, reason error) {
	if ctx.Err() != nil {
		return
	}
	w.Note(fmt.Sprintf("run %s %s: %v", id, what, reason))
	w.note(func(p *presence) { p.Refused[id] = reason.Error() })
	<-ctx.Done()
	w.note(func(p *presence) { delete(p.Refused, id) })
}

// serve answers questions of a run until ctx ends.
func (w *Worker) serve(ctx context.Context, id string, described []byte) {
	var job Job
	if err := json.Unmarshal(described, &job); err != nil {
		w.refuse(ctx, id, "is refused", fmt.Errorf("it is described in a way that this version does not know: %w", err))
		return
	}
	opened, err := w.Open(ctx, job)
	if err != nil {
		w.refuse(ctx, id, "is refused", err)
		return
	}
	defer func() {
		if err := opened.Close(); err != nil {
			w.Note(err.Error())
		}
	}()
	if err := job.Check(opened.Asker); err != nil {
		w.refuse(ctx, id, "is refused", err)
		return
	}
	how := fmt.Sprintf("policies %v", job.Policies)
	if job.Live {
		how = "asked live"
	}
	w.Note(fmt.Sprintf("run %s: %s %s, %s", id, job.Settings.Dataset, job.Settings.Split, how))
	w.note(func(p *presence) { p.Serves = append(p.Serves, id) })
	err = w.answerAll(ctx, job, opened.Asker)
	w.note(func(p *presence) { p.Serves = slices.DeleteFunc(p.Serves, func(s string) bool { return s == id }) })
	if err != nil {
		w.refuse(ctx, id, "is given up", err)
	}
}

// answerAll answers tasks of a run in all slots until ctx ends, or until an error of this machine, which is returned.
func (w *Worker) answerAll(ctx context.Context, job Job, a *run.Asker) error {
	queue, err := retry(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
		for {
			queue, err := w.Conn.js.Consumer(ctx, tasksStream, consumerOf(job.id()))
			if !errors.Is(err, jetstream.ErrConsumerNotFound) {
				return queue, err
			}
			select { // the coordinator is about to make it
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var all sync.WaitGroup
	for range w.Capacity {
		all.Go(func() {
			if err := w.answerSome(ctx, job, queue, a); err != nil && ctx.Err() == nil {
				fail(err)
			}
		})
	}
	all.Wait()
	if cause := context.Cause(ctx); ctx.Err() != nil && cause != context.Canceled {
		return cause
	}
	return nil
}

// fetchFor is how long a request for a task waits at the server.
const fetchFor = 20 * time.Second

// answerSome answers one task after another.
func (w *Worker) answerSome(ctx context.Context, job Job, queue jetstream.Consumer, a *run.Asker) error {
	var acks sync.WaitGroup
	defer acks.Wait()
	for ctx.Err() == nil {
		msg := w.fetch(ctx, queue)
		if msg == nil {
			continue
		}
		stop := w.keep(msg)
		err := w.answerOne(ctx, job, a, msg)
		stop()
		if err != nil {
			w.giveBack(ctx, msg)
			return err
		}
		// The next task need not wait. A lost acknowledgement leads to another delivery, and that to results that are refused as the second.
		acks.Go(func() {
			_, _ = retry(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, msg.DoubleAck(ctx) })
		})
	}
	return nil
}

// fetch waits for a task; it returns nil if none came, or ctx ended.
func (w *Worker) fetch(ctx context.Context, queue jetstream.Consumer) jetstream.Msg {
	batch, err := queue.Fetch(1, jetstream.FetchMaxWait(fetchFor))
	if err != nil { // the server is away, or the run is over
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
		return nil
	}
	select {
	case msg := <-batch.Messages():
		if msg == nil && batch.Error() != nil {
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
		return msg
	case <-ctx.Done():
		go func() {
			for msg := range batch.Messages() {
				w.giveBack(ctx, msg)
			}
		}()
		return nil
	}
}

// giveBack puts a task into the queue again as a new one: it did not fail, and so the delivery must not count against it. Where that
// does not succeed another worker has it when its lease ends, or the coordinator finds that it is missing. Nobody would take a task of
// a run that is over out of the queue again. ctx is what the run is served under.
func (w *Worker) giveBack(ctx context.Context, msg jetstream.Msg) {
	if errors.Is(context.Cause(ctx), errOver) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if msg.Term() != nil {
		return
	}
	for range 20 {
		_, err := retry(ctx, func(ctx context.Context) (*jetstream.PubAck, error) {
			return w.Conn.js.PublishMsg(ctx, &nats.Msg{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data()})
		})
		if !refusedSecond(err) { // it is there until the server has seen that it was given up
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// answerOne answers a task once there is a slot for it.
func (w *Worker) answerOne(ctx context.Context, job Job, a *run.Asker, msg jetstream.Msg) error {
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	var t run.Task
	if err := json.Unmarshal(msg.Data(), &t); err != nil {
		return fmt.Errorf("a task in the queue: %w", err)
	}
	if w.Received != nil {
		ctx = w.Received(ctx, http.Header(msg.Headers()))
	}
	if job.Live {
		return w.answerLive(ctx, job, a, t)
	}
	return w.answer(ctx, job, a, t, msg)
}

// keep tells the server that a task is being worked on, until stop is called.
func (w *Worker) keep(msg jetstream.Msg) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(w.Conn.lease / 4); ; {
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
				_ = msg.InProgress() // the next is due in time
			}
		}
	}()
	return func() { close(done); <-ended }
}
