package llm

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/budgetmem/budgetmem/internal/sqlfile"
)

// SharedReplies is a store of replies that several machines share.
type SharedReplies interface {
	// Load returns what is stored under a key, nil if nothing is.
	Load(ctx context.Context, key string) ([]byte, error)
	// Store keeps value under key unless something is there already, and returns what is there then.
	Store(ctx context.Context, key string, value []byte) ([]byte, error)
	// Claim waits until no other machine is making the call of a key. release gives the claim up; a machine that dies loses its
	// claims after a while.
	Claim(ctx context.Context, key string) (release func(), err error)
}

// Share looks for replies in s too, and stores there what is paid for here, so that of several machines that ask the same one
// pays. The first reply stored counts for all. It is called before the cache is used. Forget does not reach s.
func (c *Cache) Share(s SharedReplies) { c.shared = s }

// getShared returns the reply that another machine stored, or makes the call and stores its reply here, then for all.
func (c *Cache) getShared(ctx context.Context, key cacheKey, client string, call func(context.Context) (entry, error)) (entry, error) {
	name := hex.EncodeToString(key[:])
	release, err := c.shared.Claim(ctx, name)
	if err != nil {
		return entry{}, fmt.Errorf("claim a call among the machines: %w", err)
	}
	defer release()
	text, err := c.shared.Load(ctx, name)
	if err != nil {
		return entry{}, fmt.Errorf("look for a reply of another machine: %w", err)
	}
	if text != nil {
		var e entry
		if err := json.Unmarshal(text, &e); err != nil {
			return entry{}, fmt.Errorf("%w: the shared reply %s is damaged: %w", ErrCache, name, err)
		}
		e, err = c.store(context.WithoutCancel(ctx), key, client, e)
		e.stored = true
		return e, err
	}
	e, err := c.pay(ctx, key, client, call)
	if err != nil {
		return e, err
	}
	mine, err := json.Marshal(e)
	if err != nil {
		return e, fmt.Errorf("%w: %w", ErrCache, err)
	}
	first, err := c.shared.Store(ctx, name, mine)
	switch {
	case err != nil && ctx.Err() != nil:
		return e, nil // it is kept here, and whoever waited for it has left
	case err != nil:
		return e, fmt.Errorf("share a reply: %w", err)
	case bytes.Equal(first, mine):
		return e, nil
	}
	other := entry{}
	if err := json.Unmarshal(first, &other); err != nil {
		return e, fmt.Errorf("%w: the shared reply %s is damaged: %w", ErrCache, name, err)
	}
	if err := c.replace(key, other); err != nil {
		return e, err
	}
	other.Usage = e.Usage // this call too was paid for
	return other, nil
}

// replace stores e in place of what is under a key.
func (c *Cache) replace(key cacheKey, e entry) error {
	b, err := json.Marshal(e)
	if err == nil {
		err = c.batch.do(func(tx *sql.Tx) error {
			_, err := tx.Exec("UPDATE replies SET reply = ?, sum = ? WHERE key = ?", string(b), sqlfile.Checksum(key[:], string(b)), key[:])
			return err
		})
	}
	if err != nil {
		return c.fail("write to", err)
	}
	return nil
}
