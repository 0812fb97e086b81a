package memory_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// Questions name the tiers that all modules of the set have, whatever these are called, and the description lists them.
func TestBudgets(t *testing.T) {
	apart := filepath.Join(t.TempDir(), "apart.yaml") // no tier is in all modules
	set := "about: test\nmodules:\n  filter: [{tier: few, method: keywords}, {tier: many, method: evidence}]\n"
	for _, m := range []string{"entity", "temporal", "topic"} {
		set += fmt.Sprintf("  %s: [{tier: plain, method: rules}, {tier: fine, method: grammar}]\n", m)
	}
	if err := os.WriteFile(apart, []byte(set+"  summary: [{tier: plain, method: plain}, {tier: fine, method: headings}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for set, want := range map[string][]string{
		"implementation":                 {"low", "mid", "high"},
		"../../examples/four_tiers.yaml": {"low", "mid", "high", "top"},
		apart:                            nil,
	} {
		model := llmtest.New(llmtest.Config{Reply: runtest.Reply})
		t.Cleanup(model.Close)
		m, _ := runtest.MustOpen(t, runtest.Rig{URL: model.URL(), Tiers: set})
		c := serve(t, m, nil)
		c.do("POST", "/v1/memories/chat/turns", `{"turns":[{"speaker":"Ann","text":"I moved to Oslo in May."}]}`, nil)
		for _, tier := range []string{"low", "mid", "high", "top", "few", "plain", "no such"} {
			status := c.do("POST", "/v1/memories/chat/ask", fmt.Sprintf(`{"question":"Where did Ann move?","budget":%q}`, tier), &memory.AskResult{})
			if ok := slices.Contains(want, tier); ok != (status == 200) || !ok && status != 400 {
				t.Errorf("%s: budget %s: status %d", filepath.Base(set), tier, status)
			}
		}
		if status := c.do("POST", "/v1/memories/chat/ask", `{"question":"Where did Ann move?"}`, &memory.AskResult{}); status != 200 {
			t.Errorf("%s: without a budget: status %d", filepath.Base(set), status)
		}
		var d struct {
			Components struct {
				Schemas struct {
					AskRequest struct {
						Properties map[string]struct{ Enum []string }
					}
				}
			}
		}
		res, err := http.Get(c.url + memory.DescriptionPath)
		if err != nil {
			t.Fatal(err)
		}
		err = json.NewDecoder(res.Body).Decode(&d)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		budget, there := d.Components.Schemas.AskRequest.Properties["budget"]
		if !slices.Equal(budget.Enum, want) || there != (want != nil) {
			t.Errorf("%s: the description has %v, want %v", filepath.Base(set), budget.Enum, want)
		}
	}
}
