package tiers

import (
	"github.com/budgetmem/budgetmem/tiers/text"
	"reflect"
	"testing"
)

func TestGrounded(t *testing.T) {
	memory := `Passage 1 (9 am on 12 May, 2022):
[1] Hugo said, "I left the bakery last week (the week before 12 May 2022) and started at Tom's bike shop."
[2] Mina said, "I am still coaching the kids, they love it."`
	const question = "Where does Hugo work?"
	for _, c := range []struct {
		name, fact      string
		strict, lenient bool // whether it stays
	}{
		{"said", "Hugo - started at - the bike shop (May 2022)", true, true},
		{"in other words", "Hugo changed jobs: bakery, then bike shop", true, true},
		{"another form of a word", "Mina coaches kids", true, true},
		{"a possessive", "Hugo works for Tom", true, true},
		{"an invented place", "Hugo - moved to - Porto (May 2022)", false, false},
		{"an invented year", "Hugo left the bakery in 2021", false, false},
		{"a line's number", "Hugo left the bakery 2 times", false, false},
		{"an invented person", "Ana coaches kids", false, true},
		{"a theme of its own name", "Careers: Hugo left the bakery, Mina is coaching", false, true},
		{"mostly invented", "Hugo enjoys swimming, painting, skiing and dancing beside coaching", false, false},
		{"the question again", "Where does Hugo work", false, false},
		{"nothing", "it is so", false, false},
	} {
		for strict, want := range map[bool]bool{true: c.strict, false: c.lenient} {
			kept, dropped := grounded(text.English, []string{c.fact}, memory, question, strict)
			if got := len(kept) == 1; got != want || dropped != 1-len(kept) {
				t.Errorf("%s, strict %v: kept %q, %d dropped; want it kept: %v", c.name, strict, kept, dropped, want)
			}
		}
	}
	kept, dropped := grounded(text.English, []string{"Mina coaches kids", "Ana ran", "Hugo left the bakery"}, memory, question, true)
	if want := []string{"Mina coaches kids", "Hugo left the bakery"}; !reflect.DeepEqual(kept, want) || dropped != 1 {
		t.Errorf("kept %q, dropped %d; want %q in their order", kept, dropped, want)
	}
}

func TestUndated(t *testing.T) {
	for fact, want := range map[string]bool{
		"Ana ran a marathon on 2 March 2021":         false,
		"Mina taught there from 2015 on":             false,
		"Hugo left the bakery yesterday":             false,
		"31 October 2022":                            true,
		"on 31 October 2022.":                        true,
		"The Stormlight Archive":                     true,
		`John said, "I just started playing chess!"`: true,
		"": true,
	} {
		if got := undated(fact); got != want {
			t.Errorf("%q: %v, want %v", fact, got, want)
		}
	}
}
