package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/budgetmem/budgetmem/experiments/episodes/episodestest"
	"github.com/budgetmem/budgetmem/internal/faulttest"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/serve/api"
)

// processEnv makes the test program bmem.
const processEnv = "BMEM_TEST_PROCESS"

func TestMain(m *testing.M) {
	if os.Getenv(processEnv) != "" {
		faulttest.SetTrap()
		main()
		os.Exit(0)
	}
	testscript.Main(m, map[string]func(){"bmem": main})
}

// TestScripts runs command lines in folders of their own, without models. Each has the traces of a made-up task in made/.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv(models.EnvDir, filepath.Join(env.WorkDir, "models"))
			env.Setenv("BUDGETMEM_CACHE", filepath.Join(env.WorkDir, "cache"))
			env.Setenv(api.EnvToken, "")
			return writeTraces(filepath.Join(env.WorkDir, "made"))
		},
	})
}

// writeTraces writes the traces of a made-up task, a file a split.
func writeTraces(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for split, n := range map[string]int{"train": 24, "validation": 8, "test": 8} {
		if err := (episodestest.Task{Split: split, Questions: n, Seed: 1}).File(12).WriteFile(filepath.Join(dir, split+".jsonl.gz")); err != nil {
			return err
		}
	}
	return nil
}

// runVerb runs a command line and returns what it wrote to its output.
func runVerb(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}
