package llm_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

func TestCacheKeepsRepliesAndTheirUsage(t *testing.T) {
	path := cachePath(t)
	model := &llmtest.Client{Reply: func(_ context.Context, r llm.Request) (string, error) {
		return "re: " + r.Messages[0].Content, nil
	}}
	cache := openCache(t, path)
	first := mustChat(t, stack(t, model, llm.StackOptions{Cache: cache}), ask("a \"b\"\n\x01 ü"))
	if u := first.Usage; u.Cached != 0 || u.Paid == 0 || u.Paid != u.Dollars || u.MS == 0 {
		t.Errorf("first call: %+v", u)
	}
	cache.Close()

	again := mustChat(t, stack(t, model, llm.StackOptions{Cache: openCache(t, path)}), ask("a \"b\"\n\x01 ü"))
	want := first
	want.Usage.Cached, want.Usage.Paid = 1, 0
	if !reflect.DeepEqual(again, want) {
		t.Errorf("from the cache: %+v, want %+v", again, want)
	}
	if model.Calls() != 1 {
		t.Errorf("%d calls, want 1", model.Calls())
	}
}

// Everything that a reply depends on is in the key, and nothing else.
func TestCacheKey(t *testing.T) {
	cache := openCache(t, cachePath(t))
	base := llm.Request{Messages: []llm.Message{{Role: llm.User, Content: "q"}}, MaxTokens: llm.DefaultMaxTokens}
	model := &llmtest.Client{}
	c := stack(t, model, llm.StackOptions{Cache: cache, Retry: once})
	mustChat(t, c, base)
	same := base
	same.MaxTokens = 0 // the default, spelled otherwise
	same.Stop = []string{}
	if u := mustChat(t, c, same).Usage; u.Cached != 1 {
		t.Error("the same request was asked again")
	}
	for name, change := range map[string]func(*llm.Request){
		"content":     func(r *llm.Request) { r.Messages = []llm.Message{{Role: llm.User, Content: "Q"}} },
		"role":        func(r *llm.Request) { r.Messages = []llm.Message{{Role: llm.System, Content: "q"}} },
		"messages":    func(r *llm.Request) { r.Messages = append(r.Messages, llm.Message{}) },
		"max tokens":  func(r *llm.Request) { r.MaxTokens = 7 },
		"temperature": func(r *llm.Request) { r.Temperature = 0.5 },
		"stop":        func(r *llm.Request) { r.Stop = []string{"."} },
		"seed":        func(r *llm.Request) { r.Seed = 3 },
	} {
		r := base
		change(&r)
		if u := mustChat(t, c, r).Usage; u.Cached != 0 {
			t.Errorf("another %s got the same reply", name)
		}
	}
	if u := mustChat(t, stack(t, &llmtest.Client{Name: "other"}, llm.StackOptions{Cache: cache, Retry: once}), base).Usage; u.Cached != 0 {
		t.Error("another model got the same reply")
	}
	bad := base
	bad.Temperature = math.NaN()
	_, err := c.Chat(t.Context(), bad)
	wantErr(t, err, llm.ErrBadRequest)
}

func TestFailuresAreNotKept(t *testing.T) {
	fail := true
	model := &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) {
		if fail {
			return "", errors.New("no")
		}
		return "yes", nil
	}}
	c := stack(t, model, llm.StackOptions{Cache: openCache(t, cachePath(t)), Retry: once})
	if resp, err := c.Chat(t.Context(), ask("q")); err == nil || resp.Usage.Failed != 1 {
		t.Fatalf("%+v %v", resp, err)
	}
	fail = false
	if resp := mustChat(t, c, ask("q")); resp.Text != "yes" || resp.Usage.Cached != 0 {
		t.Errorf("%+v", resp)
	}
}

// However many ask the same at one time, one call is made and one caller pays.
func TestIdenticalCallsAreShared(t *testing.T) {
	s := startServer(t, llmtest.Config{Latency: 20 * time.Millisecond})
	c := stack(t, endpoint(t, s.URL(), time.Minute), llm.StackOptions{Cache: openCache(t, cachePath(t)), Retry: quick})
	var mu sync.Mutex
	var sum llm.Usage
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			resp := mustChat(t, c, ask(fmt.Sprint("q", i%4)))
			mu.Lock()
			defer mu.Unlock()
			sum = sum.Add(resp.Usage)
		})
	}
	wg.Wait()
	in, out := s.Billed()
	if s.Count() != 4 || sum.Calls != 64 || sum.Cached != 60 || math.Abs(sum.Paid-testPrice.Dollars(in, out)) > 1e-12 {
		t.Errorf("%d calls at the server, usage %+v; want 4, and 60 of 64 cached", s.Count(), sum)
	}
}

// A caller who gives up does not take the shared call from the others; when the last gives up, the call ends.
func TestLeavingASharedCall(t *testing.T) {
	ended := make(chan struct{}, 1)
	let := make(chan struct{})
	sent := make(chan struct{}, 9)
	model := &llmtest.Client{Reply: func(ctx context.Context, _ llm.Request) (string, error) {
		sent <- struct{}{}
		select {
		case <-let:
			return "ok", nil
		case <-ctx.Done():
			ended <- struct{}{}
			return "", ctx.Err()
		}
	}}
	c := stack(t, model, llm.StackOptions{Cache: openCache(t, cachePath(t)), Retry: once})
	ctx, cancel := context.WithCancel(t.Context())
	left, stayed := make(chan error), make(chan error)
	go func() { _, err := c.Chat(ctx, ask("q")); left <- err }()
	<-sent
	go func() { _, err := c.Chat(context.Background(), ask("q")); stayed <- err }()
	time.Sleep(50 * time.Millisecond) // let the second join
	cancel()
	wantErr(t, <-left, context.Canceled)
	close(let)
	if err := <-stayed; err != nil {
		t.Errorf("who stayed got %v", err)
	}
	if model.Calls() != 1 {
		t.Errorf("%d calls, want 1", model.Calls())
	}

	let = make(chan struct{})
	ctx, cancel = context.WithCancel(t.Context())
	go func() { _, err := c.Chat(ctx, ask("other")); left <- err }()
	<-sent
	cancel()
	wantErr(t, <-left, context.Canceled)
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the call went on with nobody waiting")
	}
}

// The reply is on disk before the caller has it.
func TestReplyIsStoredBeforeItIsUsed(t *testing.T) {
	path := cachePath(t)
	cache := openCache(t, path)
	mustChat(t, stack(t, &llmtest.Client{}, llm.StackOptions{Cache: cache, Retry: once}), ask("q"))
	other := openCache(t, path) // what another process sees, the first still open
	if n, err := other.Check(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d entries, %v", n, err)
	}
	cache.Close()
	model := &llmtest.Client{}
	resp, err := stack(t, model, llm.StackOptions{Cache: cache, Retry: once}).Chat(t.Context(), ask("new"))
	wantErr(t, err, llm.ErrCache)
	if resp.Text != "" || model.Calls() != 0 {
		t.Errorf("got %q from a cache that cannot store", resp.Text)
	}
}

// Two caches on one file: both work at one time, and agree on every reply.
func TestTwoProcessesOnOneFile(t *testing.T) {
	path := cachePath(t)
	caches := []*llm.Cache{openCache(t, path), openCache(t, path)}
	replies := [2][20]string{}
	var wg sync.WaitGroup
	for i, cache := range caches {
		c := stack(t, &llmtest.Client{Reply: func(_ context.Context, r llm.Request) (string, error) {
			time.Sleep(time.Millisecond)
			return fmt.Sprint("by process ", i), nil
		}}, llm.StackOptions{Cache: cache, Retry: once})
		for q := range replies[i] {
			wg.Go(func() { replies[i][q] = mustChat(t, c, ask(fmt.Sprint(q))).Text })
		}
	}
	wg.Wait()
	if replies[0] != replies[1] {
		t.Errorf("the two disagree:\n%v\n%v", replies[0], replies[1])
	}
}

func TestDamagedOrForeignFiles(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign.db")
	db, err := sql.Open("sqlite", foreign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE t (x)"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	text := filepath.Join(dir, "notes.txt")
	os.WriteFile(text, bytes.Repeat([]byte("These are my notes. "), 200), 0o644)
	ledger := filepath.Join(dir, "spend.db")
	l, err := llm.OpenLedger(ledger, 1)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	blocked := filepath.Join(text, "sub", "cache.db")
	for path, want := range map[string]string{
		foreign: "not a response cache", text: "no SQLite database", ledger: "not a response cache", blocked: "not a directory",
	} {
		before, _ := os.ReadFile(path)
		_, err := llm.OpenCache(path)
		wantErr(t, err, llm.ErrCache)
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("error is %v, want the path and %q", err, want)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Errorf("%s was changed", path)
		}
	}
}

// A page lost in the middle of the file gives an error, not a wrong reply and not a second bill.
func TestDamagedEntry(t *testing.T) {
	path := cachePath(t)
	cache := openCache(t, path)
	model := &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) { return strings.Repeat("x", 3000), nil }}
	for i := range 30 {
		mustChat(t, stack(t, model, llm.StackOptions{Cache: cache, Retry: once}), ask(fmt.Sprint(i)))
	}
	cache.Close() // the last to close moves the log into the file
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(data); i++ {
		data[i] ^= 0x5a
	}
	os.WriteFile(path, data, 0o644)
	broken, err := llm.OpenCache(path)
	if err == nil {
		defer broken.Close()
		_, err = stack(t, model, llm.StackOptions{Cache: broken}).Chat(t.Context(), ask("3"))
	}
	wantErr(t, err, llm.ErrCache)
	if !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), path) || model.Calls() != 30 {
		t.Errorf("%d calls, error %v; want 30 and one that says what is damaged", model.Calls(), err)
	}
}

func ExampleCache() {
	dir, _ := os.MkdirTemp("", "cache")
	defer os.RemoveAll(dir)
	cache, err := llm.OpenCache(filepath.Join(dir, "replies.db"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cache.Close()
	model := &llmtest.Client{Name: "gpt-oss-120b"}
	c, _ := llm.Stack(model, llm.StackOptions{Prices: llm.DefaultPrices(), Cache: cache})
	for range 3 {
		resp, _ := c.Chat(context.Background(), llm.Request{Messages: []llm.Message{{Role: llm.User, Content: "What is new?"}}})
		fmt.Printf("$%.8f worth, $%.8f paid\n", resp.Usage.Dollars, resp.Usage.Paid)
	}
	// Output:
	// $0.00000105 worth, $0.00000105 paid
	// $0.00000105 worth, $0.00000000 paid
	// $0.00000105 worth, $0.00000000 paid
}
