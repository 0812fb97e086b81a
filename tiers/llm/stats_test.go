package llm

import (
	"errors"
	"sync"
	"testing"
	"time"
)

func TestStatsPercentiles(t *testing.T) {
	var s Stats
	var wg sync.WaitGroup
	for i := 100; i > 0; i-- {
		wg.Go(func() { s.count("m", Usage{Calls: 1, In: 2}, time.Duration(i)*time.Millisecond, nil) })
	}
	wg.Wait()
	s.count("m", Usage{Calls: 1, Cached: 1}, time.Hour, nil) // a cached reply says nothing about the model's speed
	s.count("m", Usage{}, time.Hour, errors.New("over budget"))
	s.count("a", Usage{Calls: 1, Failed: 1}, time.Millisecond, errors.New("no"))
	got := s.Snapshot()
	if len(got) != 2 || got[0].Model != "a" || got[1].Model != "m" {
		t.Fatalf("%+v, want models a and m", got)
	}
	m := got[1]
	if m.P50 != 50 || m.P95 != 95 || m.Calls != 101 || m.Cached != 1 || m.In != 200 || m.Errors != 1 || m.Failed != 0 {
		t.Errorf("%+v", m)
	}
	if total := s.Total(); total.Calls != 102 || total.Failed != 1 {
		t.Errorf("total %+v", total)
	}
	for range latencyWindow { // pushes all the old ones out
		s.count("m", Usage{Calls: 1}, 7*time.Millisecond, nil)
	}
	if m := s.Snapshot()[1]; m.P50 != 7 || m.P95 != 7 {
		t.Errorf("after %d more calls: %+v", latencyWindow, m)
	}
}
