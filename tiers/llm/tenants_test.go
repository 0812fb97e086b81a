package llm_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// liar is an endpoint that answers as it should and reports token counts as it likes.
type liar struct {
	name string
	seed uint64
	// made counts the calls, wrong those whose counts could be seen to be wrong.
	made, wrong atomic.Int64
}

func (l *liar) Model() string { return l.name }
func (l *liar) ID() string    { return l.name }

func (l *liar) Chat(_ context.Context, req llm.Request) (llm.Response, error) {
	n := l.made.Add(1)
	rng := rand.New(rand.NewPCG(l.seed, uint64(n)))
	text := strings.Repeat("word ", 1+rng.IntN(6))
	lies := []int{0, -1, 1, math.MinInt, math.MaxInt, math.MaxInt / 2, -1 << 40, 1 << 40, 7, 40, 400, 4000}
	u := llm.Usage{Calls: 1, In: lies[rng.IntN(len(lies))], Out: lies[rng.IntN(len(lies))], Dollars: -1e9, Paid: math.NaN()}
	if b := llm.UpperBound(req.Messages); u.In < 0 || u.In > b || u.Out < 0 || u.Out > req.ReplyLimit() {
		l.wrong.Add(1)
	}
	switch rng.IntN(8) {
	case 0:
		return llm.Response{Usage: u}, &llm.Error{Kind: llm.ErrUnavailable, Message: "broken"}
	case 1:
		return llm.Response{Usage: llm.Usage{Calls: 1}}, &llm.Error{Kind: llm.ErrBadRequest, Status: 400, Message: "no"}
	}
	return llm.Response{Text: text, Finish: "stop", Usage: u}, nil
}

// Tenants with random limits, each question with a random cap, call endpoints that lie about what they used. No limit is ever
// passed, no usage is below nothing or beyond what was reserved for it, and each endpoint sees the calls that were reported
// and no other.
func TestTenantsAndLiars(t *testing.T) {
	cases := 1_000
	if os.Getenv("BUDGETMEM_TORTURE") != "" {
		cases = 10_000
	}
	rng := rand.New(rand.NewPCG(5, 6))
	counts := map[string]int64{}
	for i := range cases {
		tenants(t, rng, i, counts)
		if t.Failed() {
			t.Fatalf("case %d", i)
		}
	}
	t.Logf("torture: %d cases of limits, caps and tenants: %v", cases, counts)
	for _, what := range []string{"calls", "refused", "failed", "reported as impossible"} {
		if counts[what] == 0 {
			t.Errorf("nothing of %s: the test is too easy", what)
		}
	}
}

// tenants plays one case: some tenants, each with a ledger, side by side at one endpoint.
func tenants(t *testing.T, rng *rand.Rand, n int, counts map[string]int64) {
	end := &liar{name: "test-model", seed: uint64(n)}
	price := llm.Price{In: rng.Float64() * math.Pow(10, float64(rng.IntN(6)-3)), Out: rng.Float64() * math.Pow(10, float64(rng.IntN(6)-3))}
	prices := llm.Prices{}.Set(map[string]llm.Price{"test-model": price})
	var all sync.WaitGroup
	var mu sync.Mutex
	var calls int64
	for tenant := range 1 + rng.IntN(3) {
		worst := price.Dollars(llm.UpperBound(question(16).Messages), 16)
		ledger, err := llm.NewLedger(worst * rng.Float64() * 6)
		if err != nil {
			t.Fatal(err)
		}
		c, err := llm.Stack(end, llm.StackOptions{Prices: prices, Ledger: ledger, Retry: once})
		if err != nil {
			t.Fatal(err)
		}
		most := worst * rng.Float64() * 4
		limit, err := llm.NewCap(most)
		if err != nil {
			t.Fatal(err)
		}
		var paid float64
		var mine sync.WaitGroup
		for q := range 1 + rng.IntN(8) {
			mine.Go(func() {
				req := question(q)
				req.Messages[0].Content += fmt.Sprint(tenant)
				bound := c.(llm.Bounder).Bound(req)
				resp, err := c.Chat(limit.Within(t.Context()), req)
				u := resp.Usage
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.Is(err, llm.ErrBudget):
					counts["refused"]++
				case err != nil:
					counts["failed"]++
					calls++
				default:
					calls++
				}
				counts["reported as impossible"] += int64(u.Corrected)
				paid += u.Paid
				if !(u.Dollars >= 0 && u.Paid >= 0 && u.Dollars <= bound.Dollars*(1+1e-12)) || u.In < 0 || u.In > bound.In || u.Out < 0 || u.Out > bound.Out {
					t.Errorf("usage %+v under the bound %+v, %v", u, bound, err)
				}
			})
		}
		all.Go(func() {
			mine.Wait()
			b := ledger.Balance()
			mu.Lock()
			defer mu.Unlock()
			if !(b.Spent+b.Uncertain <= b.Limit+1e-12) || b.Reserved != 0 || !(paid <= b.Spent+1e-9*paid+1e-11) {
				t.Errorf("paid $%v, the ledger has %+v", paid, b)
			}
			if spent := limit.Spent(); !(spent <= most+1e-12) || spent < 0 {
				t.Errorf("of a cap of $%v, $%v is spent", most, spent)
			}
		})
	}
	all.Wait()
	counts["calls"] += calls
	if made := end.made.Load(); made != calls {
		t.Errorf("the endpoint saw %d calls, %d were reported", made, calls)
	}
}
