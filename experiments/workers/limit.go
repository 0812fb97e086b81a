package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/budgetmem/budgetmem/internal/money"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Books are the state of a run's spend limit, in 1e-12 dollars. The sum of what is held never passes the limit, unless that was lowered.
type Books struct {
	Limit money.Picodollars `json:"limit"`
	// Holders are the machines that take part, dead ones too.
	Holders map[string]Holding `json:"holders"`
}

// Holding is what one machine may have spent, and what it has.
type Holding struct {
	Held  money.Picodollars `json:"held"`
	Spent money.Picodollars `json:"spent"`
}

// ErrOtherLedger: a ledger has spent less than was reported under its name, so that what it says is not all.
var ErrOtherLedger = errors.New("the ledger was replaced, or another one has its name")

// ErrNoLimit: a run has no spend limit that others could take part in.
var ErrNoLimit = errors.New("the run has no spend limit")

// tranches says into how many parts what is left is cut when a machine takes some: at the end of the money the parts get small.
const tranches = 16

// without is what the others hold, and how much of that they have not spent.
func (b Books) without(holder string) (held, unspent money.Picodollars) {
	for name, h := range b.Holders {
		if name != holder {
			held = held.Plus(h.Held)
			unspent = unspent.Plus(max(0, h.Held-h.Spent))
		}
	}
	return held, unspent
}

// hold returns the books after a machine reported what it spent, and asked to hold need, or else least. One that needs more than it spent gets
// a part of what is free too; one without calls keeps nothing, since others would wait for that in vain. It is a function of its arguments
// alone: it runs again when another machine changed the books meanwhile, and making the change twice is the same as making it once.
func (b Books) hold(holder string, spent, least, need money.Picodollars) Books {
	others, _ := b.without(holder)
	free := max(0, b.Limit-others)
	held := min(least, free)
	if need > spent && need <= free {
		held = need.Plus((free - need) / tranches)
	}
	out := Books{Limit: b.Limit, Holders: maps.Clone(b.Holders)}
	if out.Holders == nil {
		out.Holders = map[string]Holding{}
	}
	out.Holders[holder] = Holding{Held: max(spent, held), Spent: spent}
	return out
}

// resume returns books with a limit, in which every machine of earlier has its holding. Of two the later one counts, in which more is
// spent: the server may have been set back to an earlier state.
func (b Books) resume(limit money.Picodollars, earlier Books) Books {
	out := Books{Limit: limit, Holders: maps.Clone(earlier.Holders)}
	if out.Holders == nil {
		out.Holders = map[string]Holding{}
	}
	for name, h := range b.Holders {
		if was, ok := earlier.Holders[name]; !ok || h.Spent >= was.Spent {
			out.Holders[name] = h
		}
	}
	return out
}

// change replaces the books of a run by what f makes of them, and returns that. f must be pure.
func (c *Conn) change(ctx context.Context, run string, f func(Books, bool) (Books, error)) (Books, error) {
	kv := c.buckets[spendBucket]
	for pause := 4 * time.Millisecond; ; pause = min(2*pause, 256*time.Millisecond) {
		var was Books
		e, err := retry(ctx, func(ctx context.Context) (jetstream.KeyValueEntry, error) { return kv.Get(ctx, run) })
		there := err == nil
		switch {
		case there:
			if err := json.Unmarshal(e.Value(), &was); err != nil {
				return was, fmt.Errorf("the books of run %s: %w", run, err)
			}
		case !errors.Is(err, jetstream.ErrKeyNotFound):
			return was, err
		}
		now, err := f(was, there)
		if err != nil {
			return now, err
		}
		data, err := json.Marshal(now)
		if err != nil {
			return now, fmt.Errorf("the books of run %s: %w", run, err)
		}
		// No retry here: an attempt of unknown outcome is followed by another look.
		tctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		if there {
			_, err = kv.Update(tctx, run, data, e.Revision())
		} else {
			_, err = kv.Create(tctx, run, data)
		}
		cancel()
		switch {
		case err == nil:
			return now, nil
		case ctx.Err() != nil:
			return now, context.Cause(ctx)
		case final(err) && !conflict(err):
			return now, fmt.Errorf("write the books of run %s: %w", run, err)
		}
		// Of many that change the books at the same time one succeeds. The others come back at different moments.
		select {
		case <-ctx.Done():
			return now, context.Cause(ctx)
		case <-time.After(rand.N(pause)):
		}
	}
}

// conflict says whether a value was changed since it was read.
func conflict(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyExists) || errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// OpenLimit sets a run's spend limit in dollars. earlier are the books of its earlier starts, as far as the server may have lost
// them. It fails only when ctx ends or the server refuses.
func (c *Conn) OpenLimit(ctx context.Context, run string, dollars float64, earlier Books) error {
	_, err := c.change(ctx, run, func(b Books, _ bool) (Books, error) { return b.resume(money.RoundDown(dollars), earlier), nil })
	if err != nil {
		return fmt.Errorf("set the spend limit of run %s: %w", run, err)
	}
	return nil
}

// Books returns the state of a run's limit; ErrNoLimit if it has none.
func (c *Conn) Books(ctx context.Context, run string) (b Books, err error) {
	e, err := retry(ctx, func(ctx context.Context) (jetstream.KeyValueEntry, error) {
		return c.buckets[spendBucket].Get(ctx, run)
	})
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return b, ErrNoLimit
	} else if err != nil {
		return b, fmt.Errorf("read the books of run %s: %w", run, err)
	}
	if err := json.Unmarshal(e.Value(), &b); err != nil {
		return b, fmt.Errorf("the books of run %s: %w", run, err)
	}
	return b, nil
}

// Allowance returns a machine's part in the limit of a run. holder names the machine's ledger: no two ledgers may have the same.
func (c *Conn) Allowance(run, holder string) llm.Allowance { return allowance{c, run, holder} }

type allowance struct {
	conn        *Conn
	run, holder string
}

// Hold implements llm.Allowance. The error is ErrOtherLedger for spent less than before, and ErrNoLimit if the run has none.
func (a allowance) Hold(ctx context.Context, spent, least, need money.Picodollars) (held, others money.Picodollars, err error) {
	b, err := a.conn.change(ctx, a.run, func(b Books, there bool) (Books, error) {
		if !there {
			return b, ErrNoLimit
		}
		if known := b.Holders[a.holder].Spent; spent < known {
			return b, fmt.Errorf("%w: %s has spent $%s, but $%s was reported: restore it (a worker's machine goes on under a new name once the file 'machine' beside its ledgers is removed)",
				ErrOtherLedger, a.holder, money.Text(spent.Dollars()), money.Text(known.Dollars()))
		}
		return b.hold(a.holder, spent, least, need), nil
	})
	if err != nil {
		return 0, 0, err
	}
	_, others = b.without(a.holder)
	return b.Holders[a.holder].Held, others, nil
}
