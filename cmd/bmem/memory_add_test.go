package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
)

// A folder of an export, a document and the standard input are added, and skipped when they are added again.
func TestMemoryAdd(t *testing.T) {
	modelstest.Path(t, setup.Embedder)
	exports := filepath.Join("..", "..", "bmem", "conversation", "testdata")
	notes, err := os.ReadFile(filepath.Join(exports, "exports", "notes.md"))
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	for _, c := range []struct {
		arg, stdin, form string
		turns, left      int
	}{
		{filepath.Join(exports, "slack"), "", "a Slack export", 4, 2},
		{"-", string(notes), "a Markdown document", 5, 3},
	} {
		for _, again := range []bool{false, true} {
			root := newRoot()
			root.SetArgs([]string{"memory", "add", "--backend", "go", "--cache", cache, "--json", c.arg})
			var out bytes.Buffer
			root.SetOut(&out)
			root.SetErr(&bytes.Buffer{})
			root.SetIn(strings.NewReader(c.stdin))
			if err := root.Execute(); err != nil {
				t.Fatal(err)
			}
			var got struct {
				Memory, Form string
				New, Skipped int
				LeftOut      int            `json:"left_out"`
				Kinds        map[string]int `json:"left_out_kinds"`
			}
			if err := json.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatalf("%v in %s", err, out.Bytes())
			}
			sum := 0
			for _, n := range got.Kinds {
				sum += n
			}
			added, skipped := c.turns, 0
			if again {
				added, skipped = 0, c.turns
			}
			if got.Form != c.form || got.New != added || got.Skipped != skipped || got.LeftOut != c.left || sum != c.left {
				t.Errorf("%s, again %v: %+v", c.arg, again, got)
			}
		}
	}
}
