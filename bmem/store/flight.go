package store

import (
	"context"
	"sync"
)

// flights marks the keys whose values are being computed now, so that no two goroutines compute the same. The zero value is ready.
type flights struct {
	mu     sync.Mutex
	landed map[string]chan struct{}
}

// claim takes the keys that nobody computes yet; the caller must release them. busy holds a channel for each other key, closed when
// its computation has ended, well or badly.
func (f *flights) claim(keys []string) (mine []string, busy []<-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.landed == nil {
		f.landed = map[string]chan struct{}{}
	}
	for _, key := range keys {
		if ch, ok := f.landed[key]; ok {
			busy = append(busy, ch)
			continue
		}
		f.landed[key] = make(chan struct{})
		mine = append(mine, key)
	}
	return mine, busy
}

// release gives claimed keys back.
func (f *flights) release(keys []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range keys {
		close(f.landed[key])
		delete(f.landed, key)
	}
}

// wait returns when all the channels are closed or the context is done.
func wait(ctx context.Context, busy []<-chan struct{}) error {
	for _, ch := range busy {
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
