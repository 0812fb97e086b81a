package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/experiments/episodes/episodestest"
	"github.com/budgetmem/budgetmem/internal/faulttest"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/internal/pgtest"
	"github.com/budgetmem/budgetmem/serve/api"
)

// processEnv makes the test program bmem.
const processEnv = "BMEM_TEST_PROCESS"

func TestMain(m *testing.M) {
	if os.Getenv(processEnv) != "" {
		if err := doFirst(); err != nil {
			fmt.Fprintln(os.Stderr, "the command before this one:", err)
			os.Exit(3)
		}
		faulttest.SetTrap()
		main()
		os.Exit(0)
	}
	testscript.Main(withServers{m}, map[string]func(){"bmem": main})
}

// withServers stops the PostgreSQL server of the tests at their end.
type withServers struct{ m *testing.M }

func (w withServers) Run() int { return pgtest.Run(w.m) }

// TestScripts runs command lines in folders of their own, without models. Each has the traces of a made-up task in made/.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv(models.EnvDir, filepath.Join(env.WorkDir, "models"))
			env.Setenv("BUDGETMEM_CACHE", filepath.Join(env.WorkDir, "cache"))
			env.Setenv(api.EnvToken, "")
			return errors.Join(writeTraces(filepath.Join(env.WorkDir, "made")), writeMemory(filepath.Join(env.WorkDir, "cache")))
		},
	})
}

// writeMemory makes a memory of three turns without a model.
func writeMemory(cache string) error {
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return err
	}
	s, err := store.Open(filepath.Join(cache, setup.MemoryFile))
	if err != nil {
		return err
	}
	_, err = s.Append(context.Background(), "talk", []chunk.Turn{
		{ID: "t1", Session: "1", Time: "3 May 2024", Speaker: "Ann", Text: "I moved to Bern."},
		{ID: "t2", Session: "1", Time: "3 May 2024", Speaker: "Bo", Text: "How nice!"},
		{ID: "t3", Session: "2", Time: "5 May 2024", Speaker: "Ann", Text: "My passport number is ZYXWORD."},
	}, store.Cutter{Count: func(s string) int { return len(strings.Fields(s)) }}, store.AddOptions{})
	return errors.Join(err, s.Close())
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
