package llm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Retry is the one retry loop: exponential backoff with jitter, Retry-After honoured, only for errors that Retryable
// accepts. An empty reply, or one that was cut short, is paid for, and is asked for twice more at most. Retry never waits past the context's
// deadline: where the next wait would, the last error is returned at once. The zero value has the defaults given with
// the fields.
type Retry struct {
	// Attempts bounds how often a call is sent: 0 means 8, 1 turns retries off.
	Attempts int
	// Base is the first wait, doubled each time, each ±50 % at random; 0 means 500 ms.
	Base time.Duration
	// MaxInterval bounds the growth; 0 means 30 s.
	MaxInterval time.Duration
	// MaxRetryAfter is the longest Retry-After that is waited for; beyond it the call fails. 0 means 5 min.
	MaxRetryAfter time.Duration
}

func (r Retry) withDefaults() Retry {
	if r.Attempts <= 0 {
		r.Attempts = 8
	}
	if r.Base <= 0 {
		r.Base = 500 * time.Millisecond
	}
	if r.MaxInterval <= 0 {
		r.MaxInterval = 30 * time.Second
	}
	if r.MaxRetryAfter <= 0 {
		r.MaxRetryAfter = 5 * time.Minute
	}
	return r
}

// layer retries calls to a model. The usage of a call then covers all its attempts: tokens and dollars of failed ones
// where these are known, and the wall time with the waits.
func (r Retry) layer(model string) Middleware {
	return func(next Handler) Handler {
		return func(ctx context.Context, call Call) (Reply, error) {
			reply, usage, err := Do(ctx, r, func(ctx context.Context) (Reply, Usage, error) {
				reply, err := next(ctx, call)
				return reply, reply.Usage, err
			})
			reply.Usage = usage
			if err != nil {
				return reply, fmt.Errorf("%s with %s: %w", call.verb(), model, err)
			}
			return reply, nil
		}
	}
}

// verb names the kind of a call in errors.
func (c Call) verb() string {
	switch {
	case c.Chat != nil:
		return "chat"
	case c.Embed != nil:
		return "embed"
	}
	return "score"
}

// Do runs op until it succeeds, fails for good, or the attempts or the context's time run out. The Usage is that of all
// attempts together: as many calls as one attempt makes, Retries the attempts after the first.
func Do[T any](ctx context.Context, r Retry, op func(context.Context) (T, Usage, error)) (T, Usage, error) {
	var (
		start = time.Now()
		plan  = newSchedule(ctx, r.withDefaults())
		total Usage
		calls int
	)
	out, err := backoff.Retry(ctx, func() (T, error) {
		v, u, err := op(ctx)
		total = total.Add(u)
		calls = max(calls, u.Calls)
		plan.note(err)
		if err != nil && !Retryable(err) {
			return v, backoff.Permanent(err)
		}
		return v, err
	}, backoff.WithBackOff(plan), backoff.WithMaxElapsedTime(0))

	total.Calls = calls
	total.Failed = 0
	total.Retries += max(0, plan.sent-1)
	total.MS = float64(time.Since(start)) / float64(time.Millisecond)
	if err == nil {
		return out, total, nil
	}
	total.Failed = calls
	if !errors.Is(err, plan.last) { // cut short by the context
		err = fmt.Errorf("%w (last failure: %w)", err, plan.last)
	}
	if plan.sent > 1 {
		err = fmt.Errorf("%w (given up after %d attempts in %s)", err, plan.sent, time.Since(start).Round(time.Millisecond))
	}
	return out, total, err
}

// schedule is the backoff.BackOff of one call.
type schedule struct {
	retry    Retry
	growing  *backoff.ExponentialBackOff
	deadline time.Time // zero: none
	last     error
	sent     int // attempts that left this process
	empty    int // of these, those with an empty reply or one that was cut short
	nobody   int // and those where no server was
}

func newSchedule(ctx context.Context, r Retry) *schedule {
	s := &schedule{retry: r, growing: &backoff.ExponentialBackOff{
		InitialInterval: r.Base, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: r.MaxInterval}}
	s.deadline, _ = ctx.Deadline()
	return s
}

// note records how an attempt went.
func (s *schedule) note(err error) {
	s.last = err
	var e *Error
	if !errors.As(err, &e) || !e.Unsent {
		s.sent++
	}
	if errors.Is(err, ErrEmpty) || errors.Is(err, io.ErrUnexpectedEOF) && e != nil && e.Status/100 == 2 {
		s.empty++
	}
	if errors.Is(err, ErrNoServer) {
		s.nobody++
	}
}

// mostEmpty bounds how often an empty reply, or one that was cut short, is paid for.
const mostEmpty = 3

// mostNobody bounds how often a server of this machine is tried that is not there: one that starts is there within seconds.
const mostNobody = 4

// Reset is part of backoff.BackOff.
func (s *schedule) Reset() { s.growing.Reset() }

// NextBackOff is the wait before the next attempt, or backoff.Stop.
func (s *schedule) NextBackOff() time.Duration {
	if s.sent >= s.retry.Attempts || s.empty >= mostEmpty || s.nobody >= mostNobody {
		return backoff.Stop
	}
	var wait time.Duration
	var e *Error
	if errors.As(s.last, &e) && e.RetryAfter > 0 {
		if e.RetryAfter > s.retry.MaxRetryAfter {
			return backoff.Stop
		}
		// Never earlier than asked, and not all waiting calls at the same moment.
		wait = e.RetryAfter + rand.N(s.retry.Base)
	} else {
		wait = s.growing.NextBackOff()
	}
	if !s.deadline.IsZero() && time.Until(s.deadline) < wait {
		return backoff.Stop
	}
	return wait
}
