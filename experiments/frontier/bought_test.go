package frontier

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
)

// Of combinations within the price the best is chosen on one half of the questions and measured on the other: where a dearer reader is
// better this is its advantage, and where all are alike it is nothing on average, although the best in hindsight is above the cheapest.
func TestWhatMoneyBuys(t *testing.T) {
	f := answersFile("validation", 300, 1)
	b, err := WhatMoneyBuys(f, BoughtOptions{Times: 25, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	var dollars []float64
	for _, c := range b.Policies {
		dollars = append(dollars, c.Dollars)
	}
	best, cheapest := b.Policies[b.Best], b.Policies[0]
	if len(b.Policies) != 10 || !slices.IsSorted(dollars) || !cheapest.Pareto || cheapest.Versus.Mean != 0 || best.Name != "high,high" && best.Name != "low,high" && !strings.HasPrefix(best.Name, "cascade") {
		t.Errorf("%+v", b)
	}
	if math.Abs(cheapest.Dollars-1.1e-5) > 1e-12 || b.Gain.N != 300 || math.Abs(b.Gain.Mean-(best.Score.Mean-cheapest.Score.Mean)) > 0.05 || b.Gain.Low <= 0 {
		t.Errorf("gain %+v, best %+v, cheapest %+v", b.Gain, best, cheapest)
	}
	var text strings.Builder
	if err := b.WriteTable(&text); err != nil || !strings.Contains(text.String(), b.String()) || !strings.Contains(b.String(), "25 times the price of low,low (11.00 µ$ a question)") {
		t.Errorf("%v\n%s", err, text.String())
	}
	// Twice the price reaches the mid reader, which is no better than the low one.
	gains := 0.0
	for seed := range uint64(6) {
		b, err := WhatMoneyBuys(answersFile("validation", 60, seed), BoughtOptions{Times: 2.1, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		if best := b.Policies[b.Best]; best.Dollars > 2.1*priceTolerance*b.Policies[0].Dollars {
			t.Errorf("%s costs %v, more than twice the cheapest", best.Name, best.Dollars)
		}
		gains += b.Gain.Mean / 6
	}
	if math.Abs(gains) > 0.06 {
		t.Errorf("choosing among equals gains %v on average", gains)
	}
}

// What is free has no multiple: the price is that of the cheapest policy that costs something.
func TestWhatMoneyBuysAboveWhatIsFree(t *testing.T) {
	f := answersFile("validation", 100, 1)
	for i, e := range f.Episodes {
		if e.Choices[0] == 0 && e.Choices[1] == 0 {
			f.Episodes[i].ModulesDollars, f.Episodes[i].AnswerDollars = 0, 0
		}
	}
	b, err := WhatMoneyBuys(f, BoughtOptions{Times: 25, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if free, base := b.Policies[0], b.Policies[b.Base]; free.Dollars != 0 || b.Base == 0 || base.Dollars <= 0 || b.Policies[b.Best].Dollars <= base.Dollars {
		t.Errorf("base %+v, best %+v", base, b.Policies[b.Best])
	}
	if !strings.Contains(b.String(), "25 times the price of "+b.Policies[b.Base].Name) {
		t.Error(b)
	}
	// Nor does one count that costs next to nothing and scores less than what is free.
	for i, e := range f.Episodes {
		if e.Choices[0] == 0 && e.Choices[1] == 1 {
			f.Episodes[i].ModulesDollars, f.Episodes[i].AnswerDollars, f.Episodes[i].Score = 0, 1e-9, 0
		}
	}
	if b, err = WhatMoneyBuys(f, BoughtOptions{Times: 25, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	if base := b.Policies[b.Base]; base.Name == "low,mid" || !base.Pareto {
		t.Errorf("base %+v", base)
	}
	// Where nothing that costs is worth it, the sentence says so.
	for i, e := range f.Episodes {
		if e.Outcome().Dollars > 0 {
			f.Episodes[i].Score = 0
		}
	}
	if b, err = WhatMoneyBuys(f, BoughtOptions{Times: 25, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	if s := b.String(); !strings.HasPrefix(s, "Nothing up to 25 times the price of low,mid") || !strings.Contains(s, "scores above low,low for 0.00 µ$") {
		t.Error(s)
	}
}

// Of policies at one price the one that scores most is on the frontier.
func TestWhatMoneyBuysAtOnePrice(t *testing.T) {
	f := answersFile("validation", 60, 1)
	for i, e := range f.Episodes {
		f.Episodes[i].ModulesDollars, f.Episodes[i].AnswerDollars = 0, 1e-6
		f.Episodes[i].Score = float64(e.Choices[0]+e.Choices[1]) / 4
	}
	b, err := WhatMoneyBuys(f, BoughtOptions{Times: 1, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range b.Policies {
		if !p.Cascade && p.Pareto != (i == b.Base) || p.Score.Mean > b.Policies[b.Base].Score.Mean {
			t.Errorf("%d: %s scores %v, frontier %t; base %d", i, p.Name, p.Score.Mean, p.Pareto, b.Base)
		}
	}
}

func TestWhatMoneyBuysRefuses(t *testing.T) {
	f := answersFile("validation", 5, 1)
	for _, times := range []float64{0.5, -1, math.NaN(), math.Inf(1)} {
		if _, err := WhatMoneyBuys(f, BoughtOptions{Times: times, Seed: 1}); err == nil || !strings.Contains(err.Error(), "at least 1") {
			t.Errorf("%v times the cheapest: %v", times, err)
		}
	}
	f.Episodes = f.Episodes[:1]
	if _, err := WhatMoneyBuys(f, BoughtOptions{Times: 3, Seed: 1}); err == nil || !strings.Contains(err.Error(), "two are needed") {
		t.Errorf("one combination: %v", err)
	}
}

// A cascade whose signals tell right answers from wrong ones is on the frontier: it earns more than its cheap answer and costs less than
// the dear one. Without signals there is none.
func TestWhatMoneyBuysByCascades(t *testing.T) {
	f := answersFile("validation", 400, 5)
	b, err := WhatMoneyBuys(f, BoughtOptions{Times: 25, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(b.Policies, func(p Priced) bool { return strings.HasPrefix(p.Name, "cascade") && p.Pareto })
	if i < 0 || b.Policies[i].Versus.Low <= 0 {
		t.Errorf("no cascade is on the frontier: %+v", b.Policies)
	}
	for i := range f.Episodes {
		f.Episodes[i].AnswerSignals = nil
	}
	if b, err = WhatMoneyBuys(f, BoughtOptions{Times: 25, Seed: 1}); err != nil || len(b.Policies) != 6 {
		t.Errorf("without signals: %v, %+v", err, b)
	}
}

// Who names signals asks for cascades: it is said why there are none. Without names there is then a table without them.
func TestWhatMoneyBuysByNamedSignals(t *testing.T) {
	full, few, gaps, fixed := answersFile("validation", 60, 5), answersFile("validation", 10, 5), answersFile("validation", 60, 5), answersFile("validation", 60, 5)
	gaps.Episodes = slices.DeleteFunc(gaps.Episodes, func(e router.Episode) bool { return e.Choices[1] == 2 && e.ID == "validation7" })
	fixed.Space = router.Space{fixed.Space[0], {Name: "filter", Tiers: fixed.Space[1].Tiers}}
	for want, f := range map[string]*episodes.File{"no answer has the signal \"typo\"": full, "too few": few, "every question": gaps, "one way of answering": fixed} {
		signals := []string{"logprob_mean"}
		if f == full {
			signals = append(signals, "typo")
		}
		if _, err := WhatMoneyBuys(f, BoughtOptions{Times: 25, Seed: 1, Signals: signals}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if b, err := WhatMoneyBuys(f, BoughtOptions{Times: 25, Seed: 1}); err != nil || (b.Routed != nil) != (f == full) {
			t.Errorf("%s: without names %+v, %v", want, b, err)
		}
	}
	b, err := WhatMoneyBuys(full, BoughtOptions{Times: 25, Seed: 1, Signals: []string{"logprob_mean"}})
	if err != nil || b.Routed == nil {
		t.Errorf("%+v, %v", b, err)
	}
}

// What is measured on a history's questions is chosen on others', or on its other questions where there is only one.
func TestCascadesAreChosenOnOtherHistories(t *testing.T) {
	f := answersFile("validation", 200, 5)
	for _, n := range []int{1, 2} {
		for i, e := range f.Episodes {
			name := e.ID[strings.LastIndexByte(e.ID, '/')+1:]
			f.Episodes[i].ID = fmt.Sprintf("h%d/%s", len(name)%n, name)
		}
		b, err := WhatMoneyBuys(f, BoughtOptions{Times: 25, Seed: 1})
		if err != nil || b.Routed == nil {
			t.Fatalf("%d histories: %v, %+v", n, err, b)
		}
		if want := map[int]string{1: "other questions", 2: "other histories"}[n]; b.Routed.Histories != n || !strings.Contains(b.Routed.String(), want) {
			t.Errorf("%d histories: %d, %s", n, b.Routed.Histories, b.Routed)
		}
	}
}
