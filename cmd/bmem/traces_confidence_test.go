package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
)

// Readers that did not answer have no confidence, and nothing of theirs is withheld; answers of another model are not what the
// calibration is of.
func TestTracesConfidence(t *testing.T) {
	folder := filepath.Join("..", "..", "traces", "locomo-answerable")
	f, err := episodes.ReadFile(filepath.Join(folder, "validation.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, f *episodes.File) string {
		path := filepath.Join(t.TempDir(), name)
		if err := f.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	mid := f.Where(func(e router.Episode) bool { return e.Choices[2] == 1 })
	path := write("mid.jsonl.gz", mid)
	args := []string{"traces", "confidence", path, "--calibration", filepath.Join(folder, "answerable.json"), "--unanswerable", filepath.Join(folder, "unanswerable-validation.jsonl.gz"), "--min-answerable"}
	out, err := runVerb(t, "", append(args, "0.4", "--json")...)
	var said confidences
	if err != nil || json.Unmarshal([]byte(out), &said) != nil || len(said.Readers) != 1 || len(said.Abstention["mid"]) != 1 || said.Abstention["mid"][0].AUROC < 0.8 {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = runVerb(t, "", append(args, "0.4")...)
	if err != nil || !strings.Contains(out, "measured on locomo validation") || !strings.Contains(out, "abstain mid") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := runVerb(t, "", append(args, "40")...); err == nil || !strings.Contains(err.Error(), "in 0 to 1") {
		t.Errorf("%v\n%s", err, out)
	}
	mid.System["model"] = "another"
	if out, err := runVerb(t, "", "traces", "confidence", write("another.jsonl.gz", mid), "--calibration", filepath.Join(folder, "answerable.json")); err == nil || !strings.Contains(err.Error(), `by "another"`) {
		t.Errorf("%v\n%s", err, out)
	}
}
