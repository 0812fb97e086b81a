package tenant

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/internal/money"
	"github.com/budgetmem/budgetmem/serve/memory"
)

// budgetsEnv names the variable with how many budgets are played; 1000 by `make soak-memories`.
const budgetsEnv = "BUDGETMEM_BUDGETS"

func budgets(t *testing.T, few int) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv(budgetsEnv), strconv.Itoa(few)))
	if err != nil {
		t.Fatalf("%s: %v", budgetsEnv, err)
	}
	return n
}

// book is what was spent by hour, as an endpoint would bill it.
type book struct {
	mu     sync.Mutex
	byHour map[int64]money.Picodollars
}

func (b *book) add(hour int64, cost money.Picodollars) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.byHour[hour] += cost
}

// Questions at the same time, from two ledgers on one file, as two processes have, some of which are killed, and a clock that runs over
// hours and days: no random budget is passed by anything, and money that is there is not refused for good.
func TestBudgetsAreNeverPassed(t *testing.T) {
	budgets := budgets(t, 60)
	rng := rand.New(rand.NewPCG(7, 8))
	path := filepath.Join(t.TempDir(), "spending.db")
	var mu sync.Mutex
	now := time.Date(2026, 3, 1, 22, 30, 0, 0, time.UTC)
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	ledgers := []*Ledger{open(t, path, clock), open(t, path, clock)}
	for _, l := range ledgers {
		l.patience = 20 * time.Millisecond // nobody ends what the killed hold
	}
	counts := map[string]int{}
	for i := range budgets {
		play(t, rng, fmt.Sprintf("tenant-%d", i), ledgers, clock, counts)
		mu.Lock()
		now = now.Add(time.Duration(rng.IntN(40)) * time.Minute)
		mu.Unlock()
	}
	t.Logf("%d budgets: %v", budgets, counts)
	for _, what := range []string{"answered", "refused", "cut", "killed"} {
		if counts[what] == 0 {
			t.Errorf("nothing was %s: the test is too easy", what)
		}
	}
}

func amount(rng *rand.Rand) float64 { return rng.Float64() * math.Pow(10, float64(rng.IntN(7)-5)) }

// play lets questions of one tenant at the ledgers.
func play(t *testing.T, rng *rand.Rand, name string, ledgers []*Ledger, clock func() time.Time, counts map[string]int) {
	question := amount(rng)
	yaml := fmt.Sprintf("tenants:\n- {name: %s, tokens: [%q], dollars: {question: %v, hour: %v, day: %v}}\n", name, HashToken(name), question, question*rng.Float64()*6, question*rng.Float64()*9)
	paid := &book{byHour: map[int64]money.Picodollars{}}
	var accounts []memory.Account
	for _, l := range ledgers {
		accounts = append(accounts, account(t, mustParse(t, yaml, l), name))
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	hour := hourOf(clock())
	for q := range 2 + rng.IntN(10) {
		a, r := accounts[q%len(accounts)], rand.New(rand.NewPCG(rng.Uint64(), 1))
		all.Go(func() {
			want := math.Inf(1)
			if r.IntN(3) == 0 {
				want = question * r.Float64() * 1.5
			}
			h, err := a.Reserve(t.Context(), want, 0)
			mu.Lock()
			defer mu.Unlock()
			var refused *memory.Error
			switch {
			case errors.As(err, &refused) && refused.Status == 429 && refused.RetryAfter > 0 && refused.Budget != nil:
				counts["refused"]++
				return
			case err != nil:
				t.Errorf("%s: %v", name, err)
				return
			case h.Dollars() < min(want, question)*(1-1e-9):
				counts["cut"]++
			}
			spent := h.Dollars() * []float64{0, r.Float64(), 1}[r.IntN(3)]
			paid.add(hour, money.RoundUp(spent))
			if r.IntN(12) == 0 {
				counts["killed"]++ // it spent, and did not come to booking it
				return
			}
			mu.Unlock()
			time.Sleep(time.Duration(r.IntN(3)) * time.Millisecond)
			_, err = h.Settle(spent)
			mu.Lock()
			if err != nil {
				t.Error(err)
			}
			counts["answered"]++
		})
	}
	all.Wait()
	limits := accounts[0].(*Tenant).limits
	for hour, sum := range paid.byHour {
		if sum > limits.hour || sum > limits.day {
			t.Errorf("%s: in hour %d %d was spent of %d, %d a day", name, hour, sum, limits.hour, limits.day)
		}
	}
	b, err := ledgers[0].balance(context.Background(), accounts[0].(*Tenant))
	if err != nil || b.hour < paid.byHour[hour] || b.hour > limits.hour || b.day > limits.day {
		t.Errorf("%s: the ledger has %+v (%v), %d was spent", name, b, err, paid.byHour[hour])
	}
}
