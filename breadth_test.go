package budgetmem

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/frontier"
	"github.com/budgetmem/budgetmem/router"
)

const (
	breadthTraces = "traces/hotpotqa-breadth"
	freshBegin    = "<!-- breadth, fresh: written by go test . -run Breadth -update -->\n"
	freshEnd      = "<!-- end of the breadth, fresh -->\n"
	wholeBegin    = "<!-- breadth, all of test: written by go test . -run Breadth -update -->\n"
	wholeEnd      = "<!-- end of the breadth, all of test -->\n"
	chosenBegin   = "<!-- breadth, validation: written by go test . -run Breadth -update -->\n"
	chosenEnd     = "<!-- end of the breadth, validation -->\n"
)

// The section about notes of two widths is made from the committed traces and the calibration that was announced.
func TestBreadth(t *testing.T) {
	for _, c := range []struct{ file, begin, end string }{{"fresh", freshBegin, freshEnd}, {"test", wholeBegin, wholeEnd}} {
		o, err := frontier.ReadCascade(breadthTraces, "forms.json", "validation.jsonl.gz", c.file+".jsonl.gz")
		if err != nil {
			t.Fatal(err)
		}
		o.Seed = 42
		r, err := frontier.Compare(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		asked, _ := o.Test.Snapshot()
		var b bytes.Buffer
		writeFamilies(&b, r)
		writeLambdas(t, &b, r, "cascade forms")
		writeHindsight(&b, readTraces(t, breadthTraces, "validation"), asked)
		writeConfidences(t, &b, o.Cascades[0].Calibration, asked)
		writeDifferences(&b, asked)
		checkTable(t, readersPage, c.begin, c.end, b.String())
	}
	var b bytes.Buffer
	f := readTraces(t, breadthTraces, "validation")
	for _, signals := range [][]string{nil, {"form_option", "form_yes", "logprob_min"}} {
		writeBought(t, &b, f, signals)
	}
	writeDifferences(&b, f)
	checkTable(t, readersPage, chosenBegin, chosenEnd, b.String())
}

// writeHindsight compares the fixed choices that are best at each λ on validation with those that are best on the reported questions
// themselves, which cannot be known before.
func writeHindsight(w io.Writer, validation, reported *episodes.File) {
	reward := validation.Reward(true)
	returns := func(f *episodes.File, lambda float64) map[string]float64 { // means by tiers
		sums := map[string]float64{}
		for _, e := range f.Episodes {
			sums[strings.Join(e.Served, ",")] += reward.Return(e.Outcome(), lambda) / float64(len(f.IDs()))
		}
		return sums
	}
	best := func(returns map[string]float64) string { // the later name of two that are level, as both of what is free
		return slices.MaxFunc(slices.Sorted(maps.Keys(returns)), func(a, b string) int { return cmp.Or(cmp.Compare(returns[a], returns[b]), cmp.Compare(a, b)) })
	}
	var before, after float64
	var changed []string
	lambdas := frontier.DefaultLambdas()
	for _, lambda := range lambdas {
		here := returns(reported, lambda)
		chosen, hindsight := best(returns(validation, lambda)), best(here)
		before, after = before+here[chosen]/float64(len(lambdas)), after+here[hindsight]/float64(len(lambdas))
		if chosen != hindsight {
			changed = append(changed, fmt.Sprintf("%s instead of %s at λ %g (%.4f, %.4f)", hindsight, chosen, lambda, here[hindsight], here[chosen]))
		}
	}
	fmt.Fprintf(w, "\nThe fixed choices that are best on these questions themselves, which nobody can know before, return %.4f, those of validation %.4f: %s.\n",
		after, before, strings.Join(changed, ", "))
}

// writeDifferences compares readers and widths of notes, question by question.
func writeDifferences(w io.Writer, f *episodes.File) {
	by := map[string]map[string]router.Outcome{} // by tiers and question
	for _, e := range f.Episodes {
		tiers := strings.Join(e.Served, ",")
		if by[tiers] == nil {
			by[tiers] = map[string]router.Outcome{}
		}
		by[tiers][e.ID] = e.Outcome()
	}
	of := func(tiers string) func(string) router.Outcome {
		return func(id string) router.Outcome { return by[tiers][id] }
	}
	fmt.Fprint(w, "\n| answer and notes | against | questions | n | score | against | difference | 95 % | price over the other's |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, c := range []struct{ name, tiers, than, against string }{
		{"0.5B, wide", "high,high,mid", "0.5B, narrow", "mid,mid,mid"},
		{"1.5B, narrow", "mid,mid,high", "0.5B, narrow", "mid,mid,mid"},
		{"1.5B, wide", "high,high,high", "1.5B, narrow", "mid,mid,high"},
		{"1.5B, wide", "high,high,high", "0.5B, wide", "high,high,mid"},
	} {
		for _, category := range []string{"all", "bridge", "comparison"} {
			part := f.Where(func(e router.Episode) bool { return category == "all" || category == e.Category })
			p := pair(part.IDs(), of(c.tiers), of(c.against))
			d := p.difference
			fmt.Fprintf(w, "| %s | %s | %s | %d | %.3f | %.3f | %+.3f | [%+.3f, %+.3f] | %.2f |\n", c.name, c.than, category, d.N, p.here, p.there,
				d.Mean, d.Low, d.High, p.price)
		}
	}
}
