//go:build fixture

package tune

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
)

// TestWriteReferenceTokens writes the examples of a fixture in tokens, for scripts/tune_reference.py.
func TestWriteReferenceTokens(t *testing.T) {
	out := os.Getenv("BUDGETMEM_TUNE_TOKENS")
	if out == "" {
		t.Fatal("BUDGETMEM_TUNE_TOKENS names no file to write")
	}
	examples, err := ReadExamples(os.Getenv("BUDGETMEM_TUNE_EXAMPLES"))
	if err != nil {
		t.Fatal(err)
	}
	base, err := local.OpenBase(modelstest.Path(t, os.Getenv("BUDGETMEM_TUNE_MODEL")), openEngine(t))
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	type tokens struct {
		Tokens []int32 `json:"tokens"`
		Prompt int     `json:"prompt"`
	}
	var list []tokens
	for _, e := range examples {
		all, prompt, err := e.Tokenize(base, Defaults().Template)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, tokens{all, prompt})
	}
	data, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(out, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
