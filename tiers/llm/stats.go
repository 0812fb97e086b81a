package llm

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"gonum.org/v1/gonum/stat"
)

// latencyWindow is how many of the latest calls of a model the percentiles are taken over.
const latencyWindow = 4096

// Stats counts calls per model. Safe for concurrent use; the zero value is ready.
type Stats struct {
	mu     sync.Mutex
	models map[string]*tally
}

type tally struct {
	usage  Usage
	errors int
	window []float64 // ms of calls that were made, not answered from the cache; a ring once full
	next   int
}

// ModelStats is what was counted of one model.
type ModelStats struct {
	Model string `json:"model"`
	Usage
	Errors int     `json:"errors"` // Chats and Scores that returned an error, those that were never sent included
	P50    float64 `json:"p50_ms"` // median wall time of the latest 4096 calls that were made, with retries and waits
	P95    float64 `json:"p95_ms"`
}

// Wrap returns c with its calls counted in s. Place it outermost, so that replies from the cache are counted as such.
func (s *Stats) Wrap(c Client) Client { return asClient(&counted{inner{c}, s}) }

type counted struct {
	inner
	stats *Stats
}

func (c *counted) Chat(ctx context.Context, req Request) (Response, error) {
	start := time.Now()
	resp, err := c.Client.Chat(ctx, req)
	c.stats.count(c.Model(), resp.Usage, time.Since(start), err)
	return resp, err
}

func (c *counted) score(ctx context.Context, next Scorer, reqs []ScoreRequest) ([]Score, Usage, error) {
	start := time.Now()
	scores, usage, err := next.Score(ctx, reqs)
	c.stats.count(c.Model(), usage, time.Since(start), err)
	return scores, usage, err
}

func (s *Stats) count(model string, u Usage, took time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.models[model]
	if t == nil {
		if s.models == nil {
			s.models = map[string]*tally{}
		}
		t = &tally{}
		s.models[model] = t
	}
	t.usage = t.usage.Add(u)
	if err != nil {
		t.errors++
	}
	if u.Calls == 0 || u.Cached > 0 {
		return
	}
	ms := float64(took) / float64(time.Millisecond)
	if len(t.window) < latencyWindow {
		t.window = append(t.window, ms)
	} else {
		t.window[t.next] = ms
		t.next = (t.next + 1) % latencyWindow
	}
}

// Snapshot returns the counts so far, sorted by model.
func (s *Stats) Snapshot() []ModelStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]ModelStats, 0, len(s.models))
	for _, model := range slices.Sorted(maps.Keys(s.models)) {
		t := s.models[model]
		m := ModelStats{Model: model, Usage: t.usage, Errors: t.errors}
		if len(t.window) > 0 {
			ms := slices.Sorted(slices.Values(t.window))
			m.P50 = stat.Quantile(0.5, stat.Empirical, ms, nil)
			m.P95 = stat.Quantile(0.95, stat.Empirical, ms, nil)
		}
		out = append(out, m)
	}
	return out
}

// Total is the sum over all models.
func (s *Stats) Total() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var u Usage
	for _, t := range s.models {
		u = u.Add(t.usage)
	}
	return u
}
