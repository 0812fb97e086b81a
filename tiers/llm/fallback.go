package llm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Fallback returns a client that asks the first of models, which Stack made, and where that one's endpoints all fail the next, and so on.
// Price, cache entry and Response.Model are those of the model that answered. A model that failed is left alone for half a minute, after
// which one call tries it again; its replies in the cache count meanwhile. The bounds are the highest of all models; the chain can score
// if the first one can, and no other does that for it. warn, if not nil, gets a line for the user when a model is first replaced.
//
// Give all but the last model a short Retry, since a call passes through it before the next model is asked.
func Fallback(warn func(string), models ...Client) Client {
	f := &fallback{inner: inner{models[0]}}
	for i, m := range models {
		l := &link{Client: m, now: time.Now, warn: func(error) {}}
		if warn != nil && i+1 < len(models) {
			var once sync.Once
			l.warn = func(why error) {
				once.Do(func() {
					warn(fmt.Sprintf("%s fails (%v): %s answers in its place until it works again, at its own price", m.Model(), why, models[i+1].Model()))
				})
			}
		}
		f.links = append(f.links, l)
	}
	if _, ok := AsScorer(models[0]); ok {
		return scoringFallback{f}
	}
	return f
}

// fallbackPause is how long a model that failed is left alone.
const fallbackPause = 30 * time.Second

// fallback is a chain of models.
type fallback struct {
	inner // the first
	links []*link
}

// link is a model of a chain.
type link struct {
	Client
	now  func() time.Time
	warn func(error)

	mu    sync.Mutex
	until time.Time // left alone until then
}

// begin says whether the model may be asked. After a failure one call at a time finds out whether it works again.
func (l *link) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if now.Before(l.until) {
		return false
	}
	if !l.until.IsZero() {
		l.until = now.Add(fallbackPause)
	}
	return true
}

type restKey struct{}

// errResting is the error of a call that is not made because its model is left alone, and has no reply in the cache.
var errResting = errors.New("left alone because it failed")

// rested is the layer inside the cache that makes no call for a model that is left alone.
func rested(next Handler) Handler {
	return func(ctx context.Context, call Call) (Reply, error) {
		if ctx.Value(restKey{}) != nil {
			return Reply{}, &Error{Kind: ErrUnavailable, Unsent: true, Err: errResting}
		}
		return next(ctx, call)
	}
}

// ended notes whether the model works.
func (l *link) ended(works bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until = (time.Time{}); !works {
		l.until = l.now().Add(fallbackPause)
	}
}

// Chat implements Client.
func (f *fallback) Chat(ctx context.Context, req Request) (Response, error) {
	var used Usage
	var last error
	for i, l := range f.links {
		final := i == len(f.links)-1
		asked, rests := ctx, !final && !l.begin()
		if rests {
			asked = context.WithValue(ctx, restKey{}, true)
		}
		resp, err := l.Chat(asked, req)
		if errors.Is(err, errResting) {
			continue
		}
		failed := err != nil && ctx.Err() == nil && replaceable(err)
		if !final && !rests && ctx.Err() == nil {
			l.ended(!failed)
		}
		resp.Usage = after(used, resp.Usage)
		if !failed || final {
			if err == nil && i > 0 {
				resp.Model = l.Model()
			}
			if err != nil && last != nil {
				err = fmt.Errorf("%w (in place of another: %v)", err, last)
			}
			return resp, err
		}
		l.warn(errKind(err))
		used, last = resp.Usage, err
	}
	panic("unreachable: the last model is always asked")
}

// replaceable says whether a call that failed for good with err may succeed with another model at other endpoints. A wrong key is no such
// failure: it is to be seen.
func replaceable(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrRateLimited) || errors.Is(err, ErrQuota)
}

// errKind is the kind of an Error, which says nothing of the prompt; else err.
func errKind(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return err
}

// after is the usage of one call that several models were asked for in turn.
func after(before, last Usage) Usage {
	u := before.Add(last)
	u.Calls, u.Failed, u.Cached = last.Calls, last.Failed, last.Cached
	return u
}

// Bound implements Bounder.
func (f *fallback) Bound(req Request) Bound {
	return f.highest(func(b Bounder) Bound { return b.Bound(req) })
}

// ScoreBound implements Bounder. Only the first model scores.
func (f *fallback) ScoreBound(reqs []ScoreRequest) Bound {
	return f.links[0].Client.(Bounder).ScoreBound(reqs)
}

func (f *fallback) highest(bound func(Bounder) Bound) (out Bound) {
	for _, l := range f.links {
		b := bound(l.Client.(Bounder))
		out = Bound{max(out.In, b.In), max(out.Out, b.Out), max(out.Dollars, b.Dollars)}
	}
	return out
}

// scoringFallback is a chain whose first model can score.
type scoringFallback struct{ *fallback }

// Score implements Scorer.
func (f scoringFallback) Score(ctx context.Context, reqs []ScoreRequest) ([]Score, Usage, error) {
	return f.Client.(Scorer).Score(ctx, reqs)
}
