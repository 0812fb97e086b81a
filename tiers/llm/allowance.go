package llm

import (
	"context"
	"fmt"
	"time"

	"github.com/budgetmem/budgetmem/internal/money"
)

// Allowance is a spend limit that several machines share. A Ledger holds a part of it at a time, and spends from that.
type Allowance interface {
	// Hold sets how much of the limit this machine holds, what it has spent included, and reports what it has spent. Afterwards it
	// holds need, and some more while there is plenty; where need does not fit beside what the others hold, it holds least, which
	// covers what is spent and reserved. others is what they hold and have not spent, which may become free. After an error it is
	// not known whether the hold was changed; another call sets that right.
	Hold(ctx context.Context, spent, least, need money.Picodollars) (held, others money.Picodollars, err error)
}

const (
	// holdEvery is how often a ledger reports what it spent and gives back what it does not need.
	holdEvery = time.Second
	// holdPatience is how long a call waits for money that others hold while these spend and give back nothing. They may be dead,
	// and what a dead machine holds counts as spent.
	holdPatience = time.Minute
)

// Share makes the ledger hold parts of a limit that is shared with others, instead of a limit of its own. What it has spent
// already counts in the shared limit. It is called before the first call is made. Close gives back what is left; ctx ends
// the reports before it.
func (l *Ledger) Share(ctx context.Context, a Allowance) error {
	ctx, cancel := context.WithCancel(ctx)
	l.mu.Lock() // metrics may be looking at the balance
	l.shared, l.stopReports = a, cancel
	l.mu.Unlock()
	if _, err := l.hold(ctx, 0); err != nil {
		cancel()
		return fmt.Errorf("%w: take part in the shared limit: %w", ErrLedger, err)
	}
	l.reports.Go(func() {
		for tick := time.NewTicker(holdEvery); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				if l.unreported() {
					_, _ = l.hold(ctx, 0) // the next one is due in a second
				}
			}
		}
	})
	return nil
}

// unreported says whether the ledger spent since its last report, or holds money that no call has reserved.
func (l *Ledger) unreported() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	used := l.spent.Plus(l.unsure)
	return used != l.reported || l.limit > used.Plus(l.reserved) && l.reserved == 0
}

// leave gives back what is not spent.
func (l *Ledger) leave() error {
	if l.shared == nil {
		return nil
	}
	l.stopReports()
	l.reports.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := l.hold(ctx, 0); err != nil {
		return fmt.Errorf("%w: give back what is left of the shared limit: %w", ErrLedger, err)
	}
	return nil
}

// hold brings what this machine holds to what it needs for its reservations and extra. others is what other machines hold and
// have not spent.
func (l *Ledger) hold(ctx context.Context, extra money.Picodollars) (others money.Picodollars, err error) {
	l.holding.Lock()
	defer l.holding.Unlock()
	l.mu.Lock()
	used := l.spent.Plus(l.unsure)
	if extra > 0 && extra <= l.limit-used.Plus(l.reserved) { // another call's hold brought enough
		l.mu.Unlock()
		return 0, nil
	}
	// Nothing may be reserved from what this may give back.
	least := used.Plus(l.reserved)
	l.limit = min(l.limit, least)
	l.mu.Unlock()
	held, others, err := l.shared.Hold(ctx, used, least, least.Plus(extra))
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit, l.reported = held, used
	l.wake()
	return others, nil
}

// scarcity is what a call has seen while it waits for money of a shared limit.
type scarcity struct {
	others money.Picodollars // what other machines held and had not spent
	since  time.Time         // since when that is the same
}

// more asks the shared limit for what a reservation lacks, and waits a little where it has to come from calls in flight, here or on
// other machines. It returns ErrBudget itself if need does not fit.
func (l *Ledger) more(ctx context.Context, need money.Picodollars, seen *scarcity) error {
	others, err := l.hold(ctx, need)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("waiting for a part of the shared spend limit: %w", context.Cause(ctx))
		}
		return fmt.Errorf("%w: take a part of the shared limit: %w", ErrLedger, err)
	}
	if others != seen.others || seen.since.IsZero() {
		*seen = scarcity{others, time.Now()}
	}
	l.mu.Lock()
	free, reserved, changed := l.limit-l.spent.Plus(l.unsure), l.reserved, l.changed
	l.mu.Unlock()
	switch {
	case need <= free-reserved:
		return nil
	case need > free && (others == 0 || time.Since(seen.since) > holdPatience):
		return ErrBudget
	}
	pause := time.NewTimer(holdEvery / 4)
	defer pause.Stop()
	select {
	case <-changed:
	case <-pause.C:
	case <-ctx.Done():
		return fmt.Errorf("waiting for calls in flight to free part of the spend limit: %w", context.Cause(ctx))
	}
	return nil
}
