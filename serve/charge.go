package serve

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
)

// charged makes a call of a model from the caller's account and notes it. action is what the counters and the audit log call it, most
// is what it can take. It returns the dollars that were booked, before which no answer goes out. A model without a price is free.
func (s *Server) charged(ctx context.Context, action, model string, most llm.Bound, call func() (llm.Usage, error)) (dollars float64, err error) {
	scope := memory.ScopeOf(ctx)
	end := s.config.Activity.Begin(scope, action, model)
	var used llm.Usage
	status := http.StatusInternalServerError // where the model panics
	defer func() { end(used, status) }()
	used, err = s.paid(ctx, scope.Account, model, most, s.observed(ctx, model, call))
	status = statusOf(err)
	return used.Dollars, err
}

// paid makes a call from an account, which may be nil, and returns what it took with the dollars that were booked.
func (s *Server) paid(ctx context.Context, account memory.Account, model string, most llm.Bound, call func() (llm.Usage, error)) (used llm.Usage, err error) {
	price, err := s.config.Prices.Price(model)
	if err != nil || price == (llm.Price{}) || account == nil {
		used, err = call()
		used.Dollars = 0
		return used, err
	}
	worst := price.Dollars(most.In, most.Out)
	_, err = memory.Spend(ctx, account, worst, worst, s.config.Log, func(float64) (float64, error) {
		used, err = call()
		switch used.Dollars = price.Dollars(used.In, used.Out); {
		case err == nil || used.Dollars > 0 || neverRan(err):
		default: // it is not known how far it came
			used.Dollars = worst
		}
		return used.Dollars, err
	})
	return used, err
}

// observed shows a call to the observer, if there is one.
func (s *Server) observed(ctx context.Context, model string, call func() (llm.Usage, error)) func() (llm.Usage, error) {
	if s.config.Observer == nil {
		return call
	}
	return func() (llm.Usage, error) {
		start := time.Now()
		used, err := call()
		s.config.Observer.Computed(ctx, model, used, time.Since(start), err)
		return used, err
	}
}

// neverRan reports whether a call failed before a model computed anything.
func neverRan(err error) bool {
	var tooLong *local.ContextError
	return errors.As(err, &tooLong) || errors.Is(err, local.ErrClosed)
}

// chatBound is the most that a chat can take.
func chatBound(model llm.Client, req llm.Request) llm.Bound {
	return llm.Bound{In: promptTokens(model, req.Messages), Out: req.ReplyLimit() * req.Replies()}
}

// scoreBound is the most that scores can take. A continuation has at most as many tokens as bytes.
func scoreBound(model llm.Client, reqs []llm.ScoreRequest) (b llm.Bound) {
	for _, r := range reqs {
		b.In += promptTokens(model, r.Messages)
		b.Out += len(r.Continuation) + 1
	}
	return b
}

func promptTokens(model llm.Client, messages []llm.Message) int {
	if counter, ok := model.(llm.TokenCounter); ok {
		if n, err := counter.CountTokens(messages); err == nil {
			return n
		}
	}
	return llm.UpperBound(messages)
}
