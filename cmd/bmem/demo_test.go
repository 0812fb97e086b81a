package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/episodes/episodestest"
)

// Training and comparison on made-up traces end in a page, and in a table of at most 25 lines. Live answers need a model.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	for split, n := range map[string]int{"train": 24, "validation": 8, "test": 8} {
		file := filepath.Join(dir, split+".jsonl.gz")
		if err := (episodestest.Task{Split: split, Questions: n, Seed: 1}).File(12).WriteFile(file); err != nil {
			t.Fatal(err)
		}
	}
	out, err := runVerb(t, "", "demo", "--traces", dir, "--runs", dir, "--questions", "0", "--seeds", "2", "--epochs", "1", "--backend", "go")
	if err != nil || !strings.Contains(out, "modal tiers of router") || strings.Count(out, "\n") > 25 {
		t.Errorf("%v\n%s", err, out)
	}
	// A folder of readers that is named has to be there, which is said before anything is trained.
	if _, err := runVerb(t, "", "demo", "--traces", dir, "--runs", dir, "--name", "without", "--readers", dir, "--questions", "0", "--backend", "go"); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "words.json")) {
		t.Errorf("no readers: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "without")); err == nil {
		t.Error("it was trained before its readers were looked for")
	}
	page, err := os.ReadFile(filepath.Join(dir, "demo", "frontier.html"))
	if err != nil || !strings.Contains(string(page), "best static") {
		t.Errorf("the page: %v", err)
	}
}

func TestCheapFirst(t *testing.T) {
	history := func(id string) string { return id[:1] }
	ids := []string{"a1", "b1", "a2", "c1", "a3"}
	got := cheapFirst(ids, history, map[string]float64{"a1": 3, "a2": 1, "a3": 2, "b1": 0, "c1": 0})
	if want := []string{"a2", "a3", "a1", "b1", "c1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// `bmem demo` opens the system that its traces name, without the flags of `bmem eval`.
func TestBenchWithoutBoundFlags(t *testing.T) {
	f := benchFlags{dataset: "locomo", name: "x", runs: t.TempDir()}
	f.system.spec.Tiers, f.system.spec.Model = "implementation", "no-such-model"
	cmd := newDemoCmd()
	cmd.SetContext(t.Context())
	if _, _, err := f.open(cmd, ""); err == nil || !strings.Contains(err.Error(), "no-such-model") {
		t.Fatal(err)
	}
}
