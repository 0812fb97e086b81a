package frontier

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// Of combinations within the price the best is chosen on one half of the questions and measured on the other: where a dearer reader is
// better this is its advantage, and where all are alike it is nothing on average, although the best in hindsight is above the cheapest.
func TestWhatMoneyBuys(t *testing.T) {
	f := answersFile("validation", 300, 1)
	b, err := WhatMoneyBuys(f, 25, 1)
	if err != nil {
		t.Fatal(err)
	}
	var dollars []float64
	for _, c := range b.Combinations {
		dollars = append(dollars, c.Dollars)
	}
	best, cheapest := b.Combinations[b.Best], b.Combinations[0]
	if len(b.Combinations) != 6 || !slices.IsSorted(dollars) || !cheapest.Pareto || cheapest.Versus.Mean != 0 || best.Tiers[1] != "high" {
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
		b, err := WhatMoneyBuys(answersFile("validation", 60, seed), 2.1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if b.Combinations[b.Best].Tiers[1] == "high" {
			t.Errorf("%v costs more than twice the cheapest", b.Combinations[b.Best].Tiers)
		}
		gains += b.Gain.Mean / 6
	}
	if math.Abs(gains) > 0.06 {
		t.Errorf("choosing among equals gains %v on average", gains)
	}
}

func TestWhatMoneyBuysRefuses(t *testing.T) {
	f := answersFile("validation", 5, 1)
	if _, err := WhatMoneyBuys(f, 0.5, 1); err == nil || !strings.Contains(err.Error(), "at least 1") {
		t.Errorf("less than the cheapest: %v", err)
	}
	f.Episodes = f.Episodes[:1]
	if _, err := WhatMoneyBuys(f, 3, 1); err == nil || !strings.Contains(err.Error(), "two are needed") {
		t.Errorf("one combination: %v", err)
	}
}
