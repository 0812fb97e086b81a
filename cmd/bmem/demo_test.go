package main

import (
	"slices"
	"strings"
	"testing"
)

func TestOneHistory(t *testing.T) {
	history := func(id string) string { return id[:1] }
	ids := []string{"a1", "b1", "a2", "c1", "a3"}
	for n, want := range map[int][]string{0: {}, 2: {"a1", "a2"}, 4: {"a1", "a2", "a3", "b1"}, 9: {"a1", "a2", "a3", "b1", "c1"}} {
		if got := oneHistory(ids, history, n); !slices.Equal(got, want) {
			t.Errorf("%d of %v: %v, want %v", n, ids, got, want)
		}
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
