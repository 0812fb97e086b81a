package workers

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Replies is the store of replies that all machines at the server share. It implements llm.SharedReplies. A reply is kept for a week.
type Replies struct {
	conn  *Conn
	owner string // of claims, for those who look at the bucket
}

// Replies returns the shared store.
func (c *Conn) Replies() *Replies {
	host, err := os.Hostname()
	if err != nil {
		host = "a machine without a name"
	}
	return &Replies{c, fmt.Sprintf("%s, process %d", host, os.Getpid())}
}

// Load implements llm.SharedReplies. It fails only when ctx ends or the server refuses; so do Store and Claim.
func (r *Replies) Load(ctx context.Context, key string) ([]byte, error) {
	kv := r.conn.buckets[repliesBucket]
	e, err := retry(ctx, func(ctx context.Context) (jetstream.KeyValueEntry, error) { return kv.Get(ctx, key) })
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return e.Value(), nil
}

// Store implements llm.SharedReplies.
func (r *Replies) Store(ctx context.Context, key string, value []byte) ([]byte, error) {
	kv := r.conn.buckets[repliesBucket]
	_, err := retry(ctx, func(ctx context.Context) (uint64, error) { return kv.Create(ctx, key, value) })
	if !conflict(err) {
		return value, err
	}
	first, err := r.Load(ctx, key)
	if err != nil || first != nil {
		return first, err
	}
	return value, nil // it was too old in between
}

// Claim implements llm.SharedReplies. A claim ends with the lease unless its holder says that it is still there.
func (r *Replies) Claim(ctx context.Context, key string) (release func(), err error) {
	kv := r.conn.buckets[claimsBucket]
	mine := []byte(r.owner + ", claim " + rand.Text())
	connected := r.conn.nc.Stats().Reconnects
	revision, err := r.create(ctx, key, mine)
	if err != nil {
		r.conn.pending.Go(func() { r.withdrawUnseen(key, mine, false) }) // it may be there all the same
		return nil, err
	}
	kept, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(r.conn.lease / 4); ; {
			select {
			case <-kept.Done():
				tick.Stop()
				return
			case <-tick.C:
				// A claim that was lost with the server's memory is made again; one that another has by now is left to it.
				tctx, cancel := context.WithTimeout(kept, r.conn.lease/4)
				if now, err := kv.Update(tctx, key, mine, revision); err == nil {
					revision = now
				} else if now, err := kv.Create(tctx, key, mine); err == nil {
					revision = now
				} else if now, err := r.revision(tctx, key, mine); err == nil {
					revision = now // of an update whose reply was lost
				}
				cancel()
			}
		}
	}()
	return func() {
		stop()
		r.conn.pending.Go(func() { // nobody here waits for it
			<-ended
			if r.conn.nc.Stats().Reconnects == connected {
				ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
				defer cancel()
				if r.withdraw(ctx, key, revision) {
					return
				}
			}
			r.withdrawUnseen(key, mine, true)
		})
	}, nil
}

// withdraw removes a claim and says whether the server has answered: that it is removed, or has another revision by now. The mark that
// the removal leaves ends by itself, as the claim does otherwise.
func (r *Replies) withdraw(ctx context.Context, key string, revision uint64) (answered bool) {
	err := r.conn.buckets[claimsBucket].Delete(ctx, key, jetstream.LastRevision(revision))
	return err == nil || conflict(err)
}

// withdrawUnseen removes a claim of unknown revision as soon as the server shows it: one whose making was broken off (made is false), and
// one that the server may have lost, or was not reached to remove. The bucket lies in memory: after a restart, another's claim may have
// the revision that this one had.
func (r *Replies) withdrawUnseen(key string, mine []byte, made bool) {
	ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
	defer cancel()
	for pause := 20 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 500*time.Millisecond) {
		revision, err := r.revision(ctx, key, mine)
		if err == nil && r.withdraw(ctx, key, revision) || made && errors.Is(err, jetstream.ErrKeyNotFound) {
			return
		}
		time.Sleep(pause)
	}
}

// create makes the entry of a claim once no other one is there, and returns its revision.
func (r *Replies) create(ctx context.Context, key string, mine []byte) (uint64, error) {
	kv := r.conn.buckets[claimsBucket]
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		revision, err := retry(ctx, func(ctx context.Context) (uint64, error) { return kv.Create(ctx, key, mine) })
		if !conflict(err) {
			return revision, err
		}
		// An attempt that seemed to fail may have made it.
		if revision, err := r.revision(ctx, key, mine); err == nil {
			return revision, nil
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// revision is that of a claim that is there. One that is another's is as good as none: jetstream.ErrKeyNotFound.
func (r *Replies) revision(ctx context.Context, key string, mine []byte) (uint64, error) {
	e, err := r.conn.buckets[claimsBucket].Get(ctx, key)
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(e.Value(), mine) {
		return 0, jetstream.ErrKeyNotFound
	}
	return e.Revision(), nil
}
