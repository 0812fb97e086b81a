package tenant

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/budgetmem/budgetmem/internal/money"
	"github.com/budgetmem/budgetmem/internal/sqlfile"
	"github.com/budgetmem/budgetmem/serve/memory"
)

// LedgerFile is the usual name of a ledger.
const LedgerFile = "spending.db"

// A hold is on disk before its question is asked, and its cost before the answer goes out. It belongs to the hour in which it was
// made; what a killed process held stays booked there.
var ledgerFile = sqlfile.Kind{What: "ledger of spending", App: 0x424d5370, Wait: 30 * time.Second, Schema: `
	CREATE TABLE spent (
		tenant TEXT NOT NULL,
		hour   INTEGER NOT NULL, -- since 1970, UTC
		amount INTEGER NOT NULL, -- 1e-12 dollars
		asked  INTEGER NOT NULL,
		sum    BLOB, -- checksum of the row; NULL in what earlier versions stored, until it is opened
		PRIMARY KEY (tenant, hour)
	) STRICT, WITHOUT ROWID;
	CREATE TABLE held (
		id     INTEGER PRIMARY KEY AUTOINCREMENT,
		tenant TEXT NOT NULL,
		hour   INTEGER NOT NULL,
		amount INTEGER NOT NULL,
		at     INTEGER NOT NULL, -- milliseconds since 1970
		sum    BLOB
	) STRICT;
	CREATE INDEX held_tenant ON held (tenant, hour)`,
	Updates: []string{"ALTER TABLE spent ADD COLUMN sum BLOB; ALTER TABLE held ADD COLUMN sum BLOB"}}

const (
	// defaultPatience is how long a question waits for others of its tenant that hold what it needs.
	defaultPatience = 10 * time.Second
	// look is how often it looks whether those of other processes have ended.
	look = 50 * time.Millisecond
	// inFlight is how long a hold counts as that of a question that may yet turn out cheap. Older ones may be left from a process that
	// was killed: nobody waits for them.
	inFlight = 2 * time.Minute
	// kept is how long what was spent is remembered.
	kept = 400 * 24 * time.Hour
)

// Ledger keeps what was spent, by tenant and hour. Several processes may use one file at the same time: no limit is passed by all of
// them together. Safe for concurrent use.
type Ledger struct {
	db       *sql.DB
	now      func() time.Time
	patience time.Duration

	mu      sync.Mutex
	changed chan struct{}            // closed and replaced when a hold is settled
	lines   map[string]chan struct{} // by tenant: who waits first is served first
}

// OpenLedger opens or creates the ledger at path. One that is damaged is refused: what may still be spent is not known then. The caller
// closes it.
func OpenLedger(path string) (*Ledger, error) {
	db, err := sqlfile.Open(path, ledgerFile)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // in the order of their coming; SQLite's own waiting is by polling
	l := &Ledger{db: db, now: time.Now, patience: defaultPatience, changed: make(chan struct{}), lines: map[string]chan struct{}{}}
	if err := l.tidy(); err != nil {
		return nil, fmt.Errorf("open %s %s: %w", ledgerFile.What, path, errors.Join(sqlfile.Explain(err), db.Close()))
	}
	return l, nil
}

// Close closes the file. What questions in flight hold stays booked.
func (l *Ledger) Close() error { return l.db.Close() }

// tidy checks the ledger, books what killed processes held a day ago and more, and drops what is older than anybody asks for.
func (l *Ledger) tidy() error {
	if err := l.seal(); err != nil {
		return err
	}
	if _, err := l.check(context.Background()); err != nil {
		return err
	}
	return l.change(context.Background(), func(tx *sql.Tx) error {
		old, err := rows(context.Background(), tx, "SELECT "+heldColumns+" FROM held WHERE at < ?", l.now().Add(-24*time.Hour).UnixMilli())
		if err != nil {
			return err
		}
		for _, r := range old {
			if err := drop(tx, r.id); err != nil {
				return err
			}
			if err := spend(tx, r.tenant, r.hour, r.amount, 1); err != nil {
				return err
			}
		}
		_, err = tx.Exec("DELETE FROM spent WHERE hour < ?", hourOf(l.now().Add(-kept)))
		return err
	})
}

// change runs work in a transaction that is on the disk when change returns.
func (l *Ledger) change(ctx context.Context, work func(*sql.Tx) error) error {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := work(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// failure is the error for a ledger that cannot be read or written.
func failure(err error) error { return fmt.Errorf("the %s: %w", ledgerFile.What, sqlfile.Explain(err)) }

func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

// balance is what a tenant spent and holds in the hour and day of a moment.
type balance struct {
	at        time.Time
	hour, day money.Picodollars
	recent    int // holds of questions that may be in flight
}

// left is what a new question may hold.
func (b balance) left(l limits) money.Picodollars {
	return max(0, min(rest(l.hour, b.hour), rest(l.day, b.day)))
}

func rest(limit, used money.Picodollars) money.Picodollars {
	if limit == money.Most {
		return limit
	}
	return max(0, limit-used)
}

// budget is how a balance is shown; nil without limits.
func (b balance) budget(l limits) *memory.Budget {
	if l == noLimits {
		return nil
	}
	out := &memory.Budget{}
	if l.question < money.Most {
		question := l.question.Dollars()
		out.Question = &question
	}
	window := func(limit, used money.Picodollars, length time.Duration) *memory.Window {
		if limit == money.Most {
			return nil
		}
		return &memory.Window{Limit: limit.Dollars(), Left: rest(limit, used).Dollars(), Renews: b.at.UTC().Truncate(length).Add(length).Format(time.RFC3339)}
	}
	out.Hour, out.Day = window(l.hour, b.hour, time.Hour), window(l.day, b.day, 24*time.Hour)
	return out
}

// until is how many seconds it is to a moment that budget wrote.
func (l *Ledger) until(renews string) int {
	at, err := time.Parse(time.RFC3339, renews)
	if err != nil {
		return 0
	}
	return 1 + int(at.Sub(l.now()).Seconds())
}

// balanceIn reads the balance of a tenant.
func (l *Ledger) balanceIn(ctx context.Context, q querier, tenant string) (balance, error) {
	b := balance{at: l.now()}
	hour := hourOf(b.at)
	day := hour / 24 * 24
	entries, err := rows(ctx, q, "SELECT "+spentColumns+" FROM spent WHERE tenant = ?1 AND hour BETWEEN ?2 AND ?2 + 23 UNION ALL SELECT "+heldColumns+" FROM held WHERE tenant = ?1 AND hour BETWEEN ?2 AND ?2 + 23",
		tenant, day)
	for _, r := range entries {
		b.day = b.day.Plus(r.amount)
		if r.hour == hour {
			b.hour = b.hour.Plus(r.amount)
		}
		if r.id != 0 && r.at > b.at.Add(-inFlight).UnixMilli() {
			b.recent++
		}
	}
	return b, err
}

// balance reads the balance of a tenant.
func (l *Ledger) balance(ctx context.Context, t *Tenant) (balance, error) {
	b, err := l.balanceIn(ctx, l.db, t.name)
	if err != nil {
		return b, failure(err)
	}
	return b, nil
}

// line lets one question of a tenant in at a time, in the order of their coming.
func (l *Ledger) line(ctx context.Context, tenant string) (leave func(), err error) {
	l.mu.Lock()
	line := l.lines[tenant]
	if line == nil {
		line = make(chan struct{}, 1)
		l.lines[tenant] = line
	}
	l.mu.Unlock()
	select {
	case line <- struct{}{}:
		return func() { <-line }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// reserve fills h with what it wanted, or with what is left if that is at least least. While questions in flight hold the rest, it
// waits for them.
func (l *Ledger) reserve(ctx context.Context, h *hold, least money.Picodollars) error {
	waited := time.After(l.patience)
	leave, err := l.line(ctx, h.tenant.name)
	if err != nil {
		return err
	}
	defer leave()
	for patient := true; ; {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		b, done, err := l.try(ctx, h, least, patient)
		switch {
		case err != nil && ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return failure(err)
		case done:
			return nil
		case !patient && b.recent > 0:
			return refusal(http.StatusTooManyRequests, 2, b.budget(h.tenant.limits), "questions of %q that are running hold what is left of its budget: ask again when they have ended", h.tenant.name)
		case b.recent == 0:
			return h.tenant.usedUp(b.budget(h.tenant.limits), "a question needs more")
		}
		select {
		case <-changed:
		case <-time.After(look):
		case <-waited:
			patient = false
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// try makes the hold if it can be made now.
func (l *Ledger) try(ctx context.Context, h *hold, least money.Picodollars, patient bool) (b balance, done bool, err error) {
	err = l.change(ctx, func(tx *sql.Tx) error {
		if b, err = l.balanceIn(ctx, tx, h.tenant.name); err != nil {
			return err
		}
		h.hour, h.amount = hourOf(b.at), min(h.wanted, b.left(h.tenant.limits))
		if done = h.amount == h.wanted || h.amount >= least && (b.recent == 0 || !patient); !done {
			return nil
		}
		if h.amount == money.Most {
			return nil // no limit, and nothing to hold
		}
		h.id, err = put(ctx, tx, row{tenant: h.tenant.name, hour: h.hour, amount: h.amount, at: b.at.UnixMilli()})
		return err
	})
	return b, done, err
}

// settle books cost instead of what h holds. What is paid for is booked also when its caller is gone.
func (l *Ledger) settle(h *hold, cost money.Picodollars) (b balance, err error) {
	ctx := context.Background()
	err = l.change(ctx, func(tx *sql.Tx) error {
		if h.id != 0 {
			if err := drop(tx, h.id); err != nil {
				return err
			}
		}
		asked := 1
		if cost == 0 {
			asked = 0
		}
		if err := spend(tx, h.tenant.name, h.hour, cost, asked); err != nil {
			return err
		}
		b, err = l.balanceIn(ctx, tx, h.tenant.name)
		return err
	})
	if err != nil {
		return b, failure(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
	return b, nil
}

// shownDays is how many days spending goes back.
const shownDays = 31

// spending reads what a tenant spent by day.
func (l *Ledger) spending(ctx context.Context, t *Tenant) (memory.AccountSpending, error) {
	out := memory.AccountSpending{Name: t.name, Days: []memory.DaySpending{}}
	b, err := l.balance(ctx, t)
	if err != nil {
		return out, err
	}
	out.Budget = b.budget(t.limits)
	entries, err := rows(ctx, l.db, "SELECT "+spentColumns+" FROM spent WHERE tenant = ? AND hour > ? AND asked > 0 ORDER BY hour DESC", t.name, (hourOf(b.at)/24-shownDays+1)*24-1)
	if err != nil {
		return out, failure(err)
	}
	for len(entries) > 0 {
		day := entries[0].hour / 24
		var amount money.Picodollars
		d := memory.DaySpending{Day: time.Unix(day*24*3600, 0).UTC().Format(time.DateOnly)}
		for ; len(entries) > 0 && entries[0].hour/24 == day; entries = entries[1:] {
			amount, d.Asked = amount.Plus(entries[0].amount), d.Asked+entries[0].asked
		}
		d.Dollars = amount.Dollars()
		out.Days = append(out.Days, d)
	}
	return out, nil
}
