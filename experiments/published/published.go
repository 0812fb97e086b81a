// Package published holds results that others have published on the benchmarks, to be shown beside ours. Other models answered
// them, under other conditions.
package published

import (
	_ "embed"
	"fmt"
	"sync"

	"github.com/budgetmem/budgetmem/internal/strictyaml"
	"github.com/budgetmem/budgetmem/kernel/chart"
)

//go:embed paper.yaml
var paperYAML []byte

// result is a method's result on a data set's test questions.
type result struct {
	// Model answered, in the system that Method names.
	Model, Method string
	// F1 and Judge are means in [0, 1]. F1 is the metric locomo-f1.
	F1, Judge float64
	// Dollars is the price of all calls for all Questions. The number of questions is inferred, not printed.
	Dollars   float64
	Questions int
	// Source names the publication and the place in it.
	Source string
}

type paper struct {
	Source    string         `yaml:"source"`
	Questions map[string]int `yaml:"questions"`
	Results   []struct {
		Model       string    `yaml:"model"`
		Method      string    `yaml:"method"`
		LoCoMo      []float64 `yaml:"locomo"`
		LongMemEval []float64 `yaml:"longmemeval"`
		HotpotQA    []float64 `yaml:"hotpotqa"`
	} `yaml:"results"`
}

var read = sync.OnceValues(func() (p paper, err error) {
	if err := strictyaml.Decode(paperYAML, &p); err != nil {
		return p, fmt.Errorf("published results: %w", err)
	}
	return p, nil
})

// resultsOf returns the BudgetMem paper's results for a data set ("locomo", "longmemeval", "hotpotqa"), in its order; none for
// other data sets.
func resultsOf(dataset string) ([]result, error) {
	p, err := read()
	if err != nil {
		return nil, err
	}
	var out []result
	for _, r := range p.Results {
		if v := map[string][]float64{"locomo": r.LoCoMo, "longmemeval": r.LongMemEval, "hotpotqa": r.HotpotQA}[dataset]; len(v) == 3 {
			out = append(out, result{r.Model, r.Method, v[0] / 100, v[1] / 100, v[2], p.Questions[dataset], p.Source})
		}
	}
	return out, nil
}

// Families returns the results of one model as a chart's points, F1 against dollars per question, named as published. A model
// or data set without published results is an error.
func Families(dataset, model string) ([]chart.Family, error) {
	results, err := resultsOf(dataset)
	if err != nil {
		return nil, err
	}
	var out []chart.Family
	for _, r := range results {
		if r.Model == model {
			out = append(out, chart.Family{Name: r.Method, Source: r.Source + ", " + r.Model,
				Points: []chart.Point{{Dollars: r.Dollars / float64(r.Questions), Score: r.F1}}})
		}
	}
	if out == nil {
		return nil, fmt.Errorf("nothing is published of %s on %s", model, dataset)
	}
	return out, nil
}
