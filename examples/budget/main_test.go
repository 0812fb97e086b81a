package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/conversation"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/setup/inprocess"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/tiers"
)

// The highest limit affords every High tier, the lowest is refused.
func TestRun(t *testing.T) {
	modelstest.Path(t, "all-minilm-l6-v2")
	const model = "smollm2-135m-instruct" // the smallest, with short replies: what it says makes no difference here
	modelstest.Path(t, model)
	t.Setenv("BUDGETMEM_CACHE", t.TempDir())
	talk, err := conversation.ReadFile("../conversation.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	spec := setup.Spec{Engine: inprocess.New("", nil), Model: model, TierOptions: tiers.Options{ReplyTokens: 16, ThinkTokens: 16}}
	if err := run(t.Context(), spec, talk.Turns, "Why did Omar move his trip?", &out); err != nil {
		t.Fatal(err)
	}
	answers := strings.Count(out.String(), "(spent $")
	if answers != 2 || !strings.Contains(out.String(), "summary  high") || !strings.Contains(out.String(), "allow at least") {
		t.Errorf("%s", &out)
	}
}
