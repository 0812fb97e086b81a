package llm

import (
	"context"
	"errors"
	"testing"
	"time"
)

// script is a client that does what each of its steps says, one a call.
type script struct {
	steps []func() (Response, error)
	calls int
}

func (s *script) Model() string { return "m" }
func (s *script) ID() string    { return "m" }
func (s *script) Chat(context.Context, Request) (Response, error) {
	s.calls++
	return s.steps[s.calls-1]()
}

// What attempts cost adds up within the cap, whether they succeed, are billed for nothing, or are not billed.
func TestCapCountsEveryAttempt(t *testing.T) {
	ok := func() (Response, error) { return Response{Text: "x", Usage: Usage{Calls: 1, In: 10, Out: 5}}, nil }
	busy := func() (Response, error) { return Response{}, &Error{Kind: ErrUnavailable, Status: 503} }
	cut := func() (Response, error) { return Response{}, &Error{Kind: ErrUnavailable, Status: 200} }
	req := Request{Messages: []Message{{Role: "user", Content: "hello"}}, MaxTokens: 50}
	prices := Prices{}.Set(map[string]Price{"m": {In: 1, Out: 2}})
	priced, err := Stack(&script{}, StackOptions{Prices: prices})
	if err != nil {
		t.Fatal(err)
	}
	bound := priced.(Bounder).Bound(req).Dollars
	for name, tt := range map[string]struct {
		limit  float64
		steps  []func() (Response, error)
		spent  float64
		budget bool
	}{
		"fits":                  {bound, []func() (Response, error){ok}, 20e-6, false},
		"does not fit":          {bound * 0.99, nil, 0, true},
		"not billed":            {bound, []func() (Response, error){busy, ok}, 20e-6, false},
		"billed, no money left": {bound * 1.5, []func() (Response, error){cut}, bound, true},
		"billed, money left":    {bound * 2, []func() (Response, error){cut, ok}, bound + 20e-6, false},
	} {
		s := &script{steps: tt.steps}
		c, err := Stack(s, StackOptions{Prices: prices, Retry: Retry{Attempts: 3, Base: time.Microsecond, MaxInterval: time.Microsecond}})
		if err != nil || !Capped(c) || Capped(s) {
			t.Fatal(err, Capped(c), Capped(s))
		}
		limit, err := NewCap(tt.limit)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Chat(limit.Within(context.Background()), req)
		if errors.Is(err, ErrBudget) != tt.budget || s.calls != len(tt.steps) {
			t.Errorf("%s: %v after %d calls", name, err, s.calls)
		}
		if d := limit.Spent() - tt.spent; d > 1e-11 || d < -1e-11 {
			t.Errorf("%s: spent %v, want %v", name, limit.Spent(), tt.spent)
		}
		if d := limit.Left() - max(0, tt.limit-tt.spent); d > 1e-11 || d < -1e-11 {
			t.Errorf("%s: left %v", name, limit.Left())
		}
	}
}

// What is set aside is out of reach until it is not set aside any more.
func TestSetAside(t *testing.T) {
	s := &script{steps: []func() (Response, error){func() (Response, error) { return Response{Usage: Usage{Calls: 1}}, nil }}}
	c, err := Stack(s, StackOptions{Prices: Prices{}.Set(map[string]Price{"m": {In: 1, Out: 1}})})
	if err != nil {
		t.Fatal(err)
	}
	limit, _ := NewCap(1)
	ctx := limit.Within(context.Background())
	limit.SetAside(1)
	if _, err := c.Chat(ctx, Request{}); !errors.Is(err, ErrBudget) || s.calls != 0 {
		t.Errorf("%v after %d calls", err, s.calls)
	}
	limit.SetAside(0)
	if _, err := c.Chat(ctx, Request{}); err != nil {
		t.Error(err)
	}
}
