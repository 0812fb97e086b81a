package llm

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

var cacheFile = fileKind{what: "response cache", app: 0x424d5263, wait: 30 * time.Second, schema: `
	CREATE TABLE replies (
		key     BLOB PRIMARY KEY, -- sha256 of client, messages and settings
		client  TEXT NOT NULL,    -- Client.ID
		reply   TEXT NOT NULL,    -- JSON
		created TEXT NOT NULL     -- RFC 3339
	) WITHOUT ROWID`}

// Cache keeps replies and scores in a SQLite file, each stored, and safe against a power cut, before it is used: what
// was paid for once is never asked again, and a killed run goes on where it was. The key is the sha256 of the client's
// ID, the messages and all settings. Several processes may use one file; if two ask the same at one time both may pay,
// but both get the reply that was stored first. Safe for concurrent use.
type Cache struct {
	db      *sql.DB
	path    string
	flights flights[entry]
	batch   batch
}

// entry is a stored reply: a Response or a score, with the usage of the call that made it.
type entry struct {
	Text   string  `json:"text,omitempty"`
	Finish string  `json:"finish,omitempty"`
	Scores []Score `json:"scores,omitempty"` // of one request
	Usage  Usage   `json:"usage"`

	stored bool // read from the file, not made now
}

// OpenCache opens or creates the cache at path, and its folder. The error is an ErrCache if the file is damaged, is
// something else, or cannot be written. The caller closes the cache.
func OpenCache(path string) (*Cache, error) {
	db, err := openFile(path, cacheFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCache, err)
	}
	return &Cache{db: db, path: path, batch: batch{db: db}}, nil
}

// Close closes the file. Calls in flight then fail to store their replies.
func (c *Cache) Close() error { return c.db.Close() }

// Len is the number of entries in the file.
func (c *Cache) Len(ctx context.Context) (int, error) {
	var n int
	if err := c.db.QueryRowContext(ctx, "SELECT count(*) FROM replies").Scan(&n); err != nil {
		return 0, c.fail("count", err)
	}
	return n, nil
}

// Wrap returns client with its replies kept in c. A reply from the cache has the usage of the call that made it, tokens,
// dollars and milliseconds, but Cached is 1 and Paid 0. Callers who ask the same at one time share one call, and only
// the first of them is told that it paid. Failed calls are not kept. Of a batch of scores each is asked for and kept on
// its own, side by side.
func (c *Cache) Wrap(client Client) Client { return asClient(&cached{inner{client}, c}) }

type cached struct {
	inner
	cache *Cache
}

func (c *cached) Chat(ctx context.Context, req Request) (Response, error) {
	req.MaxTokens = req.ReplyLimit() // unset and set to the default is the same request
	key, err := cacheKey("chat", c.ID(), req)
	if err != nil {
		return Response{}, err
	}
	e, err := c.cache.get(ctx, key, c.ID(), func(ctx context.Context) (entry, error) {
		resp, err := c.Client.Chat(ctx, req)
		return entry{Text: resp.Text, Finish: resp.Finish, Usage: resp.Usage}, err
	})
	return Response{Text: e.Text, Finish: e.Finish, Usage: e.Usage}, err
}

// score keeps each request on its own: batches overlap, as when two modules rate some of the same turns.
func (c *cached) score(ctx context.Context, next Scorer, reqs []ScoreRequest) ([]Score, Usage, error) {
	scores, usages, errs := make([]Score, len(reqs)), make([]Usage, len(reqs)), make([]error, len(reqs))
	var all sync.WaitGroup
	for i := range reqs {
		all.Go(func() { scores[i], usages[i], errs[i] = c.scoreOne(ctx, next, reqs[i:i+1]) })
	}
	all.Wait()
	var total Usage
	for _, u := range usages {
		ms := max(total.MS, u.MS) // they run side by side
		total = total.Add(u)
		total.MS = ms
	}
	for _, err := range errs {
		if err != nil {
			return nil, total, err
		}
	}
	return scores, total, nil
}

func (c *cached) scoreOne(ctx context.Context, next Scorer, req []ScoreRequest) (Score, Usage, error) {
	key, err := cacheKey("score", c.ID(), req)
	if err != nil {
		return Score{}, Usage{}, err
	}
	e, err := c.cache.get(ctx, key, c.ID(), func(ctx context.Context) (entry, error) {
		scores, usage, err := next.Score(ctx, req)
		return entry{Scores: scores, Usage: usage}, err
	})
	if err == nil && len(e.Scores) != 1 {
		err = fmt.Errorf("score with %s: %d scores for a request", c.Model(), len(e.Scores))
	}
	if err != nil {
		return Score{}, e.Usage, err
	}
	return e.Scores[0], e.Usage, nil
}

// cacheKey hashes what a reply depends on.
func cacheKey(kind, client string, request any) ([sha256.Size]byte, error) {
	b, err := json.Marshal([]any{"v1", kind, client, request})
	if err != nil { // a temperature that is no finite number
		return [sha256.Size]byte{}, &Error{Kind: ErrBadRequest, Unsent: true, Err: err}
	}
	return sha256.Sum256(b), nil
}

// get returns the entry under key, from the file, from a call in flight, or by making one.
func (c *Cache) get(ctx context.Context, key [sha256.Size]byte, client string, call func(context.Context) (entry, error)) (entry, error) {
	if err := ctx.Err(); err != nil {
		return entry{}, err
	}
	e, joined, err := c.flights.do(ctx, string(key[:]), func(ctx context.Context) (entry, error) {
		// Only here, where this process has the key to itself: a look before might miss what a flight just stored.
		e, found, err := c.load(ctx, key)
		if err != nil || found {
			return e, err
		}
		if e, err = call(ctx); err != nil {
			return e, err
		}
		return c.store(context.WithoutCancel(ctx), key, client, e)
	})
	if err != nil {
		if joined {
			e.Usage = Usage{} // counted by the one who started the call
		}
		return e, err
	}
	if joined || e.stored {
		e.Usage.Cached = e.Usage.Calls
		e.Usage.Paid = 0
	}
	e.Scores = append([]Score(nil), e.Scores...) // joined callers must not share it
	return e, nil
}

func (c *Cache) load(ctx context.Context, key [sha256.Size]byte) (entry, bool, error) {
	var text string
	err := c.db.QueryRowContext(ctx, "SELECT reply FROM replies WHERE key = ?", key[:]).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return entry{}, false, nil
	} else if err != nil {
		return entry{}, false, c.fail("read from", err)
	}
	e := entry{stored: true}
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return entry{}, false, c.fail("read from", fmt.Errorf("entry %s is damaged: %w", hex.EncodeToString(key[:]), err))
	}
	return e, true, nil
}

// store writes e, and returns it, or what another process stored under the key before. If the write fails, the reply is
// not used, but its usage is returned: it was paid for.
func (c *Cache) store(ctx context.Context, key [sha256.Size]byte, client string, e entry) (entry, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return entry{Usage: e.Usage}, c.fail("write to", err)
	}
	var stored int64
	err = c.batch.do(func(tx *sql.Tx) error {
		res, err := tx.Exec("INSERT INTO replies (key, client, reply, created) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
			key[:], client, string(b), time.Now().UTC().Format(time.RFC3339))
		if err != nil {
			return err
		}
		stored, err = res.RowsAffected()
		return err
	})
	if err != nil {
		return entry{Usage: e.Usage}, c.fail("write to", err)
	}
	if stored > 0 {
		return e, nil
	}
	first, _, err := c.load(ctx, key)
	first.stored = false
	first.Usage = e.Usage // this call too was paid for
	return first, err
}

func (c *Cache) fail(doing string, err error) error {
	return fmt.Errorf("%w: %s %s: %w", ErrCache, doing, c.path, explain(err))
}
