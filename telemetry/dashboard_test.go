package telemetry_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/telemetry"
	"github.com/budgetmem/budgetmem/tiers"
)

// exported lists the metrics of a process that has done everything, each with its labels.
func exported(t *testing.T) map[string][]string {
	t.Helper()
	metrics := telemetry.NewMetrics()
	o := telemetry.New(metrics, nil)
	w := newWorld(t, o, nil)
	metrics.Watch(telemetry.Sources{Endpoints: w.client.Endpoints, Ledger: w.ledger, Queue: func() api.Queue { return api.Queue{} },
		Tenants: func() map[string]memory.Counters { return map[string]memory.Counters{"ann": {}} }})
	if _, err := w.mem.Ask(t.Context(), question, bmem.WithTiers("low,high,low,low,low")); err != nil {
		t.Fatal(err)
	}
	_, end := o.Begin(t.Context(), "entity")
	end(tiers.Step{Asked: "high", Served: "none"}, nil)
	_, done := o.Request(newRequest(t), "GET /health")
	done(200)
	out := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^(\w+)(?:\{(.*)\})? \S+$`).FindAllStringSubmatch(scrape(t, metrics), -1) {
		labels := out[m[1]]
		for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(m[2], -1) {
			labels = append(labels, l[1])
		}
		out[m[1]] = labels
	}
	return out
}

var (
	// A metric with the labels that it is selected by.
	selectorRE = regexp.MustCompile(`\b((?:bmem|go|process)_\w+)(?:\{([^}]*)\})?`)
	byRE       = regexp.MustCompile(`by \(([^)]*)\)`)
)

// Every query of the dashboard asks for metrics and labels that there are, and every metric of ours is in it.
func TestDashboard(t *testing.T) {
	data, err := os.ReadFile("../docker/grafana/budgetmem.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	metrics := exported(t)
	shown := map[string]bool{}
	queries := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			queries++
			var labels []string
			found := selectorRE.FindAllStringSubmatch(target.Expr, -1)
			if len(found) == 0 {
				t.Errorf("%s: %s asks for no metric", p.Title, target.Expr)
			}
			for _, m := range found {
				has, ok := metrics[m[1]]
				if !ok {
					t.Errorf("%s asks for %s, which is not exported", p.Title, m[1])
				}
				shown[base(m[1])] = true
				labels = append(labels, has...)
			}
			labels = append(labels, "job", "instance") // of the scrape
			var used []string
			for _, m := range found {
				for _, part := range regexp.MustCompile(`(\w+)\s*[=!]`).FindAllStringSubmatch(m[2], -1) {
					used = append(used, part[1])
				}
			}
			for _, m := range byRE.FindAllStringSubmatch(target.Expr, -1) {
				used = append(used, strings.Split(m[1], ", ")...)
			}
			for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				used = append(used, m[1])
			}
			for _, label := range used {
				if !slices.Contains(labels, label) {
					t.Errorf("%s: %s uses the label %q, which there is not; there are %q", p.Title, target.Expr, label, labels)
				}
			}
		}
	}
	if queries < 20 {
		t.Errorf("the dashboard has %d queries", queries)
	}
	page, err := os.ReadFile("../docs/observe.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range metrics {
		if name = base(name); !strings.HasPrefix(name, "bmem_") {
			continue
		}
		if !shown[name] {
			t.Errorf("%s is in no panel", name)
		}
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/observe.md does not name %s", name)
		}
	}
}

// base is a metric's name without what a histogram adds to it.
func base(name string) string {
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if cut, ok := strings.CutSuffix(name, suffix); ok {
			return cut
		}
	}
	return name
}
