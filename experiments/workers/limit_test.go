//go:build unix

package workers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/experiments/workers"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// payer is a model that writes down what each call costs before it answers, as a provider's bill would.
type payer struct{ bill *os.File }

func (payer) Model() string { return "test-model" }
func (payer) ID() string    { return "test-model" }
func (p payer) Chat(_ context.Context, req llm.Request) (llm.Response, error) {
	u := llm.Usage{Calls: 1, In: len(req.Messages[0].Content), Out: 1 + rand.IntN(req.MaxTokens)}
	if _, err := fmt.Fprintln(p.bill, u.In+2*u.Out); err != nil { // in millionths of a dollar
		return llm.Response{}, err
	}
	time.Sleep(time.Duration(rand.IntN(500)) * time.Microsecond)
	return llm.Response{Text: "ok", Finish: "stop", Usage: u}, nil
}

// spend makes calls until there are enough, or the limit is reached.
func (c child) spend(ctx context.Context, conn *workers.Conn) error {
	mine, left, err := workers.TakeSlots(filepath.Join(c.Dir, "ledgers"), "r")
	if err != nil {
		return err
	}
	defer mine.Close()
	for _, s := range left {
		err = errors.Join(err, s.Settle(ctx, conn, "r"))
		s.Close()
	}
	if err != nil {
		return err
	}
	ledger, err := llm.OpenLedger(mine.Path, 0)
	if err != nil {
		return err
	}
	defer ledger.Close()
	if err := ledger.Share(ctx, conn.Allowance("r", mine.Holder)); err != nil {
		return err
	}
	bill, err := os.OpenFile(filepath.Join(c.Dir, "bill"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer bill.Close()
	client, err := llm.Stack(payer{bill}, llm.StackOptions{Prices: llm.DefaultPrices().Set(map[string]llm.Price{"test-model": {In: 1, Out: 2}}), Ledger: ledger})
	if err != nil {
		return err
	}
	for range c.Calls {
		prompt := strings.Repeat("x", 1+rand.IntN(100))
		_, err := client.Chat(ctx, llm.Request{Messages: []llm.Message{{Role: llm.User, Content: prompt}}, MaxTokens: 1 + rand.IntN(200)})
		if errors.Is(err, llm.ErrBudget) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// However many processes reserve at random, and whoever of them is killed, what they spend together stays within the limit.
func TestSharedLimitIsNeverPassed(t *testing.T) {
	n := testenv.Long(t, "BUDGETMEM_TORTURE_RESERVATIONS", "torture-workers")
	calls := n / 8
	nats := startServer(t)
	conn := connect(t, nats, "test", workers.DefaultLease)
	limit := float64(8*calls) * 150e-6 // some two thirds of what they would spend
	if err := conn.OpenLimit(t.Context(), "r", limit, workers.Books{}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := child{Kind: "spender", NATS: nats, Dir: dir, Calls: calls, Lease: workers.DefaultLease}
	var crew []*process
	for i := range 8 {
		c.Name = strconv.Itoa(i)
		crew = append(crew, c.start(t))
	}
	for i := range 3 {
		for lines(filepath.Join(dir, "bill")) < (i+1)*calls {
			if !crew[i].running() {
				t.Fatalf("spender %d ended after %d calls of all: %v\n%s", i, lines(filepath.Join(dir, "bill")), crew[i].err, crew[i].output)
			}
			time.Sleep(2 * time.Millisecond)
		}
		crew[i].kill()
		crew[i] = crew[i].start(t)
	}
	for _, p := range crew {
		<-p.ended
		if p.err != nil {
			t.Errorf("spender %s: %v\n%s", p.Name, p.err, p.output)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "bill"))
	if err != nil {
		t.Fatal(err)
	}
	var billed float64
	for line := range bytes.Lines(data) {
		n, err := strconv.Atoi(string(bytes.TrimSpace(line)))
		if err != nil {
			t.Fatal(err)
		}
		billed += float64(n) * 1e-6
	}
	b, err := conn.Books(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d calls cost $%.6f of $%.6f", lines(filepath.Join(dir, "bill")), billed, limit)
	if billed > limit || billed < limit/2 {
		t.Errorf("$%v were spent, want most of $%v and no more", billed, limit)
	}
	var spent, held float64
	for _, h := range b.Holders {
		spent += h.Spent.Dollars()
		held += h.Held.Dollars()
	}
	if spent < billed-1e-9 || held < spent-1e-9 || held > limit+1e-9 {
		t.Errorf("the books say that $%v of $%v held were spent, the bill says $%v", spent, held, billed)
	}
}

// A ledger that was removed, and one of a machine that is the copy of another, would spend what is spent already.
func TestOtherLedgerOfTheSameNameIsRefused(t *testing.T) {
	t.Parallel()
	conn := connect(t, startServer(t), "test", workers.DefaultLease)
	if err := conn.OpenLimit(t.Context(), "r", 1, workers.Books{}); err != nil {
		t.Fatal(err)
	}
	spend := func(dir string) error {
		ledger, err := llm.OpenLedger(filepath.Join(dir, "r-0.db"), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer ledger.Close()
		if err := ledger.Share(t.Context(), conn.Allowance("r", "m-0")); err != nil {
			return err
		}
		bill, err := os.Create(filepath.Join(t.TempDir(), "bill"))
		if err != nil {
			t.Fatal(err)
		}
		defer bill.Close()
		client, err := llm.Stack(payer{bill}, llm.StackOptions{Prices: llm.DefaultPrices().Set(map[string]llm.Price{"test-model": {In: 100}}), Ledger: ledger})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Chat(t.Context(), llm.Request{Messages: []llm.Message{{Role: llm.User, Content: "x"}}, MaxTokens: 1})
		return err
	}
	dir := t.TempDir()
	if err := spend(dir); err != nil {
		t.Fatal(err)
	}
	if err := spend(dir); err != nil {
		t.Errorf("the same ledger again: %v", err)
	}
	if err := spend(t.TempDir()); !errors.Is(err, workers.ErrOtherLedger) || !errors.Is(err, llm.ErrLedger) {
		t.Errorf("another ledger of the same name: %v", err)
	}
}
