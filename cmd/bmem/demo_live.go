package main

import (
	"cmp"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/kernel/display"
	"github.com/budgetmem/budgetmem/router"
)

// liveCheck compares answers asked now with those of the traces.
type liveCheck struct {
	Model     string   `json:"model"`
	Questions int      `json:"questions"`
	Tiers     []string `json:"tiers"`
	Answers   int      `json:"answers"`
	// Scores and Costs count the answers whose score, and whose dollars, are those of the trace.
	Scores int `json:"same_scores"`
	Costs  int `json:"same_costs"`
	// Live and Traced are means over the answers.
	LiveScore     float64 `json:"live_score"`
	TracedScore   float64 `json:"traced_score"`
	LiveDollars   float64 `json:"live_dollars"`
	TracedDollars float64 `json:"traced_dollars"`
	// Differs says in what the system differs from that of the traces; "" if its settings are the same.
	Differs string       `json:"system_differs,omitempty"`
	Rows    []liveAnswer `json:"rows"`
}

// liveAnswer is one question at one choice of tiers.
type liveAnswer struct {
	ID            string  `json:"id"`
	Question      string  `json:"question"`
	Tier          string  `json:"tier"`
	LiveScore     float64 `json:"live_score"`
	TracedScore   float64 `json:"traced_score"`
	LiveDollars   float64 `json:"live_dollars"`
	TracedDollars float64 `json:"traced_dollars"`
}

// live asks test questions at every uniform tier, and writes live.json.
func (f *demoFlags) live(cmd *cobra.Command) (check *liveCheck, err error) {
	if err := f.system(); err != nil {
		return nil, err
	}
	n := f.bench.questions
	f.bench.questions = 0 // every question of the split can be asked
	sys, cfg, err := f.bench.open(cmd, "", f.bench.split)
	if err != nil {
		return nil, err
	}
	defer closing(sys, &err)
	live, err := run.NewLive(cmd.Context(), cfg)
	if err != nil {
		return nil, err
	}
	defer closing(live, &err)
	traced := f.files[run.TestSplit]
	check = &liveCheck{Model: sys.Client.Model(), Tiers: traced.Space.Uniform(), Differs: episodes.Difference(traced.Header, live.Header())}
	ids := cheapFirst(traced.IDs(), live.History, tracedDollars(traced))
	if check.Rows, err = tracedAnswers(traced, ids[:min(n, len(ids))]); err != nil {
		return nil, err
	}
	bar := display.ProgressTo(cmd.ErrOrStderr(), "live answers")
	g, ctx := errgroup.WithContext(cmd.Context())
	g.SetLimit(cfg.InFlight)
	var mu sync.Mutex
	done := 0
	for i := range check.Rows {
		g.Go(func() error {
			row := &check.Rows[i]
			p, err := router.Parse(row.Tier, traced.Space, 0)
			if err != nil {
				return err
			}
			e, err := live.Ask(ctx, row.ID, p)
			if err != nil {
				return err
			}
			row.LiveScore, row.LiveDollars = e.Score, e.Outcome().Dollars
			mu.Lock()
			defer mu.Unlock()
			done++
			bar.Set(done, len(check.Rows), "")
			return nil
		})
	}
	err = g.Wait()
	bar.End(err)
	if err != nil {
		return nil, err
	}
	check.count()
	return check, atomicfile.WriteJSON(filepath.Join(f.dir(), "live.json"), check)
}

// cheapFirst sorts ids: those with the history of the first id before the others, since every further history has to be embedded, and of
// these the ones that cost least, which check as much in less time.
func cheapFirst(ids []string, history func(id string) string, dollars map[string]float64) []string {
	elsewhere := func(id string) int {
		if history(id) == history(ids[0]) {
			return 0
		}
		return 1
	}
	return slices.SortedStableFunc(slices.Values(ids), func(a, b string) int {
		return cmp.Or(cmp.Compare(elsewhere(a), elsewhere(b)), cmp.Compare(dollars[a], dollars[b]))
	})
}

// tracedDollars is what the answers at uniform tiers cost by question.
func tracedDollars(f *episodes.File) map[string]float64 {
	out := map[string]float64{}
	for _, e := range f.Episodes {
		if len(slices.Compact(slices.Clone(e.Choices))) == 1 {
			out[e.ID] += e.Outcome().Dollars
		}
	}
	return out
}

// tracedAnswers lists what the traces have for the questions ids at the uniform tiers.
func tracedAnswers(f *episodes.File, ids []string) ([]liveAnswer, error) {
	var out []liveAnswer
	for _, id := range ids {
		for _, tier := range f.Space.Uniform() {
			choices, err := f.Space.Choices(slices.Repeat([]string{tier}, len(f.Space)))
			if err != nil {
				return nil, err
			}
			i := slices.IndexFunc(f.Episodes, func(e router.Episode) bool { return e.ID == id && slices.Equal(e.Choices, choices) })
			if i < 0 {
				continue // this question was not traced at this tier
			}
			e := f.Episodes[i]
			out = append(out, liveAnswer{ID: id, Question: e.Question, Tier: tier, TracedScore: e.Score, TracedDollars: e.Outcome().Dollars})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the test traces of %s have no answer at a uniform tier (%s), which live answers could be compared with", f.Dataset, strings.Join(f.Space.Uniform(), ", "))
	}
	return out, nil
}

// count fills in the counts and means.
func (c *liveCheck) count() {
	questions := map[string]bool{}
	c.Answers = len(c.Rows)
	for _, r := range c.Rows {
		questions[r.ID] = true
		if equal(r.LiveScore, r.TracedScore) {
			c.Scores++
		}
		if equal(r.LiveDollars, r.TracedDollars) {
			c.Costs++
		}
		n := float64(c.Answers)
		c.LiveScore, c.TracedScore = c.LiveScore+r.LiveScore/n, c.TracedScore+r.TracedScore/n
		c.LiveDollars, c.TracedDollars = c.LiveDollars+r.LiveDollars/n, c.TracedDollars+r.TracedDollars/n
	}
	c.Questions = len(questions)
}

// equal compares up to rounding.
func equal(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b)) }

// String is the check in one sentence, and the reason for what differs.
func (c *liveCheck) String() string {
	s := fmt.Sprintf("Live: %d of these questions at %s, answered by %s: %d of %d scores and %d of %d costs are those of the traces (mean score %.3f, traced %.3f; %.1f µ$, traced %.1f µ$).",
		c.Questions, strings.Join(c.Tiers, ", "), c.Model, c.Scores, c.Answers, c.Costs, c.Answers, c.LiveScore, c.TracedScore, 1e6*c.LiveDollars, 1e6*c.TracedDollars)
	if c.Differs != "" {
		s += "\nThe traces come from other settings, so answers may differ: " + c.Differs
	}
	return s
}

// fault is an error if the system is that of the traces and too few answers agree.
func (c *liveCheck) fault() error {
	if c.Differs != "" || 3*c.Scores >= 2*c.Answers {
		return nil
	}
	return fmt.Errorf("only %d of %d live scores are those of the traces, although model, prompts and settings are the same: the model's arithmetic on this machine gives other answers, so do not use these traces for it (live.json has the answers)", c.Scores, c.Answers)
}
