//go:build unix

package kernelspec

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/internal/models/modelstest"
)

// BenchmarkNotebook measures what a user waits for in a warm kernel, each the longest of a few: a question's cell beyond the
// model's own time, a chart's cell, and a completion. Cells differ, so each is compiled.
func BenchmarkNotebook(b *testing.B) {
	modelstest.Path(b, "smollm2-135m-instruct")
	f := start(b)
	question := func(text string) float64 {
		a := f.run(askCell(text))
		found := regexp.MustCompile(`model: ([0-9.]+) s`).FindStringSubmatch(a.Text)
		if a.Status != "ok" || found == nil {
			b.Fatalf("%+v", a)
		}
		model, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			b.Fatal(err)
		}
		return a.Seconds - model
	}
	chart := func(n int) float64 {
		a := f.run(fmt.Sprintf("%%%%\nif err := display.Chart(\"bench\", chart.Lines(\"Learning\", \"epoch\", \"return\", []chart.Line{{Name: \"seed %d\", X: []float64{1, 2}, Y: []float64{1, %d}}})); err != nil {\n\tpanic(err)\n}", n, n))
		if a.Status != "ok" || !strings.Contains(strings.Join(a.Mimes, " "), "image/png") {
			b.Fatalf("%+v", a)
		}
		return a.Seconds
	}
	question("Who broke a wrist?")
	chart(0)
	f.warm()

	for b.Loop() {
		var asked, drawn, completed float64
		for i, text := range []string{"What is Omar's sourdough starter called?", "Why did Omar move his trip?", "What colour is the first bowl?"} {
			asked = max(asked, question(text))
			drawn = max(drawn, chart(i+1))
			completed = max(completed, f.complete("import \"github.com/budgetmem/budgetmem/bmem\"\n%%\nbmem."+strings.Repeat("W", i)).Seconds)
		}
		b.ReportMetric(asked, "s/ask")
		b.ReportMetric(drawn, "s/chart")
		b.ReportMetric(completed, "s/completion")
		b.ReportMetric(0, "ns/op") // which would say nothing
	}
}
