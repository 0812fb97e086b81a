package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/budgetmem/budgetmem/experiments/run"
)

// Coordinator is a run.Executor that has workers answer the questions. One process at a time coordinates a run.
type Coordinator struct {
	Conn *Conn
	// Folder is what the run's folder knows of workers. The spend limit's books are kept there as they change.
	Folder *Folder
	// Limit is the spend limit in dollars that Conn.OpenLimit was called with; 0 if the run has none.
	Limit float64
	// MostDeliveries is how many workers in turn may die over a question before it is given up; 0 means 5.
	MostDeliveries int
	// Opens says how workers open the data and the models; it is passed to Worker.Open as JSON.
	Opens any
	// Note, if not nil, is called with lines for the user: workers that come, go or refuse the run. It must be safe for concurrent
	// use.
	Note func(string)
	// Sending, if not nil, is called before a task is sent, and may add headers, such as the trace that it belongs to. It must be safe
	// for concurrent use.
	Sending func(ctx context.Context, header http.Header)

	books   sync.Mutex // held while Folder changes
	telling sync.Mutex // held by what tells of outages
}

// pair is a question under a policy.
type pair struct{ question, policy string }

// coordination is one Execute in progress.
type coordination struct {
	*Coordinator
	job   Job
	asker *run.Asker

	mu      sync.Mutex
	order   []string            // of the tasks, by subject, but for those that are done
	tasks   map[string]run.Task // by subject
	pending map[pair]bool       // not done
	handed  map[pair]bool       // of these, given to done
}

// coordinate describes a run, or a session, to workers. The run's folder knows its identity from then on.
func (c *Coordinator) coordinate(a *run.Asker, live bool) (*coordination, error) {
	job, err := newJob(c.Folder.ID, live, a, c.Limit, c.Opens)
	if err != nil {
		return nil, err
	}
	c.books.Lock()
	defer c.books.Unlock()
	if err := c.Folder.Save(); err != nil {
		return nil, err
	}
	return &coordination{Coordinator: c, job: job, asker: a, tasks: map[string]run.Task{}, pending: map[pair]bool{}, handed: map[pair]bool{}}, nil
}

// add notes a task that is to be done, before it is put into the queue.
func (co *coordination) add(t run.Task) {
	co.mu.Lock()
	defer co.mu.Unlock()
	subject := co.job.taskSubject(t)
	co.order, co.tasks[subject] = append(co.order, subject), t
	for _, p := range t.Policies {
		co.pending[pair{t.Question, p}] = true
	}
}

// Execute implements run.Executor. The errors are those of done, of the run's folder and of ctx.
func (c *Coordinator) Execute(ctx context.Context, a *run.Asker, tasks []run.Task, done func(context.Context, run.Record) error) error {
	if len(tasks) == 0 {
		return nil
	}
	co, err := c.coordinate(a, false)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		co.add(t)
	}
	from, err := co.clear(ctx)
	if err == nil {
		err = co.execute(ctx, from, done)
	}
	co.end(ctx, err == nil)
	return err
}

// errAllDone ends the helpers of an execution once every question is done.
var errAllDone = errors.New("all questions are done")

// execute has the tasks done, whose results are read from the sequence from on. It returns once all are; those of a session never are.
func (co *coordination) execute(ctx context.Context, from uint64, done func(context.Context, run.Record) error) error {
	described, err := json.Marshal(co.job)
	if err != nil {
		return fmt.Errorf("describe the run to workers: %w", err)
	}
	runs := co.Conn.buckets[runsBucket]
	if _, err := retry(ctx, func(ctx context.Context) (uint64, error) { return runs.Put(ctx, co.job.id(), described) }); err != nil {
		return fmt.Errorf("announce the run to workers: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	records := make(chan run.Record)
	group.Go(func() error { return co.collect(ctx, from, records) })
	group.Go(func() error { return co.bury(ctx, records) })
	group.Go(func() error { return co.publish(ctx) })
	if co.Note != nil {
		group.Go(func() error { return co.watch(ctx) })
		group.Go(func() error {
			if co.telling.TryLock() { // else another session does
				defer co.telling.Unlock()
				co.Conn.tellOutages(ctx, co.Note)
			}
			return nil
		})
	}
	if co.Limit > 0 {
		group.Go(func() error { return co.keepBooks(ctx) })
	}
	for range co.asker.InFlight {
		group.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil // another one says why
				case rec := <-records:
					if err := done(ctx, rec); err != nil {
						return err
					}
					if co.finished(rec) {
						return errAllDone
					}
				}
			}
		})
	}
	if err := group.Wait(); !errors.Is(err, errAllDone) {
		return err
	}
	return nil
}

// tell tells the user of the run's workers, and of which split's where there are several.
func (co *coordination) tell(line string) {
	if co.job.Live {
		line = co.job.Settings.Split + " questions: " + line
	}
	co.Note(line)
}

// keepBooks keeps the books of the spend limit in the run's folder, until ctx ends.
func (co *coordination) keepBooks(ctx context.Context) error {
	for {
		b, err := co.Conn.Books(ctx, co.Folder.ID)
		if err == nil {
			err = co.keep(b)
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(presentEvery):
		}
	}
}

// keep keeps the books of the spend limit in the run's folder.
func (c *Coordinator) keep(b Books) error {
	c.books.Lock()
	defer c.books.Unlock()
	return c.Folder.keep(b)
}

// finished notes that a record is done with, and says whether it was the last.
func (co *coordination) finished(rec run.Record) bool {
	co.mu.Lock()
	defer co.mu.Unlock()
	delete(co.pending, pair{rec.ID, rec.Policy})
	return len(co.pending) == 0 && !co.job.Live
}

// hand passes a record on, unless it is not wanted or another one came first.
func (co *coordination) hand(ctx context.Context, rec run.Record, records chan<- run.Record) error {
	k := pair{rec.ID, rec.Policy}
	co.mu.Lock()
	wanted := co.pending[k] && !co.handed[k]
	if wanted {
		co.handed[k] = true
	}
	co.mu.Unlock()
	if !wanted {
		return nil
	}
	select {
	case records <- rec:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// clear removes the failures among the results that are there from an earlier start: their questions are asked again. It returns
// the sequence that results are read from.
func (co *coordination) clear(ctx context.Context) (uint64, error) {
	first := uint64(0)
	for seq := uint64(1); ; {
		m, err := co.Conn.look(ctx, resultsStream, seq, co.job.results())
		if err != nil {
			return 0, err
		}
		if m == nil {
			if first == 0 {
				first = seq
			}
			return first, nil
		}
		seq = m.Sequence + 1
		r, err := decodeResult(co.job.id(), m.Subject, m.Data)
		if err == nil && r.Stop == "" && !r.Record.Failed() {
			if first == 0 {
				first = m.Sequence
			}
			continue
		}
		if err := co.Conn.remove(ctx, resultsStream, m.Sequence); err != nil {
			return 0, err
		}
	}
}

// collect reads results as they come.
func (co *coordination) collect(ctx context.Context, seq uint64, records chan<- run.Record) error {
	for {
		m, err := co.Conn.next(ctx, resultsStream, seq, co.job.results(), 50*time.Millisecond)
		if err != nil {
			return err
		}
		seq = m.Sequence + 1
		r, err := decodeResult(co.job.id(), m.Subject, m.Data)
		if err != nil {
			return fmt.Errorf("the result %s in stream %s, which a new start asks for again: %w", m.Subject, resultsStream, err)
		}
		if r.Stop != "" {
			if m.Subject == co.job.stopSubject() {
				return r.stopped()
			}
			continue
		}
		if err := co.hand(ctx, r.Record, records); err != nil {
			return err
		}
		if co.job.Live { // no later start reads it
			if err := co.Conn.remove(ctx, resultsStream, m.Sequence); err != nil {
				return err
			}
		}
	}
}

// bury records the questions whose tasks were delivered too often as failed.
func (co *coordination) bury(ctx context.Context, records chan<- run.Record) error {
	subject := "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + tasksStream + "." + consumerOf(co.job.id())
	for seq := uint64(1); ; {
		notice, err := co.Conn.next(ctx, deadStream, seq, subject, time.Second)
		if err != nil {
			return err
		}
		seq = notice.Sequence + 1
		var dead struct {
			Task       uint64 `json:"stream_seq"`
			Deliveries int    `json:"deliveries"`
		}
		if err := json.Unmarshal(notice.Data, &dead); err != nil {
			return fmt.Errorf("a notice in stream %s: %w", deadStream, err)
		}
		m, err := co.Conn.look(ctx, tasksStream, dead.Task, co.job.taskSubjects())
		if err != nil {
			return err
		}
		if m != nil && m.Sequence == dead.Task {
			co.mu.Lock()
			t := co.tasks[m.Subject]
			co.mu.Unlock()
			for _, p := range t.Policies {
				rec := co.asker.FailedRecord(t.Question, p, fmt.Sprintf("%d workers in turn died or went silent for %s while they answered it", dead.Deliveries, co.Conn.lease))
				if err := co.hand(ctx, rec, records); err != nil {
					return err
				}
			}
			if err := co.Conn.remove(ctx, tasksStream, dead.Task); err != nil {
				return err
			}
		}
		if err := co.Conn.remove(ctx, deadStream, notice.Sequence); err != nil {
			return err
		}
	}
}

// end takes the run back from the workers, for whose server a user that ended ctx does not wait for long. What they stored before is
// kept for the next start unless all is done.
func (co *coordination) end(ctx context.Context, all bool) {
	patience := 10 * time.Second
	if ctx.Err() != nil {
		patience = time.Second
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	_, err := retry(ctx, func(ctx context.Context) (struct{}, error) { // Purge of the bucket would leave a mark, which workers look at
		return struct{}{}, co.Conn.below[runsBucket].Purge(ctx, jetstream.WithPurgeSubject("$KV."+runsBucket+"."+co.job.id()))
	})
	if err == nil {
		err = co.Conn.purge(ctx, tasksStream, co.job.taskSubjects())
	}
	if err == nil && all {
		err = co.Conn.purge(ctx, resultsStream, co.job.results())
	}
	if err == nil {
		_, err = retry(ctx, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, co.Conn.js.DeleteConsumer(ctx, tasksStream, consumerOf(co.job.id()))
		})
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			err = nil
		}
	}
	if err == nil && co.Limit > 0 {
		var b Books
		if b, err = co.Conn.Books(ctx, co.Folder.ID); err == nil {
			err = co.keep(b)
		}
	}
	if err != nil && co.Note != nil {
		co.tell(fmt.Sprintf("the run's end may not have reached the server: %v", err))
	}
}
