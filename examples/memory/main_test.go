package main

import (
	"testing"

	"github.com/budgetmem/budgetmem/internal/models/modelstest"
)

func TestAsk(t *testing.T) {
	modelstest.Path(t, "all-minilm-l6-v2")
	modelstest.Path(t, "qwen2.5-coder-0.5b-instruct")
	t.Setenv("BUDGETMEM_CACHE", t.TempDir())
	answer, err := ask(t.Context(), "../conversation.jsonl", "When did Rita sign up for the pottery class?")
	if err != nil {
		t.Fatal(err)
	}
	if answer.Text == "" || len(answer.Evidence) == 0 || answer.Trace.Usage().Dollars <= 0 {
		t.Errorf("%+v", answer)
	}
}
