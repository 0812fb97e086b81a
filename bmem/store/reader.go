package store

import (
	"context"
	"fmt"
	"os"
	"time"
)

// In a shared database, a row of the table reader is the replies of one machine, which have to be looked through for what any machine
// forgets: last is the last row of forgotten that they were looked through for. Sources and words of what is forgotten are kept until
// all readers have seen them.

const (
	// readerAge is how long is waited for the replies of a machine that does not come back.
	readerAge = 30 * 24 * time.Hour
	// noteEvery is how often a process that goes on says that it is there.
	noteEvery = 24 * time.Hour
)

// readerOf names the replies here.
func readerOf(r Replies) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	if named, ok := r.(fmt.Stringer); ok {
		return host + ":" + named.String()
	}
	return host
}

// putReader notes how far replies were looked through, and gives up on those that were not here for long.
func putReader(tx Tx, reader string, last int64, now time.Time) error {
	err := tx.Exec(`INSERT INTO reader (cache, last, seen) VALUES (?, ?, ?) ON CONFLICT (cache) DO UPDATE SET seen = excluded.seen,
		last = CASE WHEN excluded.last > reader.last THEN excluded.last ELSE reader.last END`, reader, last, now.Unix())
	if err != nil {
		return err
	}
	return tx.Exec("DELETE FROM reader WHERE seen < ?", now.Add(-readerAge).Unix())
}

// noteReader says that there are replies here, which has to be known before anything is forgotten.
func (s *Store) noteReader(ctx context.Context, now time.Time) error {
	r := s.replies.Load()
	if r == nil || !s.db.Shared() || s.db.ReadOnly() {
		return nil
	}
	s.noted.Store(now.UnixNano())
	return s.db.Change(ctx, Shared, func(tx Tx) error { return putReader(tx, readerOf(*r), 0, now) })
}

// forgetWithOthers looks through the replies here for what other machines have forgotten, up to last.
func (s *Store) forgetWithOthers(ctx context.Context, last int64, now time.Time) error {
	if s.replies.Load() == nil || !s.db.Shared() {
		return nil
	}
	if now.UnixNano()-s.noted.Load() > int64(noteEvery) {
		if err := s.noteReader(ctx, now); err != nil {
			return err
		}
	}
	if last <= s.scrubbed.Load() {
		return nil
	}
	return s.scrub(ctx)
}
