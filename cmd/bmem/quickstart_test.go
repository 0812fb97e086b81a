package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// The three commands from one's own questions to a router, at a made-up endpoint; of models only the tokenizer is real.
func TestOwnQuestions(t *testing.T) {
	modelstest.Path(t, setup.Embedder)
	server := llmtest.New(llmtest.Config{Reply: func(llmtest.Call) string { return "the old mill" }})
	t.Cleanup(server.Close)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "own"),
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{models.EnvDir, "HOME", "XDG_CACHE_HOME", "BUDGETMEM_VENV"} { // where the model is
				if v, ok := os.LookupEnv(name); ok {
					env.Setenv(name, v)
				}
			}
			env.Setenv("BUDGETMEM_CACHE", filepath.Join(env.WorkDir, "cache"))
			env.Setenv("ENDPOINT", server.URL())
			return nil
		},
	})
}
