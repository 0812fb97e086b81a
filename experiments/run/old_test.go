package run

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// The folder of a run of an earlier version loads, and its predictions have the same lines today.
func TestLoadOldRun(t *testing.T) {
	const dir = "testdata/run-v1"
	r, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if r.Name != "run-v1" || r.Settings.Dataset != "tiny" || len(r.Columns) != 3 || r.Columns[0].Policy != Gold || r.Columns[1].Policy != "low" {
		t.Fatalf("%+v", r)
	}
	want, err := os.ReadFile(dir + "/predictions.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	enc := json.NewEncoder(&got)
	enc.SetEscapeHTML(false)
	for _, c := range r.Columns {
		for _, rec := range c.Records {
			if err := enc.Encode(rec.Prediction); err != nil {
				t.Fatal(err)
			}
			if c.Policy != Gold && (rec.States == nil || len(rec.States.Query) == 0 || rec.Cost.Dollars() <= 0) {
				t.Errorf("%s %s: states %+v, cost %+v", rec.Policy, rec.ID, rec.States, rec.Cost)
			}
		}
	}
	// The file has the run's order of questions, Load sorts them.
	lines := func(data []byte) []string { return slices.Sorted(strings.Lines(string(data))) }
	if !slices.Equal(lines(got.Bytes()), lines(want)) {
		t.Errorf("predictions\n%s\nwant\n%s", &got, want)
	}
}
