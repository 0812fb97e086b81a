package report

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/budgetmem/budgetmem/datasets/judge"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// grader is a judge's model: half right for odd histories, no verdict for h0-q0, right or wrong by the text for the rest.
func grader(_ context.Context, req llm.Request) (string, error) {
	text := req.Messages[0].Content
	switch {
	case strings.Contains(text, "Person0 move in history 0"):
		return "I would rather not say.", nil
	case strings.Contains(text, "in history 1"):
		return `{"explanation": "half", "score": 0.5}`, nil
	}
	return `{"explanation": "fits", "score": 1}`, nil
}

// judgeOf puts a judge on a model, with prices and a cache as a real one has.
func judgeOf(t *testing.T, name string, client llm.Client, cache *llm.Cache) *judge.Judge {
	t.Helper()
	prices := llm.DefaultPrices().Set(map[string]llm.Price{client.Model(): {In: 10, Out: 20}})
	stack, err := llm.Stack(client, llm.StackOptions{Prices: prices, Cache: cache, Retry: llm.Retry{Attempts: 1}})
	if err != nil {
		t.Fatal(err)
	}
	j, err := judge.New(name, stack)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// judged runs the tiny data set under "low" and "high".
func judged(t *testing.T, judges ...*judge.Judge) (run.Config, Summary) {
	t.Helper()
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	t.Cleanup(server.Close)
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: server.URL()})
	c := runtest.Config(t.TempDir(), m)
	c.Policies, c.Judges = []string{"low", "high"}, judges
	s, err := evaluate(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

func TestJudgesAreCountedApart(t *testing.T) {
	model := &llmtest.Client{Name: "judge-model", Reply: grader}
	c, s := judged(t, judgeOf(t, judge.Paper, model, nil))
	_, plain := judged(t)
	for i, r := range s.Policies {
		j := r.Judges[judge.Paper]
		// 12 questions: one verdict cannot be read, the four of history 1 are half right, the other seven right.
		if want := (4*0.5 + 7) / 11.0; j.Score.N != 11 || math.Abs(j.Score.Mean-want) > 1e-12 || j.Unreadable != 1 || j.Failed != 0 {
			t.Errorf("%s: %+v, want a mean of %v over 11 and one unreadable", r.Policy, j, want)
		}
		if r.Scores["judge-paper"] != j.Score.Mean || len(j.ByCategory) != 2 || (j.Versus == nil) != (r.Policy == "low") {
			t.Errorf("%s: scores %v, %+v", r.Policy, r.Scores, j)
		}
		if want := (j.ByCategory["even"].Mean + j.ByCategory["odd"].Mean) / 2; math.Abs(j.CategoriesMean-want) > 1e-12 {
			t.Errorf("%s: mean of categories %v, want %v", r.Policy, j.CategoriesMean, want)
		}
		// The answers cost the same with a judge as without, and the judge what its tokens cost.
		if r.Dollars != plain.Policies[i].Dollars || r.DollarsMean != plain.Policies[i].DollarsMean {
			t.Errorf("%s: $%v with a judge, $%v without", r.Policy, r.Dollars, plain.Policies[i].Dollars)
		}
		if want := (llm.Price{In: 10, Out: 20}).Dollars(j.Usage.In, j.Usage.Out); j.Usage.Calls != 12 || want == 0 || math.Abs(j.Usage.Dollars-want) > 1e-12 {
			t.Errorf("%s: judging cost %+v, want $%v", r.Policy, j.Usage, want)
		}
	}
	if math.Abs(s.Paid-plain.Paid) > 1e-12 || s.JudgePaid == 0 {
		t.Errorf("paid $%v and $%v for judging; $%v without", s.Paid, s.JudgePaid, plain.Paid)
	}
	for _, p := range runtest.ReadPredictions(t, c.Dir) {
		v, ok := p.Judged[judge.Paper]
		unreadable := p.ID == "h0-q0"
		if _, scored := p.Scores["judge-paper"]; !ok || unreadable == (v.Score != nil) || scored == unreadable {
			t.Errorf("%s %s: verdict %+v, scores %v", p.Policy, p.ID, v, p.Scores)
		}
		if unreadable && v.Explanation != "I would rather not say." {
			t.Errorf("the reply that cannot be read is lost: %+v", v)
		}
	}
	var table strings.Builder
	if err := s.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(s.Report)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"judge paper: model judge-model", "unreadable", "0.818"} {
		if !strings.Contains(table.String(), want) || !strings.Contains(string(page), want) {
			t.Errorf("table or report lacks %q:\n%s", want, &table)
		}
	}
}

// A judge may be added to a run that is there: no answer is asked for again. Verdicts that did not come are asked for by
// the next start, and those that are there are not.
func TestJudgeIsAddedAndResumed(t *testing.T) {
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	defer server.Close()
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: server.URL()})
	c := runtest.Config(t.TempDir(), m)
	c.Policies = []string{"low"}
	if _, err := evaluate(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	answers := server.Count()

	var left atomic.Int64
	left.Store(8)
	flaky := &llmtest.Client{Name: "judge-model", Reply: func(ctx context.Context, req llm.Request) (string, error) {
		if left.Add(-1) < 0 {
			return "", llm.ErrUnavailable
		}
		return grader(ctx, req)
	}}
	c.Judges = []*judge.Judge{judgeOf(t, judge.Paper, flaky, nil)}
	s, err := evaluate(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	// 12 answers and 9 ceilings to judge, of which 8 were.
	if got := s.Policies[0].Judges[judge.Paper].Failed + s.Ceiling.Judges[judge.Paper].Failed; got != 13 || s.Failed != 0 {
		t.Errorf("%d failed verdicts, %d failed answers; want 13 and 0", got, s.Failed)
	}
	left.Store(1000)
	calls := flaky.Calls()
	if s, err = evaluate(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	if n := flaky.Calls() - calls; n != 13 || s.Policies[0].Judges[judge.Paper].Failed != 0 || s.Policies[0].Judges[judge.Paper].Score.N != 11 {
		t.Errorf("%d verdicts asked for, want 13; result %+v", n, s.Policies[0].Judges[judge.Paper])
	}
	if server.Count() != answers {
		t.Errorf("judging made %d calls for answers", server.Count()-answers)
	}
	// A start without the judge keeps what it said; one with another model is refused.
	c.Judges = nil
	if s, err = evaluate(context.Background(), c); err != nil || s.Policies[0].Judges[judge.Paper].Score.N != 11 || s.Judges[judge.Paper].Model != "judge-model" {
		t.Errorf("without the judge: %v, %+v", err, s.Policies[0].Judges)
	}
	c.Judges = []*judge.Judge{judgeOf(t, judge.Paper, &llmtest.Client{Name: "other-model"}, nil)}
	if _, err = evaluate(context.Background(), c); err == nil || !strings.Contains(err.Error(), "judge paper was") {
		t.Errorf("another judging model: %v", err)
	}
	c.Judges = append(c.Judges, c.Judges[0])
	if _, err = evaluate(context.Background(), c); err == nil || !strings.Contains(err.Error(), "named twice") {
		t.Errorf("the judge twice: %v", err)
	}
}

// A spend limit that judging reaches ends the run, with every answer kept.
func TestJudgeStopsAtTheSpendLimit(t *testing.T) {
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	defer server.Close()
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: server.URL()})
	c := runtest.Config(t.TempDir(), m)
	c.Policies = []string{"low"}
	broke := &llmtest.Client{Name: "judge-model", Reply: func(context.Context, llm.Request) (string, error) { return "", llm.ErrBudget }}
	c.Judges = []*judge.Judge{judgeOf(t, judge.Paper, broke, nil)}
	c.InFlight = 1
	s, err := evaluate(context.Background(), c)
	if !errors.Is(err, llm.ErrBudget) || s.Failed != 0 || s.Done != 1 {
		t.Errorf("%v; %d done, %d failed", err, s.Done, s.Failed)
	}
	calls := server.Count()
	c.Judges = nil
	if s, err = evaluate(context.Background(), c); err != nil || s.Done != s.Total {
		t.Errorf("next start: %v, %d of %d", err, s.Done, s.Total)
	}
	for _, call := range server.Calls()[calls:] {
		if call.Repeat > 0 {
			t.Errorf("asked again: %s", call.Body)
		}
	}
}

// A judge's replies are cached as all others: the same run in another folder pays for none.
func TestVerdictsAreCached(t *testing.T) {
	cache, err := llm.OpenCache(filepath.Join(t.TempDir(), "replies.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	model := &llmtest.Client{Name: "judge-model", Reply: grader}
	first, _ := judged(t, judgeOf(t, judge.Mem0, model, cache))
	calls := model.Calls()
	second, s := judged(t, judgeOf(t, judge.Mem0, model, cache))
	if model.Calls() != calls || calls == 0 || s.JudgePaid != 0 {
		t.Errorf("%d calls, then %d more, for $%v", calls, model.Calls()-calls, s.JudgePaid)
	}
	a, _ := os.ReadFile(filepath.Join(first.Dir, "predictions.jsonl"))
	b, _ := os.ReadFile(filepath.Join(second.Dir, "predictions.jsonl"))
	if len(a) == 0 || string(a) != string(b) {
		t.Error("the predictions of the two runs differ")
	}
}

// Questions to abstain from count in the overall accuracy and have one of their own.
func TestAbstentionAccuracy(t *testing.T) {
	one, zero := 1.0, 0.0
	var records []run.Record
	for i, v := range []*float64{&one, &zero, &one, nil} {
		p := run.Prediction{ID: string(rune('a' + i)), Category: []string{"x", "y"}[i%2], Abstention: i >= 2, Gold: []string{"g"}, Judged: map[string]run.Verdict{judge.LongMemEval: {Score: v}}}
		if v != nil {
			p.Scores = map[string]float64{run.JudgeScore(judge.LongMemEval): *v}
		}
		records = append(records, run.Record{Prediction: p})
	}
	got := judgeResults(column{Column: run.Column{Records: records}}, 1)[judge.LongMemEval]
	if got.Score.N != 3 || math.Abs(got.Score.Mean-2.0/3) > 1e-12 || got.Abstention.N != 1 || got.Abstention.Mean != 1 || got.Unreadable != 1 || got.CategoriesMean != 0.5 {
		t.Errorf("%+v, abstention %+v", got, got.Abstention)
	}
}
