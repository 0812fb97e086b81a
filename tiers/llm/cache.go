package llm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/budgetmem/budgetmem/internal/closers"
	"github.com/budgetmem/budgetmem/internal/filelock"
	"github.com/budgetmem/budgetmem/internal/sqlerr"
	"github.com/budgetmem/budgetmem/internal/sqlfile"
)

var cacheFile = sqlfile.Kind{What: "response cache", App: 0x424d5263, Wait: 30 * time.Second, Schema: `
	CREATE TABLE replies (
		key     BLOB PRIMARY KEY, -- sha256 of client, messages and settings
		client  TEXT NOT NULL,    -- Client.ID
		reply   TEXT NOT NULL,    -- JSON
		created TEXT NOT NULL,    -- RFC 3339
		sum     BLOB,             -- checksum of key and reply; NULL in what earlier versions stored
		sources BLOB              -- what the reply was made from, 16 bytes each; NULL if that is not known
	) WITHOUT ROWID;
	` + forgottenTable,
	Updates: []string{"ALTER TABLE replies ADD COLUMN sum BLOB", "ALTER TABLE replies ADD COLUMN sources BLOB; " + forgottenTable}}

// forgottenTable holds the sources that were forgotten lately, since calls made from them may be under way.
const forgottenTable = "CREATE TABLE forgotten (source BLOB PRIMARY KEY, at INTEGER NOT NULL, scrubbed INTEGER NOT NULL) WITHOUT ROWID"

// Cache keeps replies and scores in a SQLite file. Each is stored, and safe against a power cut, before it is used: what
// was paid for once is never asked again, and a killed run continues where it was. The key is the sha256 of the client's
// ID, the messages and all settings. Several processes may use one file: of those that ask the same at the same time, one
// makes the call and the others wait for its reply. When a reply cannot be stored, no further call is made. On a disk
// that can only be read, stored replies are found and nothing is asked. Safe for concurrent use.
type Cache struct {
	db      *sql.DB
	path    string
	flights flights[entry]
	batch   batch
	// The statements of every call, compiled once. insert and gone are nil if the file can only be read.
	find, insert, gone *sql.Stmt
	// claims are the keys that processes are making calls for; nil if the file can only be read.
	claims *filelock.Keys
	// patience is how long a reply that another process has claimed is waited for.
	patience time.Duration
	readOnly bool
	closeAll closers.Stack
	// writable tries, once, whether replies can be stored; failed is the first error of storing one.
	writable func() error
	failed   atomic.Pointer[error]
	shared   SharedReplies // nil: this machine's alone
}

// entry is a stored reply: a Response or a score, with the usage of the call that made it.
type entry struct {
	Text   string  `json:"text,omitempty"`
	Finish string  `json:"finish,omitempty"`
	Cut    string  `json:"cut,omitempty"`    // for a reply that was cut inside its reasoning, what the error says
	Scores []Score `json:"scores,omitempty"` // of one request
	Usage  Usage   `json:"usage"`

	LogProbs []TokenLogProb `json:"logprobs,omitempty"`
	Others   []Choice       `json:"others,omitempty"`

	stored bool // read from the file, not made now
}

// claimPatience is longer than most calls take. A process that holds a claim for longer may have been stopped, and the next
// one makes the call itself.
const claimPatience = 10 * time.Minute

// String names the cache: the path of its file.
func (c *Cache) String() string { return c.path }

// OpenCache opens or creates the cache at path, and its folder. Beside it lies a file for the claims of processes. A cache
// that is there and can only be read is opened for reading. The error is an ErrCache if the file is damaged or is something
// else. The caller closes the cache.
func OpenCache(path string) (*Cache, error) {
	c := &Cache{path: path, patience: claimPatience}
	if err := c.open(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCache, errors.Join(err, c.closeAll.Close()))
	}
	return c, nil
}

func (c *Cache) open() (err error) {
	c.db, err = sqlfile.Open(c.path, cacheFile)
	if c.readOnly = sqlerr.IsReadOnly(err); c.readOnly {
		var done func() error
		if c.db, done, err = sqlfile.OpenForReading(c.path, cacheFile); err == nil {
			c.closeAll.Add(done)
		}
	}
	if err != nil {
		return err
	}
	c.closeAll.Add(c.db.Close)
	c.batch.db = c.db
	if err := c.prepare(); err != nil {
		return fmt.Errorf("open %s %s: %w", cacheFile.What, c.path, err)
	}
	c.writable = sync.OnceValue(c.tryToWrite)
	if c.readOnly {
		return nil
	}
	if c.claims, err = filelock.OpenKeys(c.path + "-claims"); err != nil {
		return fmt.Errorf("open %s %s: %w", cacheFile.What, c.path, err)
	}
	c.closeAll.Add(c.claims.Close)
	return nil
}

// prepare compiles the statements of a call. They are closed with the file. One that can only be read may be of an earlier version, which
// lacks what the others write.
func (c *Cache) prepare() error {
	texts := map[**sql.Stmt]string{&c.find: "SELECT reply, sum FROM replies WHERE key = ?"}
	if !c.readOnly {
		texts[&c.insert] = "INSERT INTO replies (key, client, reply, created, sum, sources) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
		texts[&c.gone] = anyForgotten
	}
	for statement, text := range texts {
		made, err := c.db.Prepare(text)
		if err != nil {
			return err
		}
		*statement = made
		c.closeAll.Add(made.Close)
	}
	return nil
}

// room is how many bytes must fit into the file before the first call is paid for.
const room = 64 << 10

// tryToWrite stores and removes an entry that is larger than most replies: on a full disk, nothing must be paid for.
func (c *Cache) tryToWrite() error {
	if c.readOnly {
		return c.fail("write to", sqlerr.ErrReadOnly)
	}
	key := make([]byte, sha256.Size)
	for _, statement := range []string{
		"INSERT OR REPLACE INTO replies (key, client, reply, created) VALUES (?, '', CAST(zeroblob(" + strconv.Itoa(room) + ") AS TEXT), '')",
		"DELETE FROM replies WHERE key = ?",
	} {
		err := c.batch.do(func(tx *sql.Tx) error {
			_, err := tx.Exec(statement, key)
			return err
		})
		if err != nil {
			return c.fail("write to", err)
		}
	}
	return nil
}

// mayPay returns why no call must be paid for: its reply could not be stored.
func (c *Cache) mayPay() error {
	if failed := c.failed.Load(); failed != nil {
		return *failed
	}
	return c.writable()
}

// Close closes the file. Calls in flight then fail with an ErrCache, because their replies cannot be stored.
func (c *Cache) Close() error { return c.closeAll.Close() }

// Check reads every entry and compares it with its checksum. The error is an ErrCache that names the first damaged entry;
// n is the number of sound ones before it.
func (c *Cache) Check(ctx context.Context) (n int, err error) {
	rows, err := c.db.QueryContext(ctx, "SELECT key, reply, sum FROM replies ORDER BY key")
	if err != nil {
		return 0, c.fail("read from", err)
	}
	defer rows.Close()
	for rows.Next() {
		var key, sum []byte
		var text string
		if err := rows.Scan(&key, &text, &sum); err != nil {
			return n, c.fail("read from", err)
		}
		if sum != nil && !bytes.Equal(sum, sqlfile.Checksum(key, text)) {
			return n, c.fail("read from", fmt.Errorf("entry %s: its checksum is wrong: %w", hex.EncodeToString(key), sqlfile.ErrDamaged))
		}
		n++
	}
	if err := rows.Err(); err != nil {
		return n, c.fail("read from", err)
	}
	return n, nil
}

// cacheKey is the hash of everything that a reply depends on.
type cacheKey [sha256.Size]byte

func newCacheKey(kind, client string, request any) (cacheKey, error) {
	b, err := json.Marshal([]any{"v1", kind, client, request})
	if err != nil { // a temperature that is no finite number
		return cacheKey{}, &Error{Kind: ErrBadRequest, Unsent: true, Err: err}
	}
	return sha256.Sum256(b), nil
}

// get returns the entry under the first of keys that has one in the file, or that of a call in flight, or makes a call
// and stores its reply under the first key.
func (c *Cache) get(ctx context.Context, keys []cacheKey, client string, call func(context.Context) (entry, error)) (entry, error) {
	if err := ctx.Err(); err != nil {
		return entry{}, err
	}
	e, joined, err := c.flights.do(ctx, string(keys[0][:]), func(ctx context.Context) (entry, error) {
		// Only here, where this process has the key to itself: a look before might miss what a flight just stored.
		if e, found, err := c.loadAny(ctx, keys); err != nil || found {
			return e, err
		}
		release, err := c.claim(ctx, keys[0])
		if err != nil {
			return entry{}, err
		}
		defer release()
		// Another process may have stored it before the claim was free.
		if e, found, err := c.loadAny(ctx, keys); err != nil || found {
			return e, err
		}
		if err := c.mayPay(); err != nil {
			return entry{}, err
		}
		if c.shared != nil {
			return c.getShared(ctx, keys[0], client, call)
		}
		return c.pay(ctx, keys[0], client, call)
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

// pay makes a call and stores its reply.
func (c *Cache) pay(ctx context.Context, key cacheKey, client string, call func(context.Context) (entry, error)) (entry, error) {
	e, err := call(ctx)
	if err != nil {
		return e, err
	}
	if e, err = c.store(context.WithoutCancel(ctx), key, client, e); err != nil {
		c.failed.CompareAndSwap(nil, &err)
	}
	return e, err
}

// claim waits until no other process is making a call for the key. A process that is killed loses its claims.
func (c *Cache) claim(ctx context.Context, key cacheKey) (release func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	release, err = c.claims.Wait(waiting, binary.BigEndian.Uint64(key[:]))
	switch {
	case err == nil:
		return release, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("another process is asking the same: %w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return func() {}, nil
	}
	return nil, c.fail("claim an entry of", err)
}

// loadAny returns the entry of the first key that has one.
func (c *Cache) loadAny(ctx context.Context, keys []cacheKey) (entry, bool, error) {
	for _, key := range keys {
		if e, found, err := c.load(ctx, key); err != nil || found {
			return e, found, err
		}
	}
	return entry{}, false, nil
}

func (c *Cache) load(ctx context.Context, key cacheKey) (entry, bool, error) {
	var text string
	var sum []byte
	err := c.find.QueryRowContext(ctx, key[:]).Scan(&text, &sum)
	if errors.Is(err, sql.ErrNoRows) {
		return entry{}, false, nil
	} else if err != nil {
		return entry{}, false, c.fail("read from", err)
	}
	if sum != nil && !bytes.Equal(sum, sqlfile.Checksum(key[:], text)) {
		return entry{}, false, c.fail("read from", fmt.Errorf("entry %s: its checksum is wrong: %w", hex.EncodeToString(key[:]), sqlfile.ErrDamaged))
	}
	e := entry{stored: true}
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return entry{}, false, c.fail("read from", fmt.Errorf("entry %s is damaged: %w", hex.EncodeToString(key[:]), err))
	}
	// Earlier versions stored replies with their reasoning. One that was cut inside it was no answer.
	text, inside := StripReasoning(e.Text)
	if inside {
		return entry{}, false, nil
	}
	e.Text = text
	return e, true, nil
}

// store writes e, and returns it, or what another process stored under the key before. If the write fails, the reply is
// not used, but its usage is returned: it was paid for.
func (c *Cache) store(ctx context.Context, key cacheKey, client string, e entry) (entry, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return entry{Usage: e.Usage}, c.fail("write to", err)
	}
	var stored int64
	from, _ := ctx.Value(madeKey{}).(made)
	err = c.batch.do(func(tx *sql.Tx) error {
		if gone, err := forgotten(tx, c.gone, from); err != nil || gone {
			stored = 1
			return err
		}
		res, err := tx.Stmt(c.insert).Exec(key[:], client, string(b), time.Now().UTC().Format(time.RFC3339), sqlfile.Checksum(key[:], string(b)), from.sources)
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
	return fmt.Errorf("%w: %s %s: %w", ErrCache, doing, c.path, sqlfile.Explain(err))
}
