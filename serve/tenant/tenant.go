// Package tenant keeps the callers of a server apart: who they are, by the hashes of their tokens; which memories they reach; and what
// they may spend, in a ledger that survives restarts and that several processes may share.
package tenant

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/budgetmem/budgetmem/internal/money"
	"github.com/budgetmem/budgetmem/internal/strictyaml"
	"github.com/budgetmem/budgetmem/serve/memory"
)

// Tenants are those of one file, with the ledger that they share. It is safe for concurrent use.
type Tenants struct {
	path   string // of the file; "" for none
	ledger *Ledger
	table  atomic.Pointer[table]
}

// table is what a file of tenants says. It never changes.
type table struct {
	byHash map[[sha256.Size]byte]*Tenant
	all    []*Tenant
}

// Tenant is one caller, or several that share a budget. It is a memory.Account.
type Tenant struct {
	tenants *Tenants
	name    string // "" for requests that no tenant makes
	scope   memory.Scope
	limits  limits
}

// limits are the most that may be spent; money.Most for no limit.
type limits struct{ question, hour, day money.Picodollars }

var noLimits = limits{money.Most, money.Most, money.Most}

// The largest limits in dollars, up to which amounts are exact.
const (
	mostQuestion = 1000
	mostWindow   = 1e6
)

// entry is a tenant in the file.
type entry struct {
	Name      string   `yaml:"name"`
	Tokens    []string `yaml:"tokens"`
	Namespace string   `yaml:"namespace"`
	Memory    string   `yaml:"memory"`
	Dollars   struct {
		Question *float64 `yaml:"question"`
		Hour     *float64 `yaml:"hour"`
		Day      *float64 `yaml:"day"`
	} `yaml:"dollars"`
}

// None returns no tenants: everyone whom the server lets in is its owner, whose spending the ledger, which may be nil, records.
func None(ledger *Ledger) *Tenants {
	ts := &Tenants{ledger: ledger}
	ts.table.Store(&table{})
	return ts
}

// Load reads a file of tenants. Errors name the file and the tenant with the field, or the line.
func Load(path string, ledger *Ledger) (*Tenants, error) {
	ts := &Tenants{path: path, ledger: ledger}
	if err := ts.Reload(); err != nil {
		return nil, err
	}
	return ts, nil
}

// Reload reads the file again. Requests from then on follow it; what was spent stays. After an error, which is as that of Load, the
// tenants stay as they were. Without a file nothing happens.
func (ts *Tenants) Reload() error {
	if ts.path == "" {
		return nil
	}
	data, err := os.ReadFile(ts.path)
	if err != nil {
		return fmt.Errorf("read tenants: %w", err)
	}
	t, err := ts.parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", ts.path, err)
	}
	ts.table.Store(t)
	return nil
}

func (ts *Tenants) parse(data []byte) (*table, error) {
	var file struct {
		Tenants []entry `yaml:"tenants"`
	}
	if err := strictyaml.Decode(data, &file); err != nil {
		return nil, err
	}
	if len(file.Tenants) == 0 {
		return nil, errors.New("no entry under \"tenants:\"")
	}
	out := &table{byHash: map[[sha256.Size]byte]*Tenant{}}
	names := map[string]bool{}
	for i, e := range file.Tenants {
		fail := func(field string, err error) (*table, error) {
			return nil, fmt.Errorf("tenant %d (%.40s): %s: %w", i+1, e.Name, field, err)
		}
		if e.Namespace == "" {
			e.Namespace = e.Name
		}
		for _, f := range []struct{ field, name string }{{"name", e.Name}, {"namespace", e.Namespace}, {"memory", e.Memory}} {
			if err := memory.CheckName(f.name); err != nil && (f.field != "memory" || f.name != "") {
				return fail(f.field, err)
			}
		}
		if names[e.Name] {
			return fail("name", errors.New("another tenant has it"))
		}
		names[e.Name] = true
		t := &Tenant{tenants: ts, name: e.Name}
		t.scope = memory.Scope{Namespace: e.Namespace, Memory: e.Memory, Account: t}
		var field string
		var err error
		if t.limits, field, err = e.limits(); err != nil {
			return fail("dollars."+field, err)
		}
		if len(e.Tokens) == 0 {
			return fail("tokens", errors.New("missing: `bmem serve token` makes one"))
		}
		for j, text := range e.Tokens {
			hash, err := parseHash(text)
			if err == nil && out.byHash[hash] != nil {
				err = errors.New("it stands here twice")
			}
			if err != nil {
				return fail(fmt.Sprintf("tokens[%d]", j), err)
			}
			out.byHash[hash] = t
		}
		out.all = append(out.all, t)
	}
	return out, nil
}

// limits checks the limits. An error is about the field.
func (e entry) limits() (l limits, field string, err error) {
	l = noLimits
	for _, f := range []struct {
		field   string
		dollars *float64
		most    float64
		to      *money.Picodollars
	}{{"question", e.Dollars.Question, mostQuestion, &l.question}, {"hour", e.Dollars.Hour, mostWindow, &l.hour}, {"day", e.Dollars.Day, mostWindow, &l.day}} {
		if f.dollars == nil {
			continue
		}
		if !(*f.dollars >= 0 && *f.dollars <= f.most) {
			return l, f.field, fmt.Errorf("%v: want 0 to %v dollars", *f.dollars, f.most)
		}
		*f.to = money.RoundDown(*f.dollars)
	}
	if e.Dollars.Question == nil && l != noLimits {
		return l, "question", errors.New("missing: with a limit for the hour or the day each question needs one, which is set aside while it runs")
	}
	return l, "", nil
}

// Len is the number of tenants.
func (ts *Tenants) Len() int { return len(ts.table.Load().all) }

// Scope returns what the tenant of a token reaches. ok is false for a token that no tenant has.
func (ts *Tenants) Scope(token string) (s memory.Scope, ok bool) {
	t := ts.table.Load().byHash[sha256.Sum256([]byte(token))]
	if t == nil {
		return memory.Scope{}, false
	}
	return t.scope, true
}

// Owner returns what the owner of the server reaches: all memories, without a limit.
func (ts *Tenants) Owner() memory.Scope {
	if ts.ledger == nil {
		return memory.Scope{}
	}
	return memory.Scope{Account: &Tenant{tenants: ts, limits: noLimits}}
}

// Owner implements memory.Account.
func (t *Tenant) Owner() string { return t.name }

// Reserve implements memory.Account. Where questions in flight hold what is missing, it waits for some seconds until they have ended.
func (t *Tenant) Reserve(ctx context.Context, want, least float64) (memory.Hold, error) {
	amount, atLeast := money.RoundUp(least), money.RoundUp(least)
	if want != least {
		amount = money.RoundDown(want)
	}
	h := &hold{tenant: t, wanted: min(amount, t.limits.question)}
	if h.wanted < atLeast {
		return nil, t.tooDear(ctx, least)
	}
	if err := t.tenants.ledger.reserve(ctx, h, max(atLeast, 1)); err != nil {
		return nil, err
	}
	return h, nil
}

// tooDear refuses a call that costs more than a question may.
func (t *Tenant) tooDear(ctx context.Context, least float64) error {
	b, err := t.tenants.ledger.balance(ctx, t)
	if err != nil {
		return err
	}
	return refusal(http.StatusPaymentRequired, 0, b.budget(t.limits), "this can cost $%s, but one question of %q may cost $%s", money.Text(least), t.name, money.Text(t.limits.question.Dollars()))
}

// Spending implements memory.Account. The owner sees all tenants.
func (t *Tenant) Spending(ctx context.Context) (memory.SpendingResult, error) {
	accounts := []*Tenant{t}
	if t.name == "" {
		accounts = append(accounts, t.tenants.table.Load().all...)
	}
	out := memory.SpendingResult{Accounts: []memory.AccountSpending{}}
	for _, a := range accounts {
		s, err := t.tenants.ledger.spending(ctx, a)
		if err != nil {
			return memory.SpendingResult{}, err
		}
		out.Accounts = append(out.Accounts, s)
	}
	return out, nil
}

// hold implements memory.Hold.
type hold struct {
	tenant         *Tenant
	id             int64 // of the row; 0 for none
	hour           int64
	wanted, amount money.Picodollars // amount is less than wanted if that is all that was left
}

// Dollars implements memory.Hold.
func (h *hold) Dollars() float64 {
	if h.amount == money.Most {
		return math.Inf(1)
	}
	return h.amount.Dollars()
}

// Settle implements memory.Hold.
func (h *hold) Settle(dollars float64) (*memory.Budget, error) {
	cost := money.RoundUp(dollars)
	if math.IsInf(dollars, 1) {
		cost = 0 // no limit, and it is not known
	}
	b, err := h.tenant.tenants.ledger.settle(h, cost)
	if err != nil {
		return nil, err
	}
	return b.budget(h.tenant.limits), nil
}

// Refusal implements memory.Hold.
func (h *hold) Refusal(left *memory.Budget, why error) error {
	if h.amount < h.wanted && left != nil {
		return h.tenant.usedUp(left, why.Error())
	}
	return refusal(http.StatusPaymentRequired, 0, left, "%v", why)
}

// usedUp refuses a question for which a window has too little left.
func (t *Tenant) usedUp(left *memory.Budget, why string) error {
	what, w := "hour", left.Hour
	if w == nil || left.Day != nil && left.Day.Left <= w.Left {
		what, w = "day", left.Day
	}
	return refusal(http.StatusTooManyRequests, t.tenants.ledger.until(w.Renews), left, "the budget of %q for this %s is used up: $%s of $%s left, renewed at %s (%s)", t.name, what, money.Text(w.Left), money.Text(w.Limit), w.Renews, why)
}

func refusal(status, retryAfter int, left *memory.Budget, format string, args ...any) error {
	return &memory.Error{Status: status, Message: fmt.Sprintf(format, args...), RetryAfter: retryAfter, Budget: left}
}
