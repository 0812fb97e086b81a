package openai

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Two endpoints answer at once until one call hangs at one of them: the other one answers it.
func TestHedgeAsksAnotherEndpoint(t *testing.T) {
	var sent [2]atomic.Int64
	var hang atomic.Bool // the next call
	given := make(chan struct{})
	var endpoints []Endpoint
	for i := range sent {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the client leaves
			sent[i].Add(1)
			if hang.CompareAndSwap(true, false) {
				<-r.Context().Done()
				close(given)
				return
			}
			fmt.Fprint(w, `{"choices":[{"message":{"content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":1}}`)
		}))
		defer s.Close()
		endpoints = append(endpoints, Endpoint{BaseURL: s.URL + "/v1"})
	}
	client, err := New(Config{Model: "m", Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	ledger, err := llm.NewLedger(1)
	if err != nil {
		t.Fatal(err)
	}
	stack, err := llm.Stack(client, llm.StackOptions{Prices: llm.Prices{}.Set(map[string]llm.Price{"m": {In: 1, Out: 1}}), Ledger: ledger, Hedge: true, Retry: llm.Retry{Attempts: 1}})
	if err != nil {
		t.Fatal(err)
	}
	req := llm.Request{Messages: []llm.Message{{Role: llm.User, Content: "where?"}}, MaxTokens: 10}
	ctx := llm.WithSession(t.Context(), "one question") // whose calls go to one endpoint
	extra := 0
	for range fewestToJudge + 5 {
		resp, err := stack.Chat(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		extra += resp.Usage.Hedged
	}
	first := 0
	if sent[1].Load() > sent[0].Load() {
		first = 1
	}
	before := [2]int64{sent[0].Load(), sent[1].Load()}
	hang.Store(true)
	resp, err := stack.Chat(ctx, req)
	if err != nil || resp.Usage.Hedged != 1 || resp.Text != "ok" {
		t.Fatalf("%+v, %v", resp, err)
	}
	<-given
	if got := [2]int64{sent[0].Load() - before[0], sent[1].Load() - before[1]}; got != [2]int64{1, 1} {
		t.Errorf("the endpoints got %v calls, the first one being %d", got, first)
	}
	if b := ledger.Balance(); b.Uncertain <= 0 || b.Reserved != 0 || extra == 0 && b.Uncertain != stack.(llm.Bounder).Bound(req).Dollars/2 {
		t.Errorf("balance %+v", b)
	}
	for _, e := range client.Endpoints() {
		if e.InFlight != 0 || e.Cooling {
			t.Errorf("endpoint %+v", e)
		}
	}
}

// Attempts go to different endpoints, and there is no second one before enough is known of the first one's, or without another.
func TestHedgeRoutes(t *testing.T) {
	r := newRotation([]int{0, 0, 1}, 0)
	c := &Client{turns: r, config: Config{Endpoints: make([]Endpoint, 2)}}
	for i := range fewestToJudge + 3 {
		first, second, after := c.Hedge(t.Context())
		a, err := r.take("s", legOf(first))
		if err != nil {
			t.Fatal(err)
		}
		select {
		case wait := <-after:
			if i < fewestToJudge || wait != time.Duration(hedgedQuantile*float64(i))*time.Millisecond {
				t.Errorf("call %d is hedged after %v", i, wait)
			}
		default:
			if i >= fewestToJudge {
				t.Errorf("call %d is not hedged", i)
			}
		}
		b, err := r.take("s", legOf(second))
		if err != nil || r.endpoints[a] == r.endpoints[b] {
			t.Fatalf("call %d goes to %d and %d, %v", i, a, b, err)
		}
		r.took(first, r.endpoints[a], time.Duration(i)*time.Millisecond, nil)
		r.took(first, r.endpoints[a], time.Hour, errors.New("failed"))
		r.took(t.Context(), r.endpoints[a], time.Hour, nil) // no call that may be hedged
		overtaken, cancel := context.WithCancelCause(second)
		cancel(llm.ErrOvertaken)
		r.took(overtaken, r.endpoints[b], time.Minute, overtaken.Err())
		for _, i := range []int{a, b} {
			r.routes[i].inFlight--
		}
	}
	if got := r.latencies[1-r.endpoints[0]]; len(got) == 0 {
		t.Error("the attempt that was overtaken is not counted")
	}
	r.routes[2].until = r.now().Add(time.Hour)
	first, second, _ := c.Hedge(t.Context())
	if _, err := r.take("", legOf(first)); err != nil {
		t.Fatal(err)
	}
	if i, err := r.take("", legOf(second)); err == nil {
		t.Errorf("the second attempt goes to route %d, where the first one is", i)
	}
}
