package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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

func TestScoreVerb(t *testing.T) {
	const in = `{"id":"a","prediction":"Paris, the city","gold":"Paris","category":1}
{"id":2,"prediction":"12","gold":[13,12],"category":"single-hop"}
`
	file := filepath.Join(t.TempDir(), "p.jsonl")
	if err := os.WriteFile(file, []byte(in), 0o644); err != nil {
		t.Fatal(err)
	}
	const lines = `{"id":"a","score":1}` + "\n" + `{"id":2,"score":1}` + "\n"
	got, err := runVerb(t, "", "score", "--metric", "locomo", "--in", file)
	if want := lines + "mean 1 over 2 predictions (locomo)\n"; err != nil || got != want {
		t.Errorf("wrote %q, %v; want %q", got, err, want)
	}
	got, err = runVerb(t, in, "score", "--metric", "locomo", "--in", "-", "--json")
	if want := lines + `{"metric":"locomo","n":2,"mean":1,"by_category":{"1":{"n":1,"mean":1},"single-hop":{"n":1,"mean":1}}}` + "\n"; err != nil || got != want {
		t.Errorf("wrote %q, %v; want %q", got, err, want)
	}
	// A bad line at the end: named, and nothing written.
	got, err = runVerb(t, in+`{"id":3,"prediction":"x","gold":"x"}`, "score", "--metric", "locomo", "--in", "-")
	if err == nil || got != "" || !strings.Contains(err.Error(), `standard input:3: field "category"`) {
		t.Errorf("wrote %q, %v; want nothing and an error about line 3", got, err)
	}
	if _, err = runVerb(t, in, "score", "--metric", "lokomo", "--in", "-"); err == nil || !strings.Contains(err.Error(), `did you mean "locomo"`) {
		t.Errorf("an unknown metric gives %v", err)
	}
	if _, err = runVerb(t, "", "score", "--metric", "exact", "--in", file+".none"); err == nil || !strings.Contains(err.Error(), file+".none") {
		t.Errorf("a missing file gives %v", err)
	}
}

func TestDataVerbs(t *testing.T) {
	t.Setenv("BUDGETMEM_DATA", "")
	got, err := runVerb(t, "", "data", "list", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var infos []struct {
		Name   string
		Splits []struct {
			Split     string
			Questions int
			Missing   string
		}
	}
	if err := json.Unmarshal([]byte(got), &infos); err != nil {
		t.Fatal(err)
	}
	if first := infos[0]; first.Name != "locomo" || first.Splits[2].Questions != 314 || first.Splits[2].Split != "test" {
		t.Errorf("the list starts with %+v", first)
	}
	if got, err = runVerb(t, "", "data", "list"); err != nil || !strings.Contains(got, "296 (missing)") {
		t.Errorf("the table is\n%s(%v); want a mark at the missing training split", got, err)
	}
	got, err = runVerb(t, "", "data", "show", "locomo", "--split", "train", "--question", "conv-26/q0000")
	if err != nil || !strings.Contains(got, "7 May 2023") || !strings.Contains(got, "D1:3") || !strings.Contains(got, "LGBTQ support group yesterday") {
		t.Errorf("shown is\n%s(%v); want the answer and the evidence D1:3", got, err)
	}
	if _, err = runVerb(t, "", "data", "show", "locomo", "--question", "conv-26/q9999"); err == nil {
		t.Error("a question that is not there was shown")
	}
	if _, err = runVerb(t, "", "data", "verify", "locom"); err == nil || !strings.Contains(err.Error(), `"locomo"`) {
		t.Errorf("an unknown data set gives %v", err)
	}
	if got, err = runVerb(t, "", "data", "verify", "locomo", "longmemeval-oracle"); err != nil || strings.Count(got, "\n") != 7 {
		t.Errorf("verify wrote\n%s(%v); want a heading and six lines", got, err)
	}
}
