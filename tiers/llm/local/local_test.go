package local

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Files of the models under test, in the folder that BUDGETMEM_MODELS names.
const (
	smol = "smollm2-135m-instruct-q4_1.gguf"
	qwen = "qwen05.gguf"
)

func openTest(t testing.TB, file string, opts Options) *Model {
	t.Helper()
	path := filepath.Join(os.Getenv("BUDGETMEM_MODELS"), file)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("model file %s is not there: set BUDGETMEM_MODELS to the folder that holds it", file)
	}
	be, err := backend.Open("", nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(path, be, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Close()
		be.Finalize()
	})
	return m
}

func TestChat(t *testing.T) {
	for _, file := range []string{smol, qwen} {
		t.Run(file, func(t *testing.T) {
			m := openTest(t, file, Options{})
			r, err := m.Chat(context.Background(), llm.Request{Messages: []llm.Message{{Role: llm.User, Content: "What is the capital of France? Answer in one sentence."}}, MaxTokens: 32})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v\n%+v", r, m.Stats())
		})
	}
}
