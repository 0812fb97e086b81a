package bmem

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// withReaders gives a set two tiers of answers: echo's, and one by a model that fails when it reads "boom".
func withReaders(s *tiers.Set) {
	loud := &llmtest.Client{Reply: func(ctx context.Context, req llm.Request) (string, error) {
		text, err := echo.Reply(ctx, req)
		if strings.Contains(text, "boom") {
			err = errors.New("too loud")
		}
		return strings.ToUpper(text), err
	}}
	s[tiers.Answering] = []tiers.Tier{tiers.Answerer{Client: echo}.Tier("plain"), tiers.Answerer{Client: loud, Samples: 2}.Tier("loud")}
}

// The answer's tier is decided last, on the notes; without an answer section there is no such decision.
func TestAnswerIsRouted(t *testing.T) {
	m := open(t, Options{Tiers: fakes(withReaders)})
	if _, err := m.Add(t.Context(), DefaultMemory, talk); err != nil {
		t.Fatal(err)
	}
	shape := m.Shape()
	if got := shape.Modules[len(shape.Modules)-1]; got.Name != "answer" || !slices.Equal(got.Tiers, []string{"plain", "loud"}) || !slices.Equal(shape.MemoryIndex, []int{0, 1, 1, 1, 2, 3}) {
		t.Errorf("shape %+v", shape)
	}
	var mu sync.Mutex // the lists are decided side by side
	var states []router.State
	p := decider(func(_ context.Context, s router.State) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		states = append(states, s)
		return 1, nil
	})
	a, err := m.Ask(t.Context(), "Where does Ann live?", WithPolicy(p))
	if err != nil || a.Text != "MID; ENTITY BY MID; TEMPORAL BY MID; TOPIC BY MID" {
		t.Fatalf("%q, %v", a.Text, err)
	}
	last := states[len(states)-1]
	notes, err := last.Memory(t.Context())
	want, _ := m.options.Embedder.Embed(t.Context(), []string{a.Trace.Summary})
	if err != nil || last.Module != 5 || len(states) != 6 || !reflect.DeepEqual(notes, want[0]) {
		t.Errorf("the answer is decided as module %d, the last of %d, %v", last.Module, len(states), err)
	}
	call, steps := a.Trace.Answer, a.Trace.Steps()
	if call.Asked != "loud" || call.Served != "loud" || len(call.Draws) == 0 || !strings.Contains(call.Method, "minimum Bayes risk") || len(steps) != 6 || steps[5].Module != "answer" {
		t.Errorf("traced %+v", call)
	}
	if u := a.Trace.Usage(); u.Calls != 6 || len(a.Trace.Modules) != 5 {
		t.Errorf("%d calls, %d modules", u.Calls, len(a.Trace.Modules))
	}
	for spec, want := range map[string]string{"low/loud": "LOW", "high/plain": "high", "low,mid,high,low,low,plain": "low"} {
		a, err := m.Ask(t.Context(), "Where does Ann live?", WithTiers(spec))
		if err != nil || !strings.HasPrefix(a.Text, want+";") && !strings.HasPrefix(a.Text, want+"; ") {
			t.Errorf("%s: %q, %v", spec, a.Text, err)
		}
	}
	var step *StepError
	if _, err := m.Ask(t.Context(), "Where does Ann live?", WithPolicy(decider(func(context.Context, router.State) (int, error) { return 2, nil }))); !errors.As(err, &step) || step.Step != "answer" {
		t.Errorf("a tier that there is not: %v", err)
	}
	if got, err := m.AskFrom(t.Context(), "Where does Ann live?", talk[:1]); err != nil || got.Trace.Answer.Asked != "" {
		t.Errorf("from given turns: %+v, %v", got, err)
	}
	if _, err := Open(t.Context(), Options{Path: t.TempDir() + "/m.db", Embedder: m.options.Embedder, Tokenizer: m.options.Tokenizer, Client: echo, Tiers: fakes(withReaders), AnswerSamples: 3}); err == nil || !strings.Contains(err.Error(), "samples") {
		t.Errorf("samples beside an answer section: %v", err)
	}
}

// decider is a policy that decides as it says.
type decider func(context.Context, router.State) (int, error)

func (decider) Name() string                                              { return "decider" }
func (d decider) Decide(ctx context.Context, s router.State) (int, error) { return d(ctx, s) }

// Policies that differ in the answer's tier share the notes, and get what each would get by itself.
func TestAskEachSharesNotes(t *testing.T) {
	ran := 0
	m := open(t, Options{Tiers: fakes(func(s *tiers.Set) {
		withReaders(s)
		mid := s[tiers.Summary][1]
		s[tiers.Summary][1] = fake{"mid", func(ctx context.Context, in tiers.Input) (tiers.Output, error) {
			ran++
			return mid.Run(ctx, in)
		}}
	})})
	if _, err := m.Add(t.Context(), DefaultMemory, talk); err != nil {
		t.Fatal(err)
	}
	var policies []router.Policy
	for _, spec := range []string{"mid/plain", "mid/loud"} {
		p, err := router.Parse(spec, m.Space(), 0)
		if err != nil {
			t.Fatal(err)
		}
		policies = append(policies, p)
	}
	answers, err := m.AskEach(t.Context(), "Where does Ann live?", policies)
	if err != nil || ran != 1 {
		t.Fatalf("%v; the notes were made %d times", err, ran)
	}
	for i, p := range policies {
		alone, err := m.Ask(t.Context(), "Where does Ann live?", WithPolicy(p))
		got := answers[i]
		if err != nil || got.Err != nil || got.Text != alone.Text || got.Trace.Policy != p.Name() || got.Trace.Answer.Asked != alone.Trace.Answer.Asked ||
			got.Trace.Usage().Dollars != alone.Trace.Usage().Dollars || len(got.Trace.Modules) != 5 || !slices.Equal(got.Evidence, alone.Evidence) {
			t.Errorf("%s: together %+v\nalone %+v, %v", p.Name(), got, alone, err)
		}
		if cached := got.Trace.ModuleUsage().Cached; cached != 5*i {
			t.Errorf("%s: %d of the notes' calls count as cached", p.Name(), cached)
		}
	}
	if _, err := m.AskEach(t.Context(), "Where does Ann live?", policies, WithMaxCost(1)); err == nil {
		t.Error("a limit was taken")
	}
	// An answer that fails leaves the others.
	quiet, _ := router.Parse("mid/plain", m.Space(), 0)
	loud, _ := router.Parse("mid/loud", m.Space(), 0)
	m.set[tiers.Summary][1] = fake{"mid", func(context.Context, tiers.Input) (tiers.Output, error) { return tiers.Output{Text: "boom"}, nil }}
	answers, err = m.AskEach(t.Context(), "Where does Ann live?", []router.Policy{loud, quiet})
	if err != nil || answers[0].Err == nil || answers[1].Err != nil || answers[1].Text != "boom" {
		t.Errorf("%+v, %v", answers, err)
	}
	// Notes that fail leave none.
	m.set[tiers.Summary][1] = fake{"mid", func(context.Context, tiers.Input) (tiers.Output, error) {
		return tiers.Output{}, errors.New("no notes")
	}}
	answers, err = m.AskEach(t.Context(), "Where does Ann live?", []router.Policy{loud, quiet})
	if err == nil || len(answers) != 2 || len(answers[1].Trace.Modules) != 5 {
		t.Errorf("%+v, %v", answers, err)
	}
}

// cascading begins with the tier plain, and has loud answer too if it says so.
type cascading struct {
	decider
	next func(answered []router.Answered, dollars float64) (int, bool)
}

func (c cascading) Next(answered []router.Answered, dollars float64) (int, bool) {
	return c.next(answered, dollars)
}

// A policy that looks at answers has another tier answer too; the last is the answer, both are paid.
func TestCascade(t *testing.T) {
	m := open(t, Options{Tiers: fakes(withReaders)})
	if _, err := m.Add(t.Context(), DefaultMemory, talk); err != nil {
		t.Fatal(err)
	}
	first := decider(func(context.Context, router.State) (int, error) { return 0, nil })
	var seen []router.Answered
	a, err := m.Ask(t.Context(), "Where does Ann live?", WithPolicy(cascading{first, func(answered []router.Answered, dollars float64) (int, bool) {
		seen = answered
		if dollars != 2.5 { // of five modules, the answers are free
			t.Errorf("$%v so far", dollars)
		}
		return 1, true
	}}))
	if err != nil || !strings.HasPrefix(a.Text, "LOW; ENTITY BY LOW") {
		t.Fatalf("%q, %v", a.Text, err)
	}
	tr := a.Trace
	if len(tr.Drafts) != 1 || tr.Answer.Served != "loud" || tr.Drafts[0].Served != "plain" || tr.Drafts[0].Text == "" || tr.Answer.Text != "" {
		t.Errorf("answer %+v, drafts %+v", tr.Answer, tr.Drafts)
	}
	if tr.Usage().Calls != 7 || len(tr.Steps()) != 6 || tr.Steps()[5].Usage.Calls != 2 {
		t.Errorf("%d calls", tr.Usage().Calls)
	}
	if len(seen) != 1 || seen[0].Tier != 0 || seen[0].Signals[NotesTokens] == 0 {
		t.Errorf("the policy saw %+v", seen)
	}
	for name, p := range map[string]cascading{
		"enough": {first, func([]router.Answered, float64) (int, bool) { return 1, false }},
	} {
		if a, err := m.Ask(t.Context(), "Where does Ann live?", WithPolicy(p)); err != nil || a.Trace.Drafts != nil || a.Trace.Answer.Served != "plain" {
			t.Errorf("%s: %+v, %v", name, a.Trace, err)
		}
	}
	again := cascading{first, func([]router.Answered, float64) (int, bool) { return 0, true }}
	if _, err := m.Ask(t.Context(), "Where does Ann live?", WithPolicy(again)); err == nil || !strings.Contains(err.Error(), "wants tier 0") {
		t.Errorf("the same tier twice: %v", err)
	}
	// A tier that fails leaves the answer that there is.
	m.set[tiers.Summary][0] = fake{"low", func(context.Context, tiers.Input) (tiers.Output, error) { return tiers.Output{Text: "boom"}, nil }}
	a, err = m.Ask(t.Context(), "Where does Ann live?", WithPolicy(cascading{first, func([]router.Answered, float64) (int, bool) { return 1, true }}))
	if err != nil || a.Text != "boom" || len(a.Trace.Answer.Notes) != 1 || !strings.Contains(a.Trace.Answer.Notes[0], "too loud") {
		t.Errorf("%q, %+v, %v", a.Text, a.Trace.Answer, err)
	}
}
