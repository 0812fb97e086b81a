package tenant

import (
	"errors"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/serve/memory"
)

// open opens a ledger whose clock the test sets; a nil clock is that of the machine.
func open(t *testing.T, path string, clock func() time.Time) *Ledger {
	t.Helper()
	l, err := OpenLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if clock != nil {
		l.now = clock
	}
	return l
}

// mustParse reads tenants.
func mustParse(t *testing.T, yaml string, l *Ledger) *Tenants {
	t.Helper()
	ts := None(l)
	list, err := ts.parse([]byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	ts.table.Store(list)
	return ts
}

// account returns a tenant by its token.
func account(t *testing.T, ts *Tenants, token string) memory.Account {
	t.Helper()
	s, ok := ts.Scope(token)
	if !ok {
		t.Fatalf("%s is not known", token)
	}
	return s.Account
}

func refusedWith(t *testing.T, err error, status int) *memory.Error {
	t.Helper()
	var e *memory.Error
	if !errors.As(err, &e) || e.Status != status {
		t.Fatalf("%v, want status %d", err, status)
	}
	return e
}

func TestTokens(t *testing.T) {
	one, other := NewToken(), NewToken()
	if one == other || len(one) < 26 || strings.Trim(one, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
		t.Errorf("%q, %q", one, other)
	}
	ts := mustParse(t, "tenants:\n- name: ann\n  tokens: ["+HashToken(one)+", "+HashToken(other)+"]\n  memory: diary\n", nil)
	for _, token := range []string{one, other} {
		if s, ok := ts.Scope(token); !ok || s.Namespace != "ann" || s.Memory != "diary" || s.Account.Owner() != "ann" {
			t.Errorf("%+v, %v", s, ok)
		}
	}
	for _, token := range []string{"", "x", HashToken(one), one + "x", strings.ToLower(one)} {
		if _, ok := ts.Scope(token); ok {
			t.Errorf("%q is let in", token)
		}
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	hash := HashToken("x")
	for text, want := range map[string]string{
		"":             `no entry under "tenants:"`,
		"tenants: []":  `no entry under "tenants:"`,
		"tenants: {":   "[1:",
		"callers: []":  "callers",
		"tenants:\n- ": "tenant 1",
		"tenants:\n- {name: ann, token: " + hash + "}":                                                              "token",
		"tenants:\n- {name: ann}":                                                                                   "tokens: missing: `bmem serve token`",
		"tenants:\n- {name: ann, tokens: [secret]}":                                                                 "tokens[0]: want sha256-",
		"tenants:\n- {name: ann, tokens: [" + hash + ", sha256-ab]}":                                                "tokens[1]: want sha256-",
		"tenants:\n- {name: ann, tokens: [" + hash + "]}\n- {name: bob, tokens: [" + hash + "]}":                    "tenant 2 (bob): tokens[0]: it stands here twice",
		"tenants:\n- {name: ann, tokens: [" + hash + "]}\n- {name: ann, tokens: [" + HashToken("y") + "]}":          "tenant 2 (ann): name: another",
		"tenants:\n- {name: a/b, tokens: [" + hash + "]}":                                                           "name: a name has",
		"tenants:\n- {name: ann, namespace: a/b, tokens: [" + hash + "]}":                                           "namespace: a name has",
		"tenants:\n- {name: ann, memory: \"a\\nb\", tokens: [" + hash + "]}":                                        "memory: a name has",
		"tenants:\n- {name: ann, tokens: [" + hash + "], dollars: {hour: 1}}":                                       "dollars.question: missing",
		"tenants:\n- {name: ann, tokens: [" + hash + "], dollars: {question: -1}}":                                  "dollars.question: -1",
		"tenants:\n- {name: ann, tokens: [" + hash + "], dollars: {question: .nan}}":                                "dollars.question",
		"tenants:\n- {name: ann, tokens: [" + hash + "], dollars: {question: 1, day: .inf}}":                        "dollars.day",
		"tenants:\n- {name: ann, tokens: [" + hash + "], dollars: {question: 1, minute: 2}}":                        "minute",
		"tenants:\n- {name: ann, tokens: [" + hash + "], dollars: {question: 1001}}":                                "0 to 1000",
		"tenants:\n- {name: ann, tokens: [" + hash + "], dollars: {question: 0,001, hour: 0,02, day: 0,10}}":        "is no name of a field",
		"tenants:\n- {name: ann, tokens: [" + hash + "], dollars: {question: 0.01, 5: 5}}":                          "\"5\" is no name",
		"tenants:\n- {name: ann, tokens: [" + hash + "], dollars: {question: 0.01, hour: , day: 1}}":                "\"hour\" has no value",
		"tenants:\n- {name: ann, tokens: [" + hash + "], dollars: }":                                                "\"dollars\" has no value",
		"tenants:\n- {name: ann, tokens: [" + hash + "]}\n---\ntenants:\n- {name: bob, tokens: [x]}":                "second document",
		"tenants:\n- {name: ann, tokens: [" + hash + "]}\n- {name: bob, tokens: [" + HashToken("y") + "], x: true}": "x",
	} {
		path := filepath.Join(t.TempDir(), "tenants.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path, nil); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), path) || strings.Contains(err.Error(), "secret") && !strings.Contains(text, "secret") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func FuzzTenants(f *testing.F) {
	f.Add("tenants:\n- {name: ann, tokens: [" + HashToken("x") + "], dollars: {question: 0.1, hour: 1, day: 5}}")
	f.Fuzz(func(t *testing.T, text string) {
		ts, err := None(nil).parse([]byte(text))
		if err != nil {
			return
		}
		for _, tenant := range ts.all {
			if l := tenant.limits; l.question < 0 || l.hour < 0 || l.day < 0 || tenant.name == "" || tenant.scope.Namespace == "" {
				t.Errorf("%+v", tenant)
			}
		}
	})
}

const ann = "tenants:\n- {name: ann, tokens: [\"sha256-2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\"], dollars: {question: 0.01, hour: 0.025, day: 0.04}}\n" // x

// The limits of the hour and the day hold, renew, and survive restarts; the refusals say what is left and when it renews.
func TestWindows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spending.db")
	now := time.Date(2026, 3, 1, 10, 59, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	spend := func(dollars float64) memory.Hold {
		t.Helper()
		l, err := OpenLedger(path) // as after a restart
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		l.now = clock
		h, err := account(t, mustParse(t, ann, l), "x").Reserve(t.Context(), math.Inf(1), 0)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := h.Settle(dollars); err != nil || b.Hour == nil || *b.Question != 0.01 {
			t.Fatal(b, err)
		}
		return h
	}
	if h := spend(0.01); h.Dollars() != 0.01 {
		t.Errorf("%v", h.Dollars())
	}
	spend(0.01)
	if h := spend(0.005); h.Dollars() != 0.005 {
		t.Errorf("near the limit a question gets $%v, want what is left", h.Dollars())
	}
	l := open(t, path, clock)
	a := account(t, mustParse(t, ann, l), "x")
	_, err := a.Reserve(t.Context(), math.Inf(1), 0)
	e := refusedWith(t, err, http.StatusTooManyRequests)
	if e.RetryAfter < 60 || e.RetryAfter > 61 || !strings.Contains(e.Message, "this hour") || !strings.Contains(e.Message, "2026-03-01T11:00:00Z") || e.Budget.Hour.Left != 0 || e.Budget.Day.Left != 0.015 {
		t.Errorf("%+v, %+v", e, e.Budget)
	}
	now = now.Add(time.Minute) // the next hour
	spend(0.01)
	if h := spend(0.005); h.Dollars() != 0.005 {
		t.Errorf("%v left of the day", h.Dollars())
	}
	_, err = a.Reserve(t.Context(), math.Inf(1), 0)
	if e := refusedWith(t, err, http.StatusTooManyRequests); !strings.Contains(e.Message, "this day") || e.Budget.Day.Renews != "2026-03-02T00:00:00Z" || e.RetryAfter != 13*3600+1 {
		t.Errorf("%+v", e)
	}
	now = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	spend(0.01)
	s, err := a.Spending(t.Context())
	if err != nil || len(s.Accounts) != 1 || len(s.Accounts[0].Days) != 2 || s.Accounts[0].Days[0] != (memory.DaySpending{Day: "2026-03-02", Asked: 1, Dollars: 0.01}) ||
		s.Accounts[0].Days[1] != (memory.DaySpending{Day: "2026-03-01", Asked: 5, Dollars: 0.04}) {
		t.Errorf("%+v, %v", s, err)
	}
	// A chat, whose cost cannot be less, gets all or nothing.
	_, err = a.Reserve(t.Context(), 0.011, 0.011)
	refusedWith(t, err, http.StatusPaymentRequired)
	spend(0.01)
	_, err = a.Reserve(t.Context(), 0.009, 0.009)
	refusedWith(t, err, http.StatusTooManyRequests)
}

// What a killed process held stays booked.
func TestHoldsSurvive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spending.db")
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	first := account(t, mustParse(t, ann, open(t, path, clock)), "x")
	for range 2 {
		if _, err := first.Reserve(t.Context(), 0.01, 0); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(inFlight + time.Second)
	second := account(t, mustParse(t, ann, open(t, path, clock)), "x")
	h, err := second.Reserve(t.Context(), math.Inf(1), 0)
	if err != nil || h.Dollars() != 0.005 {
		t.Fatalf("%v, %v", h, err)
	}
	if b, err := h.Settle(0); err != nil || b.Hour.Left != 0.005 {
		t.Errorf("%+v, %v", b, err)
	}
	now = now.Add(25 * time.Hour)
	late := open(t, path, nil)
	late.now = clock
	if err := late.tidy(); err != nil {
		t.Fatal(err)
	}
	s, err := account(t, mustParse(t, ann, late), "x").Spending(t.Context())
	if err != nil || len(s.Accounts[0].Days) != 1 || s.Accounts[0].Days[0].Dollars != 0.02 {
		t.Errorf("%+v, %v", s, err)
	}
}

// The owner has no limit, and sees what everybody spent.
func TestOwner(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "spending.db"), nil)
	ts := mustParse(t, ann, l)
	owner := ts.Owner().Account
	h, err := owner.Reserve(t.Context(), math.Inf(1), 0)
	if err != nil || !math.IsInf(h.Dollars(), 1) {
		t.Fatal(h, err)
	}
	if b, err := h.Settle(3); b != nil || err != nil {
		t.Error(b, err)
	}
	s, err := owner.Spending(t.Context())
	if err != nil || len(s.Accounts) != 2 || s.Accounts[0].Name != "" || s.Accounts[0].Days[0].Dollars != 3 || s.Accounts[1].Name != "ann" || s.Accounts[1].Budget.Hour.Left != 0.025 {
		t.Errorf("%+v, %v", s, err)
	}
	if None(nil).Owner() != (memory.Scope{}) {
		t.Error("an owner without a ledger has an account")
	}
}

// Only its owner can read the ledger, and what is not a ledger is refused.
func TestLedgerFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spending.db")
	open(t, path, nil)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	other := filepath.Join(t.TempDir(), "other.db")
	if err := os.WriteFile(other, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLedger(other); err == nil || !strings.Contains(err.Error(), other) {
		t.Error(err)
	}
}

// A file that is read again is followed from then on, with what was spent; one that is damaged changes nothing.
func TestReload(t *testing.T) {
	ctx := t.Context()
	ann, bob := NewToken(), NewToken()
	path := filepath.Join(t.TempDir(), "tenants.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("tenants:\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("- {name: ann, tokens: [" + HashToken(ann) + "], dollars: {question: 1, hour: 2}}\n")
	ts, err := Load(path, open(t, filepath.Join(t.TempDir(), LedgerFile), nil))
	if err != nil {
		t.Fatal(err)
	}
	h, err := account(t, ts, ann).Reserve(ctx, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Settle(1); err != nil {
		t.Fatal(err)
	}
	write("- {name: ann, tokens: [" + HashToken(ann) + "], dollars: {question: much}}\n")
	if err := ts.Reload(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged file: %v", err)
	}
	if _, ok := ts.Scope(bob); ok || ts.Len() != 1 {
		t.Errorf("%d tenants after a damaged file", ts.Len())
	}
	write("- {name: ann, tokens: [" + HashToken(ann) + "], dollars: {question: 1, hour: 1.25}}\n- {name: bob, tokens: [" + HashToken(bob) + "]}\n")
	if err := ts.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, ok := ts.Scope(bob); !ok || ts.Len() != 2 {
		t.Errorf("%d tenants after the file was read again", ts.Len())
	}
	if h, err := account(t, ts, ann).Reserve(ctx, 1, 0.01); err != nil || h.Dollars() != 0.25 {
		t.Errorf("a question may cost %v, %v; want the 0.25 that the new limit has left", h, err)
	}
}
