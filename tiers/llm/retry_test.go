package llm_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

func TestRetryByFault(t *testing.T) {
	status := func(code int) llmtest.Fault { return llmtest.Fault{Kind: llmtest.Status, Status: code} }
	tests := []struct {
		name  string
		fault llmtest.Fault
		times int   // how often it strikes
		want  error // nil: the call succeeds in the end
		sent  int
	}{
		{"500 twice", status(500), 2, nil, 3},
		{"503", status(503), 1, nil, 2},
		{"408", status(408), 1, nil, 2},
		{"429 told when", llmtest.Fault{Kind: llmtest.Status, Status: 429, RetryAfter: "0.05"}, 2, nil, 3},
		{"hang", llmtest.Fault{Kind: llmtest.Hang}, 1, nil, 2},
		{"cut body", llmtest.Fault{Kind: llmtest.Cut}, 2, nil, 3},
		{"connection reset", llmtest.Fault{Kind: llmtest.Reset}, 2, nil, 3},
		{"HTML under 200", llmtest.Fault{Kind: llmtest.Garbage}, 99, llm.ErrBadRequest, 1},
		{"HTML under 503", llmtest.Fault{Kind: llmtest.Garbage, Status: 503}, 2, nil, 3},
		{"error under 200", llmtest.Fault{Kind: llmtest.Status, Status: 200, Body: `{"error":{"message":"overloaded"}}`}, 1, nil, 2},
		{"empty reply", llmtest.Fault{Kind: llmtest.Empty}, 2, nil, 3},
		{"prose is a reply", llmtest.Fault{Kind: llmtest.Prose}, 1, nil, 1},
		{"500 for ever", status(500), 99, llm.ErrUnavailable, 12},
		{"empty for ever", llmtest.Fault{Kind: llmtest.Empty}, 99, llm.ErrEmpty, 3},
		{"400", status(400), 99, llm.ErrBadRequest, 1},
		{"401", status(401), 99, llm.ErrAuth, 1},
		{"402", status(402), 99, llm.ErrQuota, 1},
		{"403", status(403), 99, llm.ErrAuth, 1},
		{"404", status(404), 99, llm.ErrBadRequest, 1},
		{"422", status(422), 99, llm.ErrBadRequest, 1},
		{"429 with no money left", llmtest.Fault{Kind: llmtest.Status, Status: 429, Body: `{"error":{"message":"pay","code":"insufficient_quota"}}`}, 99, llm.ErrQuota, 1},
		{"429 for a day", llmtest.Fault{Kind: llmtest.Status, Status: 429, RetryAfter: "86400"}, 99, llm.ErrRateLimited, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, llmtest.Config{Script: func(c llmtest.Call) llmtest.Fault {
				if c.N <= tt.times {
					return tt.fault
				}
				return llmtest.Fault{}
			}})
			resp, err := stack(t, endpoint(t, s.URL(), 300*time.Millisecond), llm.StackOptions{Retry: quick}).Chat(t.Context(), ask("a b c"))
			if !errors.Is(err, tt.want) {
				t.Fatalf("error is %v, want %v", err, tt.want)
			}
			if s.Count() != tt.sent {
				t.Errorf("sent %d times, want %d", s.Count(), tt.sent)
			}
			u := resp.Usage
			if u.Calls != 1 || u.Retries != tt.sent-1 || (u.Failed == 1) != (tt.want != nil) {
				t.Errorf("usage %+v, want 1 call with %d retries, failed only if there is an error", u, tt.sent-1)
			}
			if tt.fault.Kind == llmtest.Empty { // the tokens of replies thrown away are known and paid for
				in, out := s.Billed()
				if u.In != in || u.Out != out || math.Abs(u.Paid-testPrice.Dollars(in, out)) > 1e-12 {
					t.Errorf("usage %+v, want all %d and %d tokens that were billed", u, in, out)
				}
			}
		})
	}
}

func TestRetryAfterIsWaitedFor(t *testing.T) {
	for _, form := range []string{"seconds", "date"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			value := "1"
			if form == "date" { // dates have whole seconds, so this is between 1 and 2 s away
				value = time.Now().Add(2 * time.Second).UTC().Format(http.TimeFormat)
			}
			s := startServer(t, llmtest.Config{Script: llmtest.Sequence(llmtest.Fault{Kind: llmtest.Status, Status: 429, RetryAfter: value})})
			start := time.Now()
			resp := mustChat(t, stack(t, endpoint(t, s.URL(), 300*time.Millisecond), llm.StackOptions{Retry: quick}), ask("q"))
			took := time.Since(start)
			if took < 900*time.Millisecond || took > 5*time.Second {
				t.Errorf("came back after %s, want what Retry-After said and little more", took)
			}
			if ms := float64(took.Milliseconds()); resp.Usage.MS > ms+1 || resp.Usage.MS < ms-100 {
				t.Errorf("usage says %v ms, want the wall time with the wait, %v", resp.Usage.MS, ms)
			}
		})
	}
}

func TestDeadlineIsNotSleptAway(t *testing.T) {
	s := startServer(t, llmtest.Config{Script: llmtest.Always(llmtest.Fault{Kind: llmtest.Status, Status: 503, RetryAfter: "20"})})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	start := time.Now()
	_, err := stack(t, endpoint(t, s.URL(), 300*time.Millisecond), llm.StackOptions{Retry: quick}).Chat(ctx, ask("q"))
	wantErr(t, err, llm.ErrUnavailable)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s to find that a wait of 20 s does not fit", took)
	}
}

func TestCancelEndsTheLoop(t *testing.T) {
	s := startServer(t, llmtest.Config{Script: llmtest.Always(llmtest.Fault{Kind: llmtest.Status, Status: 500})})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	_, err := stack(t, endpoint(t, s.URL(), 300*time.Millisecond), llm.StackOptions{Retry: llm.Retry{Base: time.Minute, MaxInterval: time.Minute}}).Chat(ctx, ask("q"))
	wantErr(t, err, context.Canceled)
	wantErr(t, err, llm.ErrUnavailable) // and says what it was waiting for
}

func TestLocalFailuresAreNotRetried(t *testing.T) {
	broken := errors.New("no such tensor")
	model := &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) { return "", broken }}
	_, err := stack(t, model, llm.StackOptions{Retry: quick}).Chat(t.Context(), ask("q"))
	wantErr(t, err, broken)
	if model.Calls() != 1 {
		t.Errorf("called %d times, want once", model.Calls())
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const never = -1
	for value, want := range map[string]time.Duration{
		"0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "0.25": 250 * time.Millisecond, "99999999999999999999": 30 * 24 * time.Hour,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:00:00 GMT": 0,
		"Friday, 02-Jan-26 03:04:15 GMT": 10 * time.Second,
		"":                               never, "soon": never, "-3": never, "1e9": never, "NaN": never, "inf": never, "1.2.3": never, ".": never,
	} {
		got, ok := llm.ParseRetryAfter(value, now)
		if !ok {
			got = never
		}
		if got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	for _, s := range []string{"", "1", "0.5", "Fri, 02 Jan 2026 03:05:05 GMT", "1e300", "-1", "999999999999999999999999"} {
		f.Add(s)
	}
	now := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, value string) {
		wait, ok := llm.ParseRetryAfter(value, now)
		if wait < 0 || wait > 30*24*time.Hour || (!ok && wait != 0) {
			t.Errorf("%q: %v %v", value, wait, ok)
		}
	})
}

func ExampleRetry() {
	failures := 2
	model := &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) {
		if failures--; failures >= 0 {
			return "", &llm.Error{Kind: llm.ErrUnavailable, Status: 503, Message: "busy"}
		}
		return "Paris", nil
	}}
	c, err := llm.Stack(model, llm.StackOptions{Prices: llm.DefaultPrices().AllowUnpriced("test-model"), Retry: llm.Retry{Base: time.Millisecond}})
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := c.Chat(context.Background(), llm.Request{
		Messages: []llm.Message{{Role: llm.User, Content: "What is the capital of France?"}},
	})
	fmt.Println(resp.Text, resp.Usage.Retries, err)
	// Output: Paris 2 <nil>
}
