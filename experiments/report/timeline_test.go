package report

import (
	"testing"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// The relation modules stand beside each other, the rest one after the other.
func TestTimeline(t *testing.T) {
	c := Timeline(bmem.Trace{Question: "When?", RetrievalMS: 2, Modules: []bmem.Module{
		{Module: "filter", Step: tiers.Step{Served: "low", MS: 3}},
		{Module: "entity", Step: tiers.Step{Served: "high", MS: 40, Usage: llm.Usage{Dollars: 1e-5}}},
		{Module: "topic", Step: tiers.Step{Served: "turbo", MS: 4}},
		{Module: "summary", Step: tiers.Step{Served: "low", MS: 5}},
	}, Answer: bmem.Call{Usage: llm.Usage{MS: 100, Dollars: 2e-5}}})
	if _, err := c.PNG(); err != nil {
		t.Fatal(err)
	}
	want := `step      tier   start ms   ms   dollars
retrieve                0    2        $0
filter    low           2    3        $0
entity    high          5   40  $0.00001
topic     turbo         5    4        $0
summary   low          45    5        $0
answer                 50  100  $0.00002
`
	if got := c.Table().Text(); c.Title != "When?" || got != want {
		t.Errorf("%s\n%s\nwant\n%s", c.Title, got, want)
	}
}
