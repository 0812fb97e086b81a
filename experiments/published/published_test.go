package published

import (
	"math"
	"testing"
)

// The table's last columns are means over the data sets, printed in the paper and not kept: the numbers must agree with them.
func TestMeansAsPrinted(t *testing.T) {
	for _, c := range []struct {
		model, method      string
		f1, judge, dollars float64
	}{
		{"Llama-3.3-70B-Instruct", "ReadAgent", 19.52, 29.62, 6.14},
		{"Llama-3.3-70B-Instruct", "MemoryBank", 23.75, 28.47, 4.14},
		{"Llama-3.3-70B-Instruct", "A-MEM", 30.47, 40.27, 36.55},
		{"Llama-3.3-70B-Instruct", "LangMem", 19.03, 21.87, 9.34},
		{"Llama-3.3-70B-Instruct", "Mem0", 22.26, 35.66, 6.92},
		{"Llama-3.3-70B-Instruct", "MemoryOS", 26.03, 37.14, 18.04},
		{"Llama-3.3-70B-Instruct", "LightMem", 35.45, 49.21, 5.63},
		{"Llama-3.3-70B-Instruct", "BudgetMem-IMP", 41.84, 57.36, 1.29},
		{"Llama-3.3-70B-Instruct", "BudgetMem-REA", 44.19, 57.39, 1.52},
		{"Llama-3.3-70B-Instruct", "BudgetMem-CAP", 45.72, 59.99, 1.38},
		{"Qwen3-Next-80B-A3B-Instruct", "ReadAgent", 22.74, 25.97, 2.32},
		{"Qwen3-Next-80B-A3B-Instruct", "MemoryBank", 17.58, 31.39, 1.83},
		{"Qwen3-Next-80B-A3B-Instruct", "A-MEM", 26.34, 40.04, 10.74},
		{"Qwen3-Next-80B-A3B-Instruct", "LangMem", 17.56, 19.50, 7.23}, // printed 2.82, which is not the mean
		{"Qwen3-Next-80B-A3B-Instruct", "Mem0", 20.40, 33.12, 2.71},
		{"Qwen3-Next-80B-A3B-Instruct", "MemoryOS", 30.00, 41.79, 9.42},
		{"Qwen3-Next-80B-A3B-Instruct", "LightMem", 33.95, 48.59, 4.21},
		{"Qwen3-Next-80B-A3B-Instruct", "BudgetMem-IMP", 38.66, 54.60, 0.58},
		{"Qwen3-Next-80B-A3B-Instruct", "BudgetMem-REA", 44.57, 61.06, 0.51},
		{"Qwen3-Next-80B-A3B-Instruct", "BudgetMem-CAP", 43.64, 60.42, 0.33},
	} {
		var f1, judge, dollars float64
		for _, dataset := range []string{"locomo", "longmemeval", "hotpotqa"} {
			results, err := resultsOf(dataset)
			if err != nil {
				t.Fatal(err)
			}
			if len(results) != 20 {
				t.Errorf("%d results of %s, want 10 methods with 2 models", len(results), dataset)
			}
			for _, r := range results {
				if r.Model == c.model && r.Method == c.method {
					f1, judge, dollars = f1+100*r.F1/3, judge+100*r.Judge/3, dollars+r.Dollars/3
				}
			}
		}
		for i, got := range []float64{f1, judge, dollars} {
			if want := []float64{c.f1, c.judge, c.dollars}[i]; math.Abs(got-want) > 0.0101 {
				t.Errorf("%s with %s: mean %.3f, printed %.2f", c.method, c.model, got, want)
			}
		}
	}
}

func TestFamilies(t *testing.T) {
	families, err := Families("locomo", "Llama-3.3-70B-Instruct")
	if err != nil || len(families) != 10 {
		t.Fatalf("%d families, %v", len(families), err)
	}
	last := families[9]
	if p := last.Points[0]; last.Name != "BudgetMem-CAP" || last.Source == "" || math.Abs(p.Score-0.4305) > 1e-9 || math.Abs(p.Dollars-2.40/314) > 1e-9 {
		t.Errorf("%+v", last)
	}
	if _, err := Families("locomo", "unheard-of"); err == nil {
		t.Error("a model without results is no error")
	}
}
