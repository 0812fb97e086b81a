package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// Traces whose costs are all 0 and whose scores are all equal: that is said before a router is written, and it takes the
// cheapest tiers at every λ.
func TestTrainWithNothingToLearn(t *testing.T) {
	dir := filepath.Join("testdata", "nothing-to-learn")
	root := newRoot()
	root.SetArgs([]string{"train", "--traces", filepath.Join(dir, "train.jsonl.gz"), "--validation-traces", filepath.Join(dir, "validation.jsonl.gz"),
		"--seeds", "1", "--method", "offline", "--backend", "go", "--runs", t.TempDir(), "--name", "zero"})
	var out, notes bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&notes)
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	warning, epoch := strings.Index(notes.String(), "nothing to learn: all scores are equal and all costs are 0"), strings.Index(notes.String(), "epoch")
	if warning < 0 || epoch >= 0 && epoch < warning {
		t.Errorf("the user is told\n%s", notes.String())
	}
	if n := strings.Count(out.String(), "low 1.00"); n != 11*5 || strings.Contains(out.String(), "high") {
		t.Errorf("not the cheapest tiers at every λ:\n%s", out.String())
	}
}
