package workers

import (
	"context"
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

// Load implements llm.SharedReplies.
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
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return value, err
	}
	first, err := r.Load(ctx, key)
	if err != nil || first != nil {
		return first, err
	}
	return value, nil // it was too old in between
}

// Claim implements llm.SharedReplies. A claim ends with Conn.Lease unless its holder says that it is still there.
func (r *Replies) Claim(ctx context.Context, key string) (release func(), err error) {
	kv := r.conn.buckets[claimsBucket]
	var revision uint64
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		revision, err = retry(ctx, func(ctx context.Context) (uint64, error) { return kv.Create(ctx, key, []byte(r.owner)) })
		if err == nil {
			break
		} else if !errors.Is(err, jetstream.ErrKeyExists) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
	kept, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(r.conn.Lease / 4); ; {
			select {
			case <-kept.Done():
				tick.Stop()
				return
			case <-tick.C:
				// A claim that was lost with the server's memory is made again; one that another has by now is left to it.
				tctx, cancel := context.WithTimeout(kept, r.conn.Lease/4)
				if now, err := kv.Update(tctx, key, []byte(r.owner), revision); err == nil {
					revision = now
				} else if now, err := kv.Create(tctx, key, []byte(r.owner)); err == nil {
					revision = now
				}
				cancel()
			}
		}
	}()
	return func() {
		stop()
		<-ended
		// Removing the message leaves no mark of a deletion behind. Where it fails the claim ends by itself.
		tctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
		defer cancel()
		_ = r.conn.claims.DeleteMsg(tctx, revision)
	}, nil
}
