package router

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestConfigSet(t *testing.T) {
	c := Default()
	for _, s := range []string{"seed=7", "lambda_max = 0.5", "align=false"} {
		if err := c.Set(s); err != nil {
			t.Error(err)
		}
	}
	want := Default()
	want.Seed, want.LambdaMax, want.Align = 7, 0.5, false
	if c != want {
		t.Errorf("settings %+v, want %+v", c, want)
	}
	for _, s := range []string{"seed", "sed=7", "seed=x", "seed=1.5", `align="no"`, "seed=1} {", "=1"} {
		if err := c.Set(s); err == nil || c != want {
			t.Errorf("%q was taken (%v)", s, err)
		}
	}
}

func TestPresets(t *testing.T) {
	for _, c := range []Config{Default(), Paper()} {
		if err := c.Check(); err != nil {
			t.Errorf("preset %+v: %v", c, err)
		}
	}
	for _, s := range []string{"epochs=-1", "batch=1", "minibatch=33", "passes=0", "learning_rate=0", "clip=0", "value_clip=-1", "lambda_min=2", "in_flight=0", "max_grad_norm=0"} {
		c := Default()
		if err := c.Set(s); err != nil {
			t.Fatal(err)
		}
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), "out of range") {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// Without epochs set, as many are played as make enough updates.
func TestEpochsFollowTheQuestions(t *testing.T) {
	for questions, want := range map[int]int{2: 120, 60: 60, 120: 30, 129: 24, 1000: 4, 100_000: 1} {
		if got := Default().For(questions).Epochs; got != want {
			t.Errorf("%d questions: %d epochs, want %d", questions, got, want)
		}
	}
	if got := Paper().For(120).Epochs; got != 7 {
		t.Errorf("the published settings play %d epochs", got)
	}
}

// The ends of the range are drawn an eighth of the time each, the middle evenly.
func TestLambdaSampling(t *testing.T) {
	c := Default()
	c.LambdaMin, c.LambdaMax = 0.2, 0.6
	rng := rand.New(rand.NewPCG(1, 1))
	const n = 80_000
	ends, below := [2]int{}, 0
	for range n {
		switch l := c.DrawLambda(rng); {
		case l == 0.2:
			ends[0]++
		case l == 0.6:
			ends[1]++
		case l < 0.2 || l > 0.6:
			t.Fatalf("λ %v", l)
		case l < 0.3:
			below++
		}
	}
	for i, got := range []int{ends[0], ends[1], below * 2 / 3} { // a quarter of three quarters lies below 0.3
		if got < n/8-500 || got > n/8+500 {
			t.Errorf("count %d is %d, expected about %d", i, got, n/8)
		}
	}
	c.LambdaMin = c.LambdaMax
	if c.DrawLambda(rng) != 0.6 {
		t.Error("a fixed λ was not kept")
	}
}
