package llm

import (
	"context"
	"github.com/budgetmem/budgetmem/internal/money"
	"math"
	"testing"
)

// Sums of what is spent stop at the largest amount instead of wrapping, and no money is free after that.
func TestSumsSaturate(t *testing.T) {
	l, err := NewLedger(1)
	if err != nil {
		t.Fatal(err)
	}
	held := make([]*reservation, 6)
	for i := range held {
		if held[i], err = l.reserve(context.Background(), "m", money.RoundUp(0.1)); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range held {
		h.settle(money.RoundUp(math.MaxFloat64), true)
	}
	b := l.Balance()
	if b.Spent <= 0 || b.Left() != 0 || b.Reserved != 0 || b.Overruns != 6 {
		t.Errorf("%+v", b)
	}
	if _, err := l.reserve(context.Background(), "m", 1); err != ErrBudget {
		t.Errorf("another reservation: %v, want a refusal", err)
	}
	for _, dollars := range []float64{math.NaN(), math.Inf(1), math.MaxFloat64} {
		if got := money.RoundUp(dollars); got != money.Most {
			t.Errorf("%v became %d", dollars, got)
		}
	}
	if got := money.RoundUp(-3); got != 0 {
		t.Errorf("-3 dollars became %d", got)
	}
	for _, tt := range [][3]int{{1, 2, 3}, {math.MaxInt, 1, math.MaxInt}, {math.MaxInt, math.MaxInt, math.MaxInt}, {math.MinInt, -1, math.MinInt}, {-5, 5, 0}, {5, -5, 0}, {0, 0, 0}} {
		if got := addCounts(tt[0], tt[1]); got != tt[2] {
			t.Errorf("%d + %d = %d, want %d", tt[0], tt[1], got, tt[2])
		}
	}
}
