package workers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/budgetmem/budgetmem/experiments/run"
)

const (
	tasksStream   = "BMEM_TASKS"
	resultsStream = "BMEM_RESULTS"
	deadStream    = "BMEM_DEAD"

	runsBucket    = "bmem_runs"
	workersBucket = "bmem_workers"
	repliesBucket = "bmem_replies"
	claimsBucket  = "bmem_claims"
	spendBucket   = "bmem_spend"
)

const (
	// mostTasks is how many tasks lie in the queue at one time; the coordinator waits beyond it.
	mostTasks = 4096
	// mostDeliveries is how many workers may die over a task before it is given up.
	mostDeliveries = 5
	// keepFor is how long results that nobody fetched, and shared replies, are kept.
	keepFor = 7 * 24 * time.Hour
)

// prepare makes the streams and buckets that are not there.
func (c *Conn) prepare(ctx context.Context) error {
	c.streams, c.below, c.buckets = map[string]jetstream.Stream{}, map[string]jetstream.Stream{}, map[string]jetstream.KeyValue{}
	streams := []jetstream.StreamConfig{
		{Name: tasksStream, Subjects: []string{"bmem.tasks.*.*"}, Retention: jetstream.WorkQueuePolicy, MaxMsgs: mostTasks,
			MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true},
		{Name: resultsStream, Subjects: []string{"bmem.results.*.*.*"}, MaxAge: keepFor, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true},
		{Name: deadStream, Subjects: []string{"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + tasksStream + ".*"}, MaxAge: keepFor},
	}
	for _, s := range streams {
		s.Storage, s.Replicas, s.AllowDirect = jetstream.FileStorage, c.replicas, c.replicas == 1
		made, err := c.makeStream(ctx, s)
		if err != nil {
			return err
		}
		c.streams[s.Name] = made
	}
	for name, ttl := range map[string]time.Duration{runsBucket: 0, spendBucket: 0, repliesBucket: keepFor} {
		if err := c.makeBucket(ctx, name, jetstream.FileStorage, ttl); err != nil {
			return err
		}
	}
	return c.prepareMemory(ctx)
}

// prepareMemory makes the buckets that the server keeps in its memory, where they are gone once it has restarted.
func (c *Conn) prepareMemory(ctx context.Context) error {
	for name, ttl := range map[string]time.Duration{workersBucket: workerTTL, claimsBucket: c.lease} {
		if err := c.makeBucket(ctx, name, jetstream.MemoryStorage, ttl); err != nil {
			return err
		}
	}
	return nil
}

// makeStream makes a stream that is not there.
func (c *Conn) makeStream(ctx context.Context, s jetstream.StreamConfig) (jetstream.Stream, error) {
	made, err := retry(ctx, func(ctx context.Context) (jetstream.Stream, error) {
		there, err := c.js.Stream(ctx, s.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return c.js.CreateOrUpdateStream(ctx, s)
		}
		return there, err
	})
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", s.Name, err)
	}
	return made, nil
}

// bucket is the stream of a key-value bucket. It differs in one way from those that NATS's clients make: in a cluster its leader alone
// answers reads. Other servers may not have seen yet what was acknowledged, and a call would be paid for twice.
func (c *Conn) bucket(name string, storage jetstream.StorageType, ttl time.Duration) jetstream.StreamConfig {
	return jetstream.StreamConfig{Name: "KV_" + name, Subjects: []string{"$KV." + name + ".>"}, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew,
		AllowRollup: true, DenyDelete: true, Storage: storage, MaxAge: ttl, Replicas: c.replicas, AllowDirect: c.replicas == 1}
}

func (c *Conn) makeBucket(ctx context.Context, name string, storage jetstream.StorageType, ttl time.Duration) error {
	made, err := c.makeStream(ctx, c.bucket(name, storage, ttl))
	if err != nil {
		return err
	}
	if c.buckets[name] != nil { // it says where a bucket is, which stays the same
		return nil
	}
	c.below[name] = made
	c.buckets[name], err = retry(ctx, func(ctx context.Context) (jetstream.KeyValue, error) { return c.js.KeyValue(ctx, name) })
	if err != nil {
		return fmt.Errorf("bucket %s: %w", name, err)
	}
	return nil
}

// next returns the first message of a stream from a sequence on whose subject matches, and waits for it, looking every so often.
func (c *Conn) next(ctx context.Context, stream string, seq uint64, subject string, every time.Duration) (*jetstream.RawStreamMsg, error) {
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, every) {
		m, err := c.look(ctx, stream, seq, subject)
		if err != nil || m != nil {
			return m, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// look is next that does not wait; it returns nil if there is none.
func (c *Conn) look(ctx context.Context, stream string, seq uint64, subject string) (*jetstream.RawStreamMsg, error) {
	m, err := retry(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return c.streams[stream].GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subject))
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read from stream %s: %w", stream, err)
	}
	return m, nil
}

// remove deletes a message of a stream; one that is gone is no error.
func (c *Conn) remove(ctx context.Context, stream string, seq uint64) error {
	_, err := retry(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, c.streams[stream].DeleteMsg(ctx, seq) })
	var api *jetstream.APIError
	if errors.As(err, &api) && api.Code < 500 { // there is no such message
		return nil
	} else if err != nil {
		return fmt.Errorf("remove from stream %s: %w", stream, err)
	}
	return nil
}

// purge deletes the messages of a stream with matching subjects.
func (c *Conn) purge(ctx context.Context, stream, subjects string) error {
	_, err := retry(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, c.streams[stream].Purge(ctx, jetstream.WithPurgeSubject(subjects))
	})
	return err
}

// entries returns the values of a bucket with few keys, by key. It asks the stream below the bucket, since the bucket's own list of
// keys makes the server set up a consumer each time, on its disk.
func (c *Conn) entries(ctx context.Context, bucket string) (map[string][]byte, error) {
	prefix := "$KV." + bucket + "."
	info, err := retry(ctx, func(ctx context.Context) (*jetstream.StreamInfo, error) {
		return c.below[bucket].Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	})
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for subject := range info.State.Subjects {
		key := strings.TrimPrefix(subject, prefix)
		e, err := retry(ctx, func(ctx context.Context) (jetstream.KeyValueEntry, error) { return c.buckets[bucket].Get(ctx, key) })
		if err == nil {
			out[key] = e.Value()
		} else if !errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil, err
		}
	}
	return out, nil
}

// token is the form in which a name of any characters is part of a subject.
func token(name string) string {
	h := sha256.Sum256([]byte(name))
	return hex.EncodeToString(h[:12])
}

// taskSubject is the place of a task. In a session the same question can wait under several policies.
func (j Job) taskSubject(t run.Task) string {
	name := t.Question
	if j.Live {
		name = t.Policies[0]
	}
	return "bmem.tasks." + j.id() + "." + token(name)
}

// taskSubjects matches the tasks of a run, results all that workers store for it.
func (j Job) taskSubjects() string { return "bmem.tasks." + j.id() + ".*" }
func (j Job) results() string      { return "bmem.results." + j.id() + ".>" }

// decisions is where workers ask what a session's policies decide.
func (j Job) decisions() string { return "bmem.decide." + j.id() }

func resultSubject(id, question, policy string) string {
	return "bmem.results." + id + "." + token(question) + "." + token(policy)
}

// stopSubject is where workers say that a run is at the end of its spend limit. It depends on the limit, so that what workers say of
// one does not stop a run that has got more.
func (j Job) stopSubject() string {
	return stopSubjects(j.id()) + token(fmt.Sprint(j.Limit))
}

// stopSubjects is what the subjects of a run's ends begin with.
func stopSubjects(id string) string { return "bmem.results." + id + ".stop." }

// consumerOf is the name of a run's consumer of tasks.
func consumerOf(run string) string { return "run-" + run }
