package tune

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
	"github.com/budgetmem/budgetmem/tiers/llm/local/localtest"
)

// A run that goes on from an adapter begins where that one ended, and its adapter says what both were trained on.
func TestRunGoesOnFromAnAdapter(t *testing.T) {
	be := pureGo(t)
	model := localtest.Tiny(t, "qwen2", 1)
	first := small(t, be, model)
	first.Data = []adapter.Data{{Name: "a", Examples: 7}}
	one, err := first.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	from, err := adapter.Read(one.Last)
	if err != nil {
		t.Fatal(err)
	}
	next := small(t, be, model)
	next.From, next.Data, next.License = from, []adapter.Data{{Name: "b", Examples: 7}}, "MIT"
	two, err := next.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var metrics []Step
	data, err := os.ReadFile(filepath.Join(first.Dir, metricsFile))
	for line := range strings.Lines(string(data)) {
		var s Step
		err = errors.Join(err, json.Unmarshal([]byte(line), &s))
		metrics = append(metrics, s)
	}
	if err != nil {
		t.Fatal(err)
	}
	end := metrics[len(metrics)-1].ValidLoss
	if end == nil {
		t.Fatal("the last step has no validation loss")
	}
	if math.Abs(two.FirstLoss-*end) > 1e-3 || math.Abs(one.FirstLoss-*end) < 0.01 { // files have fewer digits
		t.Errorf("the first ended with a loss of %v, the second began with %v", *end, two.FirstLoss)
	}
	got, err := adapter.Read(two.Last)
	if err != nil || len(got.Info.Data) != 2 || got.Info.Data[0].Name != "a" || got.Info.Steps != one.Steps+two.Steps || got.Info.License != "CC0 AND MIT" {
		t.Errorf("%+v, %v", got.Info, err)
	}
	if _, err := next.Start(t.Context()); err != nil { // it is done
		t.Error(err)
	}
	for want, change := range map[string]func(*Run, *adapter.Adapter){
		"does not say which model":   func(_ *Run, a *adapter.Adapter) { a.Info.BaseSHA256 = "" },
		"another wording":            func(_ *Run, a *adapter.Adapter) { a.Info.TemplateHash = "x" },
		"trained on another model":   func(_ *Run, a *adapter.Adapter) { a.Info.BaseSHA256 = "x" },
		"with the prompt":            func(_ *Run, a *adapter.Adapter) { a.Info.Template = "x" },
		"rank 4 and alpha 8":         func(r *Run, _ *adapter.Adapter) { r.Config.Rank = 8 },
		"use its layers and targets": func(r *Run, _ *adapter.Adapter) { r.Config.Layers = 1 },
	} {
		r, a := small(t, be, model), *from
		r.From = &a
		change(&r, &a)
		if _, err := r.Start(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	next.From = nil
	if _, err := next.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "began with another adapter") {
		t.Errorf("resumed without the adapter: %v", err)
	}
	for _, l := range [][3]string{{"", "MIT", "MIT"}, {"MIT", "", "MIT"}, {"MIT", "MIT", "MIT"}, {"CC0 AND MIT", "MIT", "CC0 AND MIT"}, {"MIT OR X", "CC0", "(MIT OR X) AND CC0"}} {
		if got := both(l[0], l[1]); got != l[2] {
			t.Errorf("%q and %q are %q, want %q", l[0], l[1], got, l[2])
		}
	}
	c := Defaults()
	if c.Take(from, func(flag string) bool { return flag == "alpha" }); c.Rank != 4 || c.Alpha != 32 || c.Layers != 2 || len(c.Targets) != 7 {
		t.Errorf("%+v", c)
	}
}
