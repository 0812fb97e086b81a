package report

import (
	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/kernel/chart"
)

// Timeline draws the steps of one question over time, with their tiers and dollars.
func Timeline(t bmem.Trace) chart.Chart {
	var spans []chart.Span
	for _, s := range t.Spans() {
		spans = append(spans, chart.Span{Name: s.Step, Tier: s.Tier, Start: s.Start, Length: s.MS, Dollars: s.Dollars})
	}
	return chart.Timeline(t.Question, []string{"low", "mid", "high"}, spans)
}
