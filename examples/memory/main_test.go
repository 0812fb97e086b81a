package main

import (
	"testing"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/setup/inprocess"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/tiers"
)

func TestAsk(t *testing.T) {
	modelstest.Path(t, "all-minilm-l6-v2")
	const model = "smollm2-135m-instruct" // the smallest, with short replies: what it says makes no difference here
	modelstest.Path(t, model)
	t.Setenv("BUDGETMEM_CACHE", t.TempDir())
	spec := setup.Spec{Engine: inprocess.New("", nil), Model: model, TierOptions: tiers.Options{ReplyTokens: 16, ThinkTokens: 16}}
	answer, err := ask(t.Context(), spec, "../conversation.jsonl", "When did Rita sign up for the pottery class?")
	if err != nil {
		t.Fatal(err)
	}
	if answer.Text == "" || len(answer.Evidence) == 0 || answer.Trace.Usage().Dollars <= 0 {
		t.Errorf("%+v", answer)
	}
}
