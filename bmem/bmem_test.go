package bmem

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// fake is a tier that does what run says and reports what it read.
type fake struct {
	name string
	run  func(ctx context.Context, in tiers.Input) (tiers.Output, error)
}

func (f fake) Name() string                                            { return f.name }
func (f fake) WorstCase(context.Context, tiers.Input) (float64, error) { return 0, nil }
func (f fake) Run(ctx context.Context, in tiers.Input) (tiers.Output, error) {
	out, err := f.run(ctx, in)
	out.Step.Asked = f.name
	if out.Step.Served == "" {
		out.Step.Served = f.name
	}
	return out, err
}

// fakes builds a set whose tiers say which they are. Each call costs 10 tokens in.
func fakes(change func(*tiers.Set)) func(tiers.Deps) (tiers.Set, error) {
	usage := tiers.Step{Method: "fake", Usage: llm.Usage{Calls: 1, In: 10, Dollars: 0.5}}
	return func(tiers.Deps) (tiers.Set, error) {
		var set tiers.Set
		for _, name := range []string{"low", "mid", "high"} {
			set[tiers.Filter] = append(set[tiers.Filter], fake{name, func(_ context.Context, in tiers.Input) (tiers.Output, error) {
				return tiers.Output{Kept: in.Items[:min(in.TopK, len(in.Items))], Step: usage}, nil
			}})
			for _, m := range []tiers.Module{tiers.Entity, tiers.Temporal, tiers.Topic} {
				set[m] = append(set[m], fake{name, func(_ context.Context, in tiers.Input) (tiers.Output, error) {
					return tiers.Output{Facts: []string{m.String() + " by " + name}, Step: usage}, nil
				}})
			}
			set[tiers.Summary] = append(set[tiers.Summary], fake{name, func(_ context.Context, in tiers.Input) (tiers.Output, error) {
				all := append(append(append([]string{name}, in.Entity...), in.Temporal...), in.Topic...)
				return tiers.Output{Text: strings.Join(all, "; "), Step: usage}, nil
			}})
		}
		if change != nil {
			change(&set)
		}
		return set, nil
	}
}

// echo answers with the first line of its prompt, which is the summary's.
var echo = &llmtest.Client{Reply: func(_ context.Context, req llm.Request) (string, error) {
	last := strings.TrimPrefix(req.Messages[len(req.Messages)-1].Content, "Notes:\n")
	first, _, _ := strings.Cut(last, "\n")
	return first, nil
}}

var talk = []chunk.Turn{
	{ID: "1:1", Session: "1", Time: "3 May 2024", Speaker: "Ann", Text: "I moved to Bern last week with my cat."},
	{ID: "1:2", Session: "1", Time: "3 May 2024", Speaker: "Bob", Text: "Nice, I am still looking for a flat."},
	{ID: "2:1", Session: "2", Time: "9 June 2024", Speaker: "Ann", Text: "The piano arrived and the neighbours complain."},
	{ID: "3:1", Session: "3", Time: "1 July 2024", Speaker: "Bob", Text: "I found a flat near the river in Basel."},
}

func open(t *testing.T, o Options) *Memory {
	t.Helper()
	e := &embedtest.Words{}
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "memory.db")
	}
	if o.Embedder == nil {
		o.Embedder, o.Tokenizer = e, e
	}
	if o.Client == nil {
		o.Client = echo
	}
	if o.Tiers == nil {
		o.Tiers = fakes(nil)
	}
	m, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func TestAsk(t *testing.T) {
	ctx := context.Background()
	m := open(t, Options{})
	if _, err := m.Add(ctx, "talk", talk); err != nil {
		t.Fatal(err)
	}
	a, err := m.Ask(ctx, "Where did Ann move with her cat?", WithMemory("talk"), WithTopK(2), WithKeepK(1),
		WithTiers("low,high,mid,low,high"), WithQuestionDate("2 August 2024"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "high; entity by high; temporal by mid; topic by low"; a.Text != want {
		t.Errorf("answer %q, want %q", a.Text, want)
	}
	if want := []string{"1:1", "1:2"}; !reflect.DeepEqual(a.Evidence, want) {
		t.Errorf("evidence %v, want %v", a.Evidence, want)
	}
	tr := a.Trace
	var asked []string
	for _, s := range tr.Modules {
		asked = append(asked, s.Module+"="+s.Asked)
	}
	if got := strings.Join(asked, " "); got != "filter=low entity=high temporal=mid topic=low summary=high" {
		t.Errorf("trace of modules: %s", got)
	}
	if len(tr.Retrieved) != 2 || len(tr.Kept) != 1 || tr.Policy != "low,high,mid,low,high" || tr.TopK != 2 || tr.Retrieval != "hybrid" {
		t.Errorf("trace %+v", tr)
	}
	if u := tr.ModuleUsage(); u.Calls != 5 || u.In != 50 || u.Dollars != 2.5 {
		t.Errorf("modules consumed %+v", u)
	}
	if u := tr.Usage(); u.Calls != 6 || tr.Answer.Usage.In == 0 {
		t.Errorf("the question consumed %+v, its answer %+v", u, tr.Answer.Usage)
	}
	if tr.Embedding.Texts != 1 || tr.MS() <= 0 || tr.WallMS <= 0 {
		t.Errorf("embedding %+v, %v ms, wall %v ms", tr.Embedding, tr.MS(), tr.WallMS)
	}
}

func TestAddTwiceEmbedsOnce(t *testing.T) {
	ctx := context.Background()
	e := &embedtest.Words{}
	path := filepath.Join(t.TempDir(), "memory.db")
	m := open(t, Options{Path: path, Embedder: e, Tokenizer: e})
	if _, err := m.Add(ctx, "talk", talk[:2]); err != nil {
		t.Fatal(err)
	}
	first := e.Embedded.Load()
	if _, err := m.Add(ctx, "talk", talk[:2]); err != nil {
		t.Fatal(err)
	}
	if n := e.Embedded.Load(); n != first || n == 0 {
		t.Errorf("adding the same again embedded %d texts after %d", n-first, first)
	}
	if _, err := m.Add(ctx, "talk", talk[2:]); err != nil {
		t.Fatal(err)
	}
	hits, err := m.Retrieve(ctx, "Who found a flat near the river?", WithMemory("talk"), WithTopK(1))
	if err != nil || len(hits) != 1 || hits[0].TurnIDs()[0] != "3:1" {
		t.Errorf("a turn added later is not found: %+v, %v", hits, err)
	}
	changed := talk[0]
	changed.Text = "I moved to Basel."
	if _, err := m.Add(ctx, "talk", []chunk.Turn{changed}); err == nil {
		t.Error("a turn took another's id")
	}
}

func TestErrors(t *testing.T) {
	ctx := context.Background()
	boom := errors.New("boom")
	m := open(t, Options{Tiers: fakes(func(s *tiers.Set) {
		s[tiers.Topic][2] = fake{"high", func(context.Context, tiers.Input) (tiers.Output, error) {
			return tiers.Output{Step: tiers.Step{Usage: llm.Usage{Calls: 3, Dollars: 7}}}, boom
		}}
	})})
	if _, err := m.Add(ctx, "talk", nil); !errors.Is(err, ErrNoTurns) {
		t.Errorf("adding nothing: %v", err)
	}
	if _, err := m.Add(ctx, "talk", talk); err != nil {
		t.Fatal(err)
	}
	in := WithMemory("talk")
	for name, tt := range map[string]struct {
		question string
		opts     []Option
		want     error
		text     string
	}{
		"unknown memory": {"Who?", []Option{WithMemory("walk")}, ErrNoMemory, `"walk"`},
		"no question":    {" \n", []Option{in}, ErrNoQuestion, ""},
		"unknown tier":   {"Who?", []Option{in, WithTiers("best")}, nil, "low, mid, high"},
		"unknown mode":   {"Who?", []Option{in, WithRetrieval("magic")}, nil, "magic"},
		"top 0":          {"Who?", []Option{in, WithTopK(0)}, nil, "at least 1"},
		"module fails":   {"Who?", []Option{in, WithTiers("high")}, boom, "topic at tier high: boom"},
	} {
		a, err := m.Ask(ctx, tt.question, tt.opts...)
		if err == nil || !strings.Contains(err.Error(), tt.text) || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v with %q", name, err, tt.want, tt.text)
		}
		if name == "module fails" {
			var step *StepError
			if !errors.As(err, &step) || step.Step != "topic" || step.Tier != "high" {
				t.Errorf("step error %+v", step)
			}
			if u := a.Trace.Usage(); u.Dollars < 7.5 {
				t.Errorf("the failed module's cost is lost: %+v", u)
			}
		}
	}
	if _, err := Open(ctx, Options{}); err == nil || !strings.Contains(err.Error(), "Options.Embedder is required") {
		t.Errorf("Open without options: %v", err)
	}
}

// The relation modules must run at the same time: each waits here for the two others.
func TestRelationsRunConcurrently(t *testing.T) {
	var all sync.WaitGroup
	all.Add(3)
	m := open(t, Options{Tiers: fakes(func(s *tiers.Set) {
		for _, mod := range []tiers.Module{tiers.Entity, tiers.Temporal, tiers.Topic} {
			s[mod][0] = fake{"low", func(ctx context.Context, _ tiers.Input) (tiers.Output, error) {
				all.Done()
				met := make(chan struct{})
				go func() { all.Wait(); close(met) }()
				select {
				case <-met:
					return tiers.Output{}, nil
				case <-time.After(5 * time.Second):
					return tiers.Output{}, errors.New("alone")
				}
			}}
		}
	})})
	if _, err := m.Add(context.Background(), DefaultMemory, talk); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Ask(context.Background(), "Who?"); err != nil {
		t.Fatal(err)
	}
}

func TestCancelEndsEverything(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	m := open(t, Options{Tiers: fakes(func(s *tiers.Set) {
		s[tiers.Entity][0] = fake{"low", func(ctx context.Context, _ tiers.Input) (tiers.Output, error) {
			cancel()
			<-ctx.Done()
			return tiers.Output{}, ctx.Err()
		}}
	})})
	if _, err := m.Add(ctx, DefaultMemory, talk); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Ask(ctx, "Who?"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

// spy decides low everywhere and keeps what it was shown.
type spy struct {
	mu     sync.Mutex
	states map[int][]float32
}

func (*spy) Name() string { return "spy" }
func (s *spy) Decide(ctx context.Context, st router.State) (int, error) {
	v, err := st.Memory(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states[st.Module] = v
	return 0, err
}

// The state of each decision: mean of the retrieved chunks, mean of the kept ones, mean of the lists' means.
func TestRouterStates(t *testing.T) {
	ctx := context.Background()
	for _, empty := range []bool{false, true} {
		m := open(t, Options{Tiers: fakes(func(s *tiers.Set) {
			facts := map[tiers.Module][]string{tiers.Entity: {"one two", "three"}, tiers.Topic: {"four"}}
			for _, mod := range []tiers.Module{tiers.Entity, tiers.Temporal, tiers.Topic} {
				s[mod][0] = fake{"low", func(context.Context, tiers.Input) (tiers.Output, error) {
					if empty {
						return tiers.Output{}, nil
					}
					return tiers.Output{Facts: facts[mod]}, nil
				}}
			}
		})})
		if _, err := m.Add(ctx, DefaultMemory, talk); err != nil {
			t.Fatal(err)
		}
		p := &spy{states: map[int][]float32{}}
		a, err := m.Ask(ctx, "Who found a flat?", WithPolicy(p), WithTopK(3), WithKeepK(2))
		if err != nil {
			t.Fatal(err)
		}
		hits, err := m.Retrieve(ctx, "Who found a flat?", WithTopK(3))
		if err != nil {
			t.Fatal(err)
		}
		mean := func(vs ...[]float32) []float32 {
			out := make([]float32, 64)
			for _, v := range vs {
				for i := range v {
					out[i] += v[i] / float32(len(vs))
				}
			}
			return out
		}
		kept := mean(hits[0].Vector, hits[1].Vector)
		summary := kept
		if !empty {
			v, _ := (&embedtest.Words{}).Embed(ctx, []string{"one two", "three", "four"})
			summary = mean(mean(v[0], v[1]), v[2])
		}
		want := map[int][]float32{0: mean(hits[0].Vector, hits[1].Vector, hits[2].Vector), 1: kept, 2: kept, 3: kept, 4: summary}
		for module, w := range want {
			for i := range w {
				if math.Abs(float64(w[i]-p.states[module][i])) > 1e-6 {
					t.Errorf("lists empty: %v, module %d: state %v, want %v", empty, module, p.states[module], w)
					break
				}
			}
		}
		if n := map[bool]int{false: 4, true: 1}[empty]; a.Trace.Embedding.Texts != n {
			t.Errorf("embedded %d texts, want %d", a.Trace.Embedding.Texts, n)
		}
	}
}

func TestAskFrom(t *testing.T) {
	var prompt string
	m := open(t, Options{Client: &llmtest.Client{Reply: func(_ context.Context, req llm.Request) (string, error) {
		prompt = req.Messages[len(req.Messages)-1].Content
		return "Bern", nil
	}}})
	a, err := m.AskFrom(context.Background(), "Where to?", []chunk.Turn{talk[0], talk[2]})
	if err != nil || a.Text != "Bern" || fmt.Sprint(a.Evidence) != "[1:1 2:1]" {
		t.Fatalf("%+v, %v", a, err)
	}
	want := "[3 May 2024] Ann said, \"I moved to Bern last week (the week before 3 May 2024) with my cat.\"\n[9 June 2024] Ann said, \"The piano arrived"
	if !strings.Contains(prompt, want) {
		t.Errorf("prompt\n%s\nlacks\n%s", prompt, want)
	}
}

// A reply from the cache counts with the time of its first call.
func TestLatencyCountsCachedReplies(t *testing.T) {
	tr := Trace{RetrievalMS: 1, Embedding: Embedding{MS: 2}, Answer: Call{Usage: llm.Usage{MS: 100, Cached: 1}}, Modules: []Module{
		{Module: "filter", Step: tiers.Step{MS: 3}},
		{Module: "entity", Step: tiers.Step{MS: 5}},
		{Module: "temporal", Step: tiers.Step{MS: 1, Usage: llm.Usage{Cached: 1, MS: 40}}},
		{Module: "summary", Step: tiers.Step{MS: 7}},
	}}
	if got := tr.MS(); got != 1+2+100+3+40+7 {
		t.Errorf("latency %v, want 153", got)
	}
	var starts []float64
	for _, s := range tr.Spans() {
		starts = append(starts, s.Start)
	}
	if want := []float64{0, 3, 6, 6, 46, 53}; !slices.Equal(starts, want) { // retrieve, the modules, answer
		t.Errorf("the steps start at %v, want %v", starts, want)
	}
}
