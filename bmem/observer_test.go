package bmem

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// seen is an Observer that notes what it is told.
type seen struct {
	mu    sync.Mutex
	steps map[string][]tiers.Step
	errs  map[string]error
	open  int
}

type seenKey struct{}

func (s *seen) Begin(ctx context.Context, step string) (context.Context, func(tiers.Step, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if outer, _ := ctx.Value(seenKey{}).(string); (outer == "") != (step == StepAsk) || outer != "" && outer != StepAsk {
		panic(step + " begins within " + outer)
	}
	s.open++
	return context.WithValue(ctx, seenKey{}, step), func(t tiers.Step, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
		s.steps[step] = append(s.steps[step], t)
		s.errs[step] = errors.Join(s.errs[step], err)
	}
}

func TestObserver(t *testing.T) {
	ctx := t.Context()
	broken := errors.New("the model is gone")
	fail := false
	s := &seen{}
	reset := func() { s.steps, s.errs = map[string][]tiers.Step{}, map[string]error{} }
	reset()
	client := &llmtest.Client{Reply: func(ctx context.Context, _ llm.Request) (string, error) {
		if step, _ := ctx.Value(seenKey{}).(string); step != tiers.Answering.String() {
			return "", errors.New("asked within " + step)
		}
		if fail {
			return "", broken
		}
		return "Bern", nil
	}}
	m := open(t, Options{Tiers: fakes(nil), Client: client, Observer: s})
	if _, err := m.Add(ctx, DefaultMemory, talk); err != nil {
		t.Fatal(err)
	}
	a, err := m.Ask(ctx, "Where does Ann live?", WithTiers("low,mid,low,low,high"))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{StepAsk, StepRetrieve, "filter", "entity", "temporal", "topic", "summary", "answer"} {
		if len(s.steps[step]) != 1 || s.errs[step] != nil {
			t.Errorf("%s: %+v, %v", step, s.steps[step], s.errs[step])
		}
	}
	if got := s.steps["entity"][0]; got.Asked != "mid" || got.Served != "mid" || got.Usage.In != 10 {
		t.Errorf("entity was seen as %+v", got)
	}
	if got := s.steps[StepAsk][0]; got.Usage != a.Trace.Usage() || got.Method != a.Trace.Policy {
		t.Errorf("the question was seen as %+v, want %+v", got, a.Trace.Usage())
	}

	reset()
	var policies []router.Policy
	for _, tier := range []int{0, 0} {
		p, err := router.NewStatic(m.Space(), slices.Repeat([]int{tier}, len(m.Space())))
		if err != nil {
			t.Fatal(err)
		}
		policies = append(policies, p)
	}
	if _, err := m.AskEach(ctx, "Where does Ann live?", policies); err != nil {
		t.Fatal(err)
	}
	if len(s.steps[StepAsk]) != 1 || len(s.steps["filter"]) != 1 || len(s.steps["answer"]) != 2 {
		t.Errorf("asked under two policies: %+v", s.steps)
	}

	reset()
	fail = true
	if _, err := m.Ask(ctx, "Where does Ann live?"); !errors.Is(err, broken) || !errors.Is(s.errs[StepAsk], broken) || !errors.Is(s.errs["answer"], broken) {
		t.Errorf("%v, seen as %v", err, s.errs)
	}
	if _, err := m.AskFrom(ctx, "Where does Ann live?", talk); !errors.Is(err, broken) || len(s.steps[StepAsk]) != 2 {
		t.Errorf("%v, seen %d times", err, len(s.steps[StepAsk]))
	}
	if s.open != 0 {
		t.Errorf("%d steps have not ended", s.open)
	}
}

// BenchmarkUnobserved is what observing costs a step where nobody observes.
func BenchmarkUnobserved(b *testing.B) {
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		_, end := begin(ctx, nil, StepAsk)
		end(tiers.Step{}, nil)
	}
}

func TestUnobservedAllocatesNothing(t *testing.T) {
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		_, end := begin(ctx, nil, StepAsk)
		end(tiers.Step{}, nil)
	}); n != 0 {
		t.Errorf("%v allocations where nobody observes, want none", n)
	}
}
