package run_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/experiments/report"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/internal/sealed"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// evaluate runs c and writes its report.
func evaluate(ctx context.Context, c run.Config) (report.Summary, error) {
	o, err := run.Run(ctx, c)
	if o == nil {
		return report.Summary{}, err
	}
	s, werr := report.Write(o)
	return s, errors.Join(err, werr)
}

func TestRun(t *testing.T) {
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	defer server.Close()
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: server.URL()})
	dir := filepath.Join(t.TempDir(), "runs", "one")
	c := runtest.Config(dir, m)
	var seen []run.Progress
	c.Progress = func(p run.Progress) { seen = append(seen, p) }
	s, err := evaluate(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	// 12 questions, of which 9 have evidence and so a ceiling.
	if s.Questions != 12 || s.Total != 12*5+9 || s.Done != s.Total || s.Failed != 0 {
		t.Errorf("%d questions, %d of %d done, %d failed", s.Questions, s.Done, s.Total, s.Failed)
	}
	if last := seen[len(seen)-1]; last.Done != s.Total || last.Paid <= 0 || last.Dollars < last.Paid {
		t.Errorf("last progress %+v", last)
	}
	if s.Ceiling.Score.Mean != 1 || s.Ceiling.Score.N != 9 {
		t.Errorf("the gold evidence names the city, yet the ceiling is %+v", s.Ceiling.Score)
	}
	ps := runtest.ReadPredictions(t, dir)
	if len(ps) != s.Total {
		t.Fatalf("%d predictions, want %d", len(ps), s.Total)
	}
	var in, out int
	for _, p := range ps {
		if p.Error != "" || p.Scores["locomo-f1"] != p.Scores["hotpot"] || len(p.Scores) != 7 || p.Policy != run.Gold && len(p.Asked) != 5 {
			t.Errorf("prediction %+v", p)
		}
		if p.Policy != run.Gold && (p.Evidence == nil) != strings.HasSuffix(p.ID, "q1") {
			t.Errorf("evidence of %s: %+v", p.ID, p.Evidence)
		}
		in, out = in+p.Cost.In, out+p.Cost.Out
	}
	for i, r := range s.Policies {
		if r.Policy != runtest.Policies[i] || r.Score.N != 12 || r.DollarsMean <= 0 || r.In <= 0 || r.RecallN != 9 || (r.Versus == nil) != (r.Policy == "low") {
			t.Errorf("result %+v", r)
		}
		if diff := r.Dollars - r.ModulesDollars - r.AnswerDollars; diff > 1e-12 || diff < -1e-12 {
			t.Errorf("%s: %v dollars are not the sum of %v and %v", r.Policy, r.Dollars, r.ModulesDollars, r.AnswerDollars)
		}
	}
	// The random policy draws by the run's seed and the question alone.
	kinds := map[string]bool{}
	for _, p := range ps {
		if p.Policy == "random" {
			kinds[strings.Join(p.Asked, ",")] = true
		}
	}
	if len(kinds) < 8 {
		t.Errorf("the random policy used %d assignments for 12 questions", len(kinds))
	}

	var table bytes.Buffer
	if err := s.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"test-model", "endpoint", "ceiling (gold evidence)", "locomo-f1", "recall@3", "random", "odd"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, table.String())
		}
	}
	report, err := os.ReadFile(s.Report)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(report, []byte("<b>Really</b>")) || !bytes.Contains(report, []byte("&lt;b&gt;Really")) {
		t.Error("the report does not escape what turns say")
	}
	for _, bad := range []string{"<script src", "<link", "@import"} {
		if bytes.Contains(report, []byte(bad)) {
			t.Errorf("the report loads something from elsewhere: %s", bad)
		}
	}

	// The same again asks nothing and changes nothing.
	calls := server.Count()
	before, _ := os.ReadFile(filepath.Join(dir, "predictions.jsonl"))
	if s, err = evaluate(context.Background(), c); err != nil || s.Paid != 0 || server.Count() != calls {
		t.Errorf("second run: %v, paid %v, %d new calls", err, s.Paid, server.Count()-calls)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, "predictions.jsonl")); !bytes.Equal(before, after) {
		t.Error("the second run changed predictions.jsonl")
	}
	// A larger run keeps what is there; other settings are refused.
	c.Questions, c.Policies = 6, []string{"low"}
	if s, err = evaluate(context.Background(), c); err != nil || server.Count() != calls || s.Questions != 6 {
		t.Errorf("a smaller run: %v, %d new calls, %d questions", err, server.Count()-calls, s.Questions)
	}
	c.Seed, c.TopK = 43, 2
	if _, err = evaluate(context.Background(), c); err == nil || !strings.Contains(err.Error(), "seed was 42 and is now 43; top_k was 3 and is now 2") {
		t.Errorf("other settings: %v", err)
	}
}

// Answers that an earlier version of the program gave stay, and the table says so.
func TestRunOfAnotherVersionWarns(t *testing.T) {
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	defer server.Close()
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: server.URL()})
	c := runtest.Config(t.TempDir(), m)
	c.Policies = []string{"low"}
	for _, commit := range []string{"", run.Commit(), "0123abc"} {
		if path := filepath.Join(c.Dir, "config.json"); commit != "" {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if data, err = sealed.OpenFile(data); err != nil {
				t.Fatal(err)
			}
			// Without a checksum, as earlier versions wrote it.
			if err := os.WriteFile(path, bytes.ReplaceAll(data, []byte(run.Commit()), []byte(commit)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		s, err := evaluate(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		warned := len(s.Warnings) == 1 && strings.Contains(s.Warnings[0], "0123abc")
		if other := commit == "0123abc"; warned != other || !other && len(s.Warnings) > 0 {
			t.Errorf("begun by %q: warnings %q", commit, s.Warnings)
		}
	}
}

// A run whose config was changed, or is gone, is refused with the reason: its answers would be taken for those of other settings.
func TestRunRefusesADamagedConfig(t *testing.T) {
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	defer server.Close()
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: server.URL()})
	c := runtest.Config(t.TempDir(), m)
	c.Policies = []string{"low"}
	if _, err := evaluate(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(c.Dir, "config.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(data, []byte(`"top_k": 3`), []byte(`"top_k": 7`), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := evaluate(context.Background(), c); !errors.Is(err, sealed.ErrFileDamaged) || !strings.Contains(err.Error(), path) {
		t.Errorf("a changed config: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := evaluate(context.Background(), c); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("no config: %v", err)
	}
}

func TestRunRefuses(t *testing.T) {
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: "http://127.0.0.1:1/v1"})
	for want, change := range map[string]func(*run.Config){
		"Memory is required":    func(c *run.Config) { c.Memory = nil },
		"want train, valid":     func(c *run.Config) { c.Split = "dev" },
		"name at least one":     func(c *run.Config) { c.Policies = nil },
		"always part of a run":  func(c *run.Config) { c.Policies = []string{"gold"} },
		"\"low\" is named":      func(c *run.Config) { c.Policies = []string{"low", "low,low,low,low,low"} },
		"it has low, mid, high": func(c *run.Config) { c.Policies = []string{"best"} },
	} {
		c := runtest.Config(filepath.Join(t.TempDir(), "x"), m)
		change(&c)
		if _, err := evaluate(context.Background(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if _, err := os.Stat(c.Dir); err == nil {
			t.Errorf("%s: a folder was made all the same", want)
		}
	}
}

// A failed question is no wrong answer: it is recorded, left out of the means, and asked again by the next start.
func TestFailedQuestionIsRetriedAndNeverZero(t *testing.T) {
	var mu sync.Mutex
	broken := true
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply, Script: func(c llmtest.Call) llmtest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if broken && strings.Contains(c.Body, "Person2 move in history 1") && strings.Contains(c.Body, "Answer from the notes") {
			return llmtest.Fault{Kind: llmtest.Status, Status: 400}
		}
		return llmtest.Fault{}
	}})
	defer server.Close()
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: server.URL()})
	c := runtest.Config(t.TempDir(), m)
	s, err := evaluate(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if s.Failed != 6 || s.Done != s.Total {
		t.Errorf("%d failed, %d of %d done; want 6 failed", s.Failed, s.Done, s.Total)
	}
	for _, r := range s.Policies {
		if r.Score.N != 11 || r.Failed != 1 {
			t.Errorf("%s: mean over %d, %d failed; want 11 and 1", r.Policy, r.Score.N, r.Failed)
		}
	}
	failed := 0
	for _, p := range runtest.ReadPredictions(t, c.Dir) {
		if p.Error != "" {
			failed++
			if p.Scores != nil {
				t.Errorf("a failed question has scores: %+v", p)
			}
			if p.Policy == "high" && p.Cost.ModulesDollars == 0 {
				t.Error("what the failed question's modules cost is lost")
			}
		}
	}
	if failed != 6 {
		t.Errorf("%d failures in the predictions, want 6", failed)
	}
	mu.Lock()
	broken = false
	mu.Unlock()
	calls := server.Count()
	if s, err = evaluate(context.Background(), c); err != nil || s.Failed != 0 || s.Policies[0].Score.N != 12 {
		t.Errorf("next start: %v, %d failed", err, s.Failed)
	}
	if n := server.Count() - calls; n == 0 || n > 6 {
		t.Errorf("the next start made %d calls, want those 6 answers at most", n)
	}
}

// Cancelling stops the run with its files written and no question marked as failed, and the next start goes on.
func TestCancelledRunGoesOn(t *testing.T) {
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply, Latency: 5 * time.Millisecond})
	defer server.Close()
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: server.URL()})
	c := runtest.Config(t.TempDir(), m)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.Progress = func(p run.Progress) {
		if p.Done == 10 {
			cancel()
		}
	}
	s, err := evaluate(ctx, c)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "start it again to continue") {
		t.Errorf("error %v, want context.Canceled and what to do", err)
	}
	if s.Done < 10 || s.Done == s.Total || s.Failed != 0 || len(runtest.ReadPredictions(t, c.Dir)) != s.Done {
		t.Errorf("%d of %d done, %d failed, %d predictions", s.Done, s.Total, s.Failed, len(runtest.ReadPredictions(t, c.Dir)))
	}
	if _, err := os.Stat(s.Report); err != nil {
		t.Error(err)
	}
	if s, err = evaluate(context.Background(), c); err != nil || s.Done != s.Total || s.Failed != 0 {
		t.Errorf("next start: %v, %d of %d done, %d failed", err, s.Done, s.Total, s.Failed)
	}
}

// A fault of every third call, 64 questions in flight: every question is answered, and no dollar is spent past the limit.
func TestFaultyEndpoint(t *testing.T) {
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply, Script: llmtest.Mixed(7, 0.3), Latency: 20 * time.Millisecond})
	defer server.Close()
	dir := t.TempDir()
	s := runtest.Rig{URL: server.URL(), Dir: t.TempDir(), Timeout: 500 * time.Millisecond, Retry: llm.Retry{Attempts: 30, Base: 5 * time.Millisecond, MaxInterval: 50 * time.Millisecond}}
	m, _, closeAll, err := runtest.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	c := runtest.Config(dir, m)
	c.Dataset, c.InFlight, c.Policies = runtest.Tiny{Histories: 8, Each: 8}, 64, []string{"low", "high"}
	sum, err := evaluate(context.Background(), c)
	closeAll()
	if err != nil || sum.Failed != 0 || sum.Done != sum.Total || sum.Total != 2*64+56 {
		t.Fatalf("%v: %d failed, %d of %d done", err, sum.Failed, sum.Done, sum.Total)
	}
	if p := server.Peak(); p < 40 {
		t.Errorf("at most %d calls at one time: this did not test 64 questions in flight", p)
	}
	faults := 0
	for _, call := range server.Calls() {
		if call.Fault.Kind != llmtest.None {
			faults++
		}
	}
	if share := float64(faults) / float64(server.Count()); share < 0.25 || share > 0.35 {
		t.Errorf("%.2f of the calls met a fault, want about 0.3", share)
	}
	full := cost(server)

	// Now with money for a third of it: the run stops, and the bill is within the limit.
	server2 := llmtest.New(llmtest.Config{Reply: runtest.Reply, Script: llmtest.Mixed(7, 0.3), Latency: 20 * time.Millisecond})
	defer server2.Close()
	s.URL, s.Dir, s.Limit = server2.URL(), t.TempDir(), full/3
	m, ledger, closeAll, err := runtest.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll()
	c.Dir, c.Memory = t.TempDir(), m
	sum, err = evaluate(context.Background(), c)
	if !errors.Is(err, llm.ErrBudget) {
		t.Fatalf("error %v, want the spend limit's", err)
	}
	if billed := cost(server2); billed > s.Limit || billed == 0 {
		t.Errorf("billed %v dollars of a limit of %v", billed, s.Limit)
	}
	// What can have been spent stays within the limit, and comes near it: it stopped for no other reason.
	if b := ledger.Balance(); b.Spent+b.Uncertain > s.Limit || b.Spent+b.Uncertain < 0.8*s.Limit {
		t.Errorf("the ledger holds %+v", b)
	}
	if sum.Failed != 0 || sum.Done == 0 || sum.Done == sum.Total {
		t.Errorf("a spend limit fails no question: %d failed, %d of %d done", sum.Failed, sum.Done, sum.Total)
	}
	for _, p := range runtest.ReadPredictions(t, c.Dir) {
		if p.Error != "" {
			t.Errorf("question %s under %s: %s", p.ID, p.Policy, p.Error)
		}
	}
}

// cost is what the server bills at the prices of system.
func cost(s *llmtest.Server) float64 {
	in, out := s.Billed()
	return llm.Price{In: 1, Out: 2}.Dollars(in, out)
}
