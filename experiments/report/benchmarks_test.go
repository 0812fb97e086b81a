package report

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// benchmark is some test questions of a data set, with a model that knows the answer to every second of them.
type benchmark struct {
	datasets.Dataset
	chosen    []datasets.Question
	questions map[string]datasets.Question // by text
	right     map[string]bool              // by id
}

func (b *benchmark) Test(context.Context) ([]datasets.Question, error) { return b.chosen, nil }

// opened are the data sets that tests have read: unpacking one takes seconds.
var opened sync.Map

func openBenchmark(t *testing.T, name string, n int) *benchmark {
	t.Helper()
	testenv.Slow(t, "unpacks a whole data set")
	open, _ := opened.LoadOrStore(name, sync.OnceValues(func() (datasets.Dataset, error) { return datasets.Open(name, datasets.Options{}) }))
	d, err := open.(func() (datasets.Dataset, error))()
	if err != nil {
		t.Fatal(err)
	}
	all, err := d.Test(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := run.Choose(all, n, 42, run.Balanced)
	if err != nil {
		t.Fatal(err)
	}
	b := &benchmark{Dataset: d, chosen: chosen, questions: map[string]datasets.Question{}, right: map[string]bool{}}
	if i := slices.IndexFunc(all, func(q datasets.Question) bool { return q.Abstention }); i >= 0 {
		b.chosen = append(b.chosen, all[i])
	}
	for i, q := range b.chosen {
		text := strings.Join(strings.Fields(q.Text), " ")
		b.questions[text], b.right[q.ID] = q, i%2 == 0
	}
	return b
}

// asked returns the question that a prompt is about.
func (b *benchmark) asked(prompt string) (datasets.Question, bool) {
	for text, q := range b.questions {
		if strings.Contains(prompt, "Question: "+text) {
			return q, true
		}
	}
	return datasets.Question{}, false
}

func (b *benchmark) reply(c llmtest.Call) string {
	prompt := c.Messages[len(c.Messages)-1].Content
	q, known := b.asked(prompt)
	switch {
	case !strings.Contains(prompt, "Answer from the notes above"):
		return `<answer>["something"]</answer>`
	case !known || !b.right[q.ID]:
		return "Well. <answer>xyzzy</answer>"
	}
	return "It must be this: <answer>" + q.Gold[0] + "</answer> I am sure."
}

// run asks the questions under one policy and returns what came of it, with the calls for answers.
func (b *benchmark) run(t *testing.T, policy string, topK int) (Summary, []run.Prediction, []llmtest.Call) {
	t.Helper()
	server := llmtest.New(llmtest.Config{Reply: b.reply})
	t.Cleanup(server.Close)
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: server.URL(), ChunkTokens: b.ChunkTokens()})
	c := runtest.Config(t.TempDir(), m)
	c.Dataset, c.Policies, c.TopK = b, []string{policy}, topK
	s, err := evaluate(context.Background(), c)
	if err != nil || s.Failed > 0 {
		t.Fatalf("%v, %d failed", err, s.Failed)
	}
	return s, runtest.ReadPredictions(t, c.Dir), slices.DeleteFunc(server.Calls(), func(c llmtest.Call) bool {
		return !strings.Contains(c.Messages[len(c.Messages)-1].Content, "Answer from the notes above")
	})
}

// When everything is retrieved, all evidence and all its sessions are found; else neither more nor less than the trace says.
func TestEvidenceOfTheBenchmarks(t *testing.T) {
	for _, name := range []string{"longmemeval", "hotpotqa", "hotpotqa-200"} {
		b := openBenchmark(t, name, 2)
		s, _, _ := b.run(t, "low", 100_000)
		if r := s.Policies[0]; r.RecallN == 0 || r.RecallRetrieved != 1 || r.SessionsN == 0 || r.SessionsRecallAll != 1 || r.SessionsNDCG <= 0 || r.SessionsNDCG > 1 {
			t.Errorf("%s: everything is retrieved, yet %+v", name, r)
		}
	}
}

func TestHotpotOfficialScores(t *testing.T) {
	for _, name := range []string{"hotpotqa", "hotpotqa-200"} {
		b := openBenchmark(t, name, 4)
		s, predictions, calls := b.run(t, "high", 5)
		for _, c := range calls {
			if prompt := c.Messages[len(c.Messages)-1].Content; !strings.Contains(prompt, "inside <answer> tags") {
				t.Errorf("%s: the prompt does not ask for answer tags: %s", name, prompt)
			}
		}
		for _, p := range predictions {
			want := 0.0
			if b.right[p.ID] {
				want = 1
			}
			if p.Scores["hotpot"] != want || p.Scores["hotpot.em"] != want || p.Scores["locomo-f1"] != want {
				t.Errorf("%s: %q for %q scores %v, want %v", name, p.Prediction, p.Gold, p.Scores, want)
			}
			if p.Policy != run.Gold && (p.Evidence == nil || p.Sessions == nil || p.Sessions.Wanted != 2) {
				t.Errorf("%s %s: evidence %+v, documents %+v", name, p.ID, p.Evidence, p.Sessions)
			}
		}
		if r := s.Policies[0]; r.Scores["hotpot.em"] != 0.5 || r.Score.Mean != 0.5 || len(r.ByCategory) != 2 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestLongMemEvalDatesAndTypes(t *testing.T) {
	b := openBenchmark(t, "longmemeval", 6)
	s, predictions, calls := b.run(t, "low", 5)
	if len(s.Categories) != 6 {
		t.Errorf("types %q", s.Categories)
	}
	dated := map[string]bool{}
	for _, c := range calls {
		prompt := c.Messages[len(c.Messages)-1].Content
		q, known := b.asked(prompt)
		if !known || q.Date == "" || !strings.Contains(prompt, "Today's date: "+q.Date+"\n") {
			t.Errorf("the prompt lacks the date %q of its question:\n%s", q.Date, prompt)
		}
		dated[q.ID] = true
	}
	abstentions := 0
	for _, p := range predictions {
		if p.Abstention != strings.HasSuffix(p.ID, "_abs") {
			t.Errorf("%s: abstention %v", p.ID, p.Abstention)
		}
		if p.Abstention {
			abstentions++
			if p.Sessions != nil {
				t.Errorf("%s counts in the retrieval of sessions: %+v", p.ID, p.Sessions)
			}
		} else if p.Policy != run.Gold && p.Sessions == nil {
			t.Errorf("%s does not count in the retrieval of sessions", p.ID)
		}
		if want := b.right[p.ID]; want != (p.Scores["locomo-f1"] > 0.9) && len(strings.Fields(p.Gold[0])) < 25 {
			t.Errorf("%s: %q for %q scores %v", p.ID, p.Prediction, p.Gold, p.Scores["locomo-f1"])
		}
	}
	if len(dated) != 7 || abstentions == 0 {
		t.Errorf("%d questions were asked with a date, %d to abstain from", len(dated), abstentions)
	}
	r := s.Policies[0]
	if r.Score.N != 7 || math.Abs(r.Score.Mean-r.Scores["locomo-f1"]) > 1e-12 || s.Run.Metric != "locomo-f1" {
		t.Errorf("metric %s: %+v", s.Run.Metric, r.Score)
	}
}
