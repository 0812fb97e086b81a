package budgetmem

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/calibrate"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router/cascade"
)

const (
	unanswerableTraces = "traces/locomo-answerable"
	unanswerablePage   = "docs/results/unanswerable.md"
	unanswerableBegin  = "<!-- unanswerable: written by go test . -run Unanswerable -update -->\n"
	unanswerableEnd    = "<!-- end of the unanswerable -->\n"
)

// The page on unanswerable questions is made from the committed traces and the calibration that was announced: on validation each question
// is judged by estimates of the other conversation, and the least probability is chosen; on test it is used.
func TestUnanswerable(t *testing.T) {
	read := func(name string) *episodes.File { return readTraces(t, unanswerableTraces, name) }
	c, err := cascade.ReadFile(filepath.Join(unanswerableTraces, "answerable.json"))
	if err != nil {
		t.Fatal(err)
	}
	validation := calibrate.Questions{Answerable: read("validation"), Unanswerable: read("unanswerable-validation")}
	test := calibrate.Questions{Answerable: read("test"), Unanswerable: read("unanswerable-test")}
	var b bytes.Buffer
	b.WriteString("| answer | questions | by | least | mean F1 lost | 95 % | answerable withheld | unanswerable withheld | 95 % | AUROC |\n|---|---|---|---|---|---|---|---|---|---|\n")
	row := func(tier, split string, a calibrate.Abstention) {
		fmt.Fprintf(&b, "| %s | %s | %s | %.3f | %.3f | [%.3f, %.3f] | %.0f %% of %d | %.0f %% of %d | [%.0f, %.0f] | %.3f |\n", tier, split, a.By, a.Least, a.Lost.Mean, a.Lost.Low, a.Lost.High,
			100*a.Withheld, a.Lost.N, 100*a.Abstained.Mean, a.Abstained.N, 100*a.Abstained.Low, 100*a.Abstained.High, a.AUROC)
	}
	o := calibrate.Options{Validation: validation.Answerable, Unanswerable: validation.Unanswerable}
	for _, r := range c.Readers {
		o.Models, o.Samples = append(o.Models, r.Model), append(o.Samples, r.Samples)
	}
	held, err := calibrate.AbstainHeldOut(o, mostLost)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range c.Readers {
		byConfidence, err := calibrate.Abstain(c, i, calibrate.ByConfidence, validation, mostLost)
		if err != nil {
			t.Fatal(err)
		}
		for _, chosen := range []calibrate.Abstention{byConfidence, held[r.Tier][1]} {
			row(r.Tier, "validation", chosen)
			a, err := calibrate.AbstainBelow(c, i, chosen.By, test, chosen.Least)
			if err != nil {
				t.Fatal(err)
			}
			row(r.Tier, "test", a)
		}
	}
	writeConfidences(t, &b, c, test.Answerable)
	checkTable(t, unanswerablePage, unanswerableBegin, unanswerableEnd, b.String())
}

// mostLost is the mean F1 that withholding may lose.
const mostLost = 0.02
