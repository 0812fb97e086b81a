package llm

import (
	"context"
	"fmt"
	"sync"
)

// flights lets concurrent callers that want the same result share one piece of work.
type flights[T any] struct {
	mu     sync.Mutex
	flying map[string]*flight[T]
}

type flight[T any] struct {
	done    chan struct{} // closed when value and err are set
	value   T
	err     error
	waiting int
	cancel  context.CancelFunc
}

// do returns what work returns. The work runs once for all callers that ask for key while it runs; joined is true for
// those that did not start it. It does not end with the context of the caller that started it, but when no caller is
// waiting any more: a reply in flight is not thrown away because one of several callers left.
func (f *flights[T]) do(ctx context.Context, key string, work func(context.Context) (T, error)) (value T, joined bool, err error) {
	f.mu.Lock()
	c, joined := f.flying[key]
	if !joined {
		wctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		c = &flight[T]{done: make(chan struct{}), cancel: cancel}
		if f.flying == nil {
			f.flying = map[string]*flight[T]{}
		}
		f.flying[key] = c
		go func() {
			defer cancel()
			c.value, c.err = work(wctx)
			f.mu.Lock()
			f.forget(key, c)
			f.mu.Unlock()
			close(c.done)
		}()
	}
	c.waiting++
	f.mu.Unlock()

	select {
	case <-c.done:
		return c.value, joined, c.err
	case <-ctx.Done():
	}
	f.mu.Lock()
	c.waiting--
	last := c.waiting == 0
	if last {
		f.forget(key, c) // later callers start new work
		c.cancel()
	}
	f.mu.Unlock()
	if !last {
		var none T
		return none, joined, context.Cause(ctx)
	}
	// The last caller to leave waits for the usage of the cancelled work.
	<-c.done
	if c.err != nil {
		return c.value, joined, fmt.Errorf("%w: %w", context.Cause(ctx), c.err)
	}
	return c.value, joined, nil
}

// forget removes c, if it is still the one under key.
func (f *flights[T]) forget(key string, c *flight[T]) {
	if f.flying[key] == c {
		delete(f.flying, key)
	}
}
