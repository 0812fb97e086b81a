package budgetmem

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/calibrate"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router/cascade"
)

// The calibration that comes with the program, and the traces that it is fitted to.
const (
	confidenceTraces = "traces/locomo-confidence"
	confidenceModel  = "qwen2.5-coder-0.5b-instruct"
	confidenceFile   = "bmem/setup/calibrations/implementation/" + confidenceModel + ".json"
	confidencePage   = "docs/results/locomo.md"
	confidenceBegin  = "<!-- confidence: written by go test . -run ShippedCalibration -update -->\n"
	confidenceEnd    = "<!-- end of the confidence -->\n"
)

// The calibration that comes with the program is what its committed traces give, and the page says what it is worth.
func TestShippedCalibration(t *testing.T) {
	read := func(name string) *episodes.File { return readTraces(t, confidenceTraces, name) }
	validation, unanswerable := read("validation"), read("unanswerable")
	c, err := calibrate.Fit(calibrate.Options{Train: read("train"), Validation: validation, Models: []string{confidenceModel}, Samples: []int{0}, Note: confidenceTraces})
	if err != nil {
		t.Fatal(err)
	}
	file, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(confidenceFile, file, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shipped, err := cascade.ReadFile(confidenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := shipped.Marshal(); err != nil || !bytes.Equal(again, file) {
		t.Errorf("%s is not what the traces give (%v): go test . -run ShippedCalibration -update", confidenceFile, err)
	}
	m := c.Readers[0].Measured
	var b bytes.Buffer
	fmt.Fprintf(&b, "| questions | mean F1 | calibration error | AUROC of answers with F1 ≥ ½ |\n|---|---|---|---|\n| %d | %.3f | %.3f | %.3f |\n\n", m.Calibrated, m.Score, m.CalibrationError, *m.AUROC)
	b.WriteString("| F1 that may be lost | least confidence | lost | withheld | unanswerable ones withheld | AUROC of answerable against unanswerable |\n|---|---|---|---|---|---|\n")
	for _, most := range []float64{0.01, 0.02, 0.05, 0.1} {
		a, err := calibrate.Abstain(c, 0, calibrate.ByConfidence, calibrate.Questions{Answerable: validation, Unanswerable: unanswerable}, most)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "| %.2f | %.3f | %.3f | %.0f %% of %d | %.0f %% of %d | %.3f |\n", most, a.Least, a.Lost.Mean, 100*a.Withheld, a.Lost.N, 100*a.Abstained.Mean, a.Abstained.N, a.AUROC)
	}
	checkTable(t, confidencePage, confidenceBegin, confidenceEnd, b.String())
}
