package budgetmem

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/stats"
)

const (
	breadthTraces = "traces/hotpotqa-breadth"
	chosenBegin   = "<!-- breadth, validation: written by go test . -run Breadth -update -->\n"
	chosenEnd     = "<!-- end of the breadth, validation -->\n"
)

// The section about notes of two widths is made from the committed traces.
func TestBreadth(t *testing.T) {
	var b bytes.Buffer
	f := readTraces(t, breadthTraces, "validation")
	for _, signals := range [][]string{nil, {"form_option", "form_yes", "logprob_min"}} {
		writeBought(t, &b, f, signals)
	}
	writeDifferences(t, &b, f)
	checkTable(t, readersPage, chosenBegin, chosenEnd, b.String())
}

// writeDifferences compares readers and widths of notes, question by question.
func writeDifferences(t *testing.T, w io.Writer, f *episodes.File) {
	t.Helper()
	type outcome struct{ score, dollars float64 }
	by := map[string]map[string]outcome{} // by tiers and question
	categories := map[string]string{}
	for _, e := range f.Episodes {
		tiers := strings.Join(e.Served, ",")
		if by[tiers] == nil {
			by[tiers] = map[string]outcome{}
		}
		by[tiers][e.ID] = outcome{e.Score, e.ModulesDollars + e.AnswerDollars}
		categories[e.ID] = e.Category
	}
	fmt.Fprint(w, "\n| answer and notes | against | questions | n | score | against | difference | 95 % | price over the other's |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, c := range []struct{ name, tiers, than, against string }{
		{"0.5B, wide", "high,high,mid", "0.5B, narrow", "mid,mid,mid"},
		{"1.5B, narrow", "mid,mid,high", "0.5B, narrow", "mid,mid,mid"},
		{"1.5B, wide", "high,high,high", "1.5B, narrow", "mid,mid,high"},
		{"1.5B, wide", "high,high,high", "0.5B, wide", "high,high,mid"},
	} {
		for _, category := range []string{"all", "bridge", "comparison"} {
			var here, there, differences []float64
			paid, other := 0.0, 0.0
			for _, id := range f.IDs() {
				if category == "all" || category == categories[id] {
					a, b := by[c.tiers][id], by[c.against][id]
					here, there, differences = append(here, a.score), append(there, b.score), append(differences, a.score-b.score)
					paid, other = paid+a.dollars, other+b.dollars
				}
			}
			if len(differences) == 0 {
				continue
			}
			d := stats.Bootstrap(differences, 42)
			fmt.Fprintf(w, "| %s | %s | %s | %d | %.3f | %.3f | %+.3f | [%+.3f, %+.3f] | %.2f |\n", c.name, c.than, category, d.N, stats.Mean(here), stats.Mean(there),
				d.Mean, d.Low, d.High, paid/other)
		}
	}
}
