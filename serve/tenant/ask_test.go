package tenant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/internal/money"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// billing is a model that keeps its own account of what its calls cost. Some fail after they were billed in full.
type billing struct {
	llmtest.Client
	price llm.Price

	mu   sync.Mutex
	rng  *rand.Rand
	bill money.Picodollars
}

func (b *billing) Chat(ctx context.Context, req llm.Request) (llm.Response, error) {
	r, err := b.Client.Chat(ctx, req)
	if err != nil {
		return r, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rng.IntN(20) == 0 {
		b.bill += money.RoundUp(b.price.Dollars(r.Usage.In, req.ReplyLimit()))
		return llm.Response{Usage: llm.Usage{Calls: 1, Failed: 1}}, &llm.Error{Kind: llm.ErrUnavailable, Message: "the connection broke off"}
	}
	b.bill += money.RoundUp(b.price.Dollars(r.Usage.In, r.Usage.Out))
	return r, nil
}

// taken returns the bill and starts another.
func (b *billing) taken() money.Picodollars {
	b.mu.Lock()
	defer b.mu.Unlock()
	bill := b.bill
	b.bill = 0
	return bill
}

// Whole questions of real memories at the same time: what the endpoint bills is never more than a tenant's budget, and every answer
// says what it cost and what is left.
func TestQuestionsStayWithinBudgets(t *testing.T) {
	budgets := budgets(t, 12)
	model := &billing{price: llm.Price{In: 3, Out: 15}, rng: rand.New(rand.NewPCG(1, 2))}
	model.Client.Reply = func(_ context.Context, req llm.Request) (string, error) {
		return `<answer>["` + strings.Repeat("word ", len(req.Messages[0].Content)%30) + `Bern"]</answer>`, nil
	}
	client, err := llm.Stack(model, llm.StackOptions{Prices: llm.Prices{}.Set(map[string]llm.Price{"test-model": model.price}), Retry: llm.Retry{Attempts: 1}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mem, err := bmem.Open(t.Context(), bmem.Options{Path: filepath.Join(dir, "memory.db"), Embedder: &embedtest.Words{}, Tokenizer: &embedtest.Words{}, Client: client, ChunkTokens: 40})
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	service := memory.New(mem, memory.Options{Log: slog.New(slog.DiscardHandler)})
	ledger := open(t, filepath.Join(dir, "spending.db"), nil)
	var turns []memory.NewTurn
	for i := range 12 {
		turns = append(turns, memory.NewTurn{Speaker: "Ann", Text: fmt.Sprintf("In year %d I moved from Bern to town %d, which I liked more than the one before.", 2000+i, i)})
	}
	if _, err := service.Add(t.Context(), memory.Scope{Namespace: "shared"}, memory.AddRequest{Memory: "diary", Turns: turns}); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	counts := map[string]int{}
	for i := range budgets {
		name := fmt.Sprintf("tenant-%d", i)
		question := 0.001 + 0.06*rng.Float64()
		yaml := fmt.Sprintf("tenants:\n- {name: %s, tokens: [%q], namespace: shared, memory: diary, dollars: {question: %v, hour: %v, day: %v}}\n",
			name, HashToken(name), question, question*rng.Float64()*4, question*rng.Float64()*5)
		tenants := mustParse(t, yaml, ledger)
		scope, _ := tenants.Scope(name)
		limits := scope.Account.(*Tenant).limits
		var mu sync.Mutex
		var all sync.WaitGroup
		for q := range 2 + rng.IntN(5) {
			budget := []string{"", "low", "mid", "high"}[rng.IntN(4)]
			all.Go(func() {
				r, err := service.Ask(t.Context(), scope, memory.AskRequest{Question: fmt.Sprintf("Where did Ann live in %d?", 2000+q), Budget: budget})
				mu.Lock()
				defer mu.Unlock()
				var e *memory.Error
				switch {
				case err == nil:
					counts["answered"]++
					if r.Dollars <= 0 || money.RoundUp(r.Dollars) > limits.question || r.Budget == nil || r.Budget.Hour.Left < 0 {
						t.Errorf("%s: %+v", name, r)
					}
				case errors.As(err, &e) && (e.Status == http.StatusTooManyRequests || e.Status == http.StatusPaymentRequired) && e.Budget != nil:
					counts[fmt.Sprint("refused with ", e.Status)]++
				case errors.Is(err, llm.ErrUnavailable):
					counts["failed"]++
				default:
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		all.Wait()
		bill := model.taken()
		b, err := ledger.balance(t.Context(), scope.Account.(*Tenant))
		if err != nil || bill > limits.hour || bill > limits.day || b.hour > limits.hour || b.day > limits.day || b.hour < bill {
			t.Fatalf("%s: the endpoint bills %d, the ledger has %+v (%v), the limits are %+v", name, bill, b, err, limits)
		}
	}
	t.Logf("%d budgets: %v", budgets, counts)
	for _, what := range []string{"answered", "refused with 429", "failed"} {
		if counts[what] == 0 {
			t.Errorf("nothing was %s: the test is too easy", what)
		}
	}
}
