package offline

import (
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/router"
)

// Episodes with nothing to learn are said to be such, and ties go to the cheapest tiers.
func TestGain(t *testing.T) {
	at := func(score, dollars float64) router.Episode {
		return router.Episode{Score: score, ModulesDollars: dollars}
	}
	for name, c := range map[string]struct {
		episodes []router.Episode
		missing  string
	}{
		"both":               {[]router.Episode{at(0, 1), at(1, 2)}, ""},
		"no price":           {[]router.Episode{at(0, 0), at(1, 0)}, "all costs are 0"},
		"one price":          {[]router.Episode{at(0, 2), at(1, 2)}, "all costs are equal"},
		"one score":          {[]router.Episode{at(0.5, 1), at(0.5, 2)}, "nothing to learn about scores"},
		"neither":            {[]router.Episode{at(0, 0), at(0, 0)}, "nothing to learn: all scores are equal"},
		"no episodes at all": {nil, "nothing to learn"},
	} {
		missing := GainOf(c.episodes).Missing()
		if (missing == "") != (c.missing == "") || !strings.Contains(missing, c.missing) {
			t.Errorf("%s: %q, want %q", name, missing, c.missing)
		}
	}
	shape := router.Shape{Modules: router.Space{{Name: "a", Tiers: []string{"low", "mid", "high"}}, {Name: "b", Tiers: []string{"low", "high"}}}}
	combinations := [][]int{{0, 0}, {1, 0}, {2, 1}}
	if h := handicaps(combinations, shape, Gain{Scores: true, Costs: true}); h[0] != 0 || h[2] != 0 {
		t.Errorf("where there is something to learn, combinations lose %v", h)
	}
	for _, g := range []Gain{{}, {Scores: true}, {Costs: true}} {
		if h := handicaps(combinations, shape, g); h[0] != 0 || h[1] <= 0 || h[2] <= h[1] {
			t.Errorf("%+v: combinations lose %v, want more the dearer they are", g, h)
		}
	}
}
