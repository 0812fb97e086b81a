package router

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
)

var space = Space{
	{Name: "filter", Tiers: []string{"low", "mid", "high"}},
	{Name: "entity", Tiers: []string{"low", "mid", "high"}},
	{Name: "summary", Tiers: []string{"low", "high"}},
}

func decide(t *testing.T, p Policy, question string) []int {
	t.Helper()
	out := make([]int, len(space))
	for m := range space {
		i, err := p.Decide(context.Background(), State{Question: question, Module: m})
		if err != nil {
			t.Fatal(err)
		}
		out[m] = i
	}
	return out
}

func TestParseStatic(t *testing.T) {
	tests := []struct {
		spec, name string
		want       []int
	}{
		{"low", "low", []int{0, 0, 0}},
		{"high", "high", []int{2, 2, 1}},
		{"mid, low,high", "mid,low,high", []int{1, 0, 1}},
		{"high,high,high", "high", []int{2, 2, 1}},
	}
	for _, tt := range tests {
		p, err := Parse(tt.spec, space, 0)
		if err != nil {
			t.Fatal(err)
		}
		if p.Name() != tt.name {
			t.Errorf("%q: name %q, want %q", tt.spec, p.Name(), tt.name)
		}
		if got := decide(t, p, "q"); fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%q: tiers %v, want %v", tt.spec, got, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for spec, want := range map[string]string{
		"":             `no tier ""`,
		"best":         "it has low, mid, high",
		"low,low":      "names 2 tiers",
		"low,low,mid":  `module summary has no tier "mid"`,
		"low,mid,rand": `"rand"`,
	} {
		if _, err := Parse(spec, space, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) = %v, want an error with %q", spec, err, want)
		}
	}
	if _, err := NewStatic(space, []int{0, 0, 2}); err == nil {
		t.Error("NewStatic took a tier that the module does not have")
	}
}

func TestRandom(t *testing.T) {
	const n = 30000
	p := NewRandom(space, 7)
	var counts [3][3]int
	var joint [3][3]int // filter × entity: independence
	differ := 0
	for i := range n {
		q := fmt.Sprintf("conv-%d:%d", i%10, i)
		d := decide(t, p, q)
		for m, tier := range d {
			counts[m][tier]++
		}
		joint[d[0]][d[1]]++
		if fmt.Sprint(d) != fmt.Sprint(decide(t, p, q)) {
			t.Fatalf("question %s drew two different answers", q)
		}
		if fmt.Sprint(d) != fmt.Sprint(decide(t, NewRandom(space, 8), q)) {
			differ++
		}
	}
	for m := range space {
		k := len(space[m].Tiers)
		p := 1 / float64(k)
		sd := math.Sqrt(n * p * (1 - p))
		for tier, c := range counts[m][:k] {
			if math.Abs(float64(c)-n*p) > 5*sd {
				t.Errorf("module %d tier %d drawn %d times of %d, expected %.0f ± %.0f", m, tier, c, n, n*p, sd)
			}
		}
	}
	sd := math.Sqrt(n * (1.0 / 9) * (8.0 / 9))
	for i := range joint {
		for j, c := range joint[i] {
			if math.Abs(float64(c)-n/9.0) > 5*sd {
				t.Errorf("tiers %d,%d together %d times, expected %.0f ± %.0f", i, j, c, n/9.0, sd)
			}
		}
	}
	if want := n * (1 - 1.0/18); math.Abs(float64(differ)-want) > 5*math.Sqrt(n/18.0) {
		t.Errorf("another seed gave other tiers for %d of %d questions, expected about %.0f", differ, n, want)
	}
}
