package notebook

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/budgetmem/budgetmem/internal/testenv"
)

func TestReadBackWhatWasWritten(t *testing.T) {
	for seed := range uint64(3000) {
		checkRoundTrips(t, random(rand.New(rand.NewPCG(seed, 1))))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// checkRoundTrips writes a notebook in both forms and reads it back.
func checkRoundTrips(t *testing.T, nb *Notebook) {
	t.Helper()
	data, err := nb.Format()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(data)
	if err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	compare(t, nb, back)
	if again, err := back.Format(); err != nil || !bytes.Equal(again, data) {
		t.Errorf("%v, written anew\n%s\nbefore\n%s", err, again, data)
	}
	script, err := nb.Script()
	if err != nil {
		t.Fatal(err)
	}
	back, err = ParseScript(script)
	if err != nil {
		t.Fatalf("%v in\n%s", err, script)
	}
	bare := nb.clone()
	bare.ClearOutputs()
	compare(t, bare, back)
	if again, err := back.Script(); err != nil || !bytes.Equal(again, script) {
		t.Errorf("%v, written anew\n%s\nbefore\n%s", err, again, script)
	}
}

// compare says where two notebooks differ.
func compare(t *testing.T, want, got *Notebook) {
	t.Helper()
	if len(want.Cells) != len(got.Cells) {
		t.Fatalf("%d cells, want %d: %+v", len(got.Cells), len(want.Cells), got.Cells)
	}
	for i := range want.Cells {
		w, g := want.Cells[i], got.Cells[i]
		if w.Kind != g.Kind || w.ID != g.ID || w.Source != g.Source || w.Count != g.Count {
			t.Errorf("cell %d\n%q %+v, want\n%q %+v", i+1, g.Source, g, w.Source, w)
		}
		if w, g := sorted(t, w.object()), sorted(t, g.object()); w != g {
			t.Errorf("cell %d\n%s, want\n%s", i+1, g, w)
		}
	}
	if w, g := sorted(t, want.Metadata), sorted(t, got.Metadata); w != g {
		t.Errorf("metadata %s, want %s", g, w)
	}
}

func sorted(t *testing.T, o Object) string {
	t.Helper()
	data := encode(o)
	if err := data.Format(jsontext.ReorderRawObjects(true)); err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestPythonAgrees has Python's nbformat validate what is written and write it anew, which must give the same bytes.
func TestPythonAgrees(t *testing.T) {
	python := testenv.Program(t, "python")
	var files []string
	for seed := range uint64(400) {
		data, err := random(rand.New(rand.NewPCG(seed, 2))).Format()
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, string(data))
	}
	script, err := os.ReadFile("testdata/example.go")
	if err != nil {
		t.Fatal(err)
	}
	nb, err := ParseScript(script)
	if err != nil {
		t.Fatal(err)
	}
	data, err := nb.Format()
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, string(data))
	input, err := json.Marshal(files)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", `
import json, sys, nbformat
for i, text in enumerate(json.load(sys.stdin)):
    nb = nbformat.reads(text, 4)
    nbformat.validate(nb)
    if nbformat.writes(nb) + "\n" != text:
        sys.exit(f"notebook {i}: Python writes\n{nbformat.writes(nb)!r}\nwe wrote\n{text!r}")
`)
	cmd.Stdin = bytes.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestUnknownFieldsAreKept(t *testing.T) {
	const text = `{
 "cells": [
  {
   "cell_type": "code",
   "execution_count": 3,
   "future": {
    "a": [
     1.50,
     1e400
    ]
   },
   "id": "x",
   "metadata": {
    "own": {
     "deep": null
    }
   },
   "outputs": [
    {
     "later": true,
     "name": "stdout",
     "output_type": "stream",
     "text": [
      "a\n",
      "b"
     ]
    }
   ],
   "source": []
  }
 ],
 "metadata": {},
 "nbformat": 4,
 "nbformat_minor": 7,
 "outer": "kept"
}
`
	nb, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := nb.Format(); err != nil || string(out) != text {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := nb.Script(); err == nil || !strings.Contains(err.Error(), "outer") {
		t.Errorf("a script without the field outer: %v", err)
	}
}

func TestOldMinorVersionsGetIDs(t *testing.T) {
	nb, err := Parse([]byte(`{"cells":[{"cell_type":"markdown","metadata":{},"source":"a"},{"cell_type":"markdown","metadata":{},"source":["a"]}],"metadata":{},"nbformat":4,"nbformat_minor":2}`))
	if err != nil {
		t.Fatal(err)
	}
	if a, b := nb.Cells[0].ID, nb.Cells[1].ID; a == b || checkID(a) != nil || checkID(b) != nil {
		t.Errorf("IDs %q and %q", a, b)
	}
	checkRoundTrips(t, nb)
}

func TestBrokenNotebooks(t *testing.T) {
	cell := func(fields string) string {
		return `{"cells":[{"cell_type":"markdown","id":"a","metadata":{},"source":""},{` + fields + `}],"metadata":{},"nbformat":4,"nbformat_minor":5}`
	}
	code := func(output string) string {
		return cell(`"cell_type":"code","id":"b","metadata":{},"source":"","execution_count":null,"outputs":[` + output + `]`)
	}
	for text, want := range map[string]string{
		``:                   "no JSON value",
		"{\n\"cells\": [\n}": "line 3: ",
		`[]`:                 "want a JSON object",
		`{} {}`:              "something follows",
		`{"nbformat":3}`:     "field nbformat_minor: missing",
		`{"cells":[],"metadata":{},"nbformat":3,"nbformat_minor":0}`:                                             "nbformat 3.0",
		`{"cells":{},"metadata":{},"nbformat":4,"nbformat_minor":5}`:                                             "field cells: want a list",
		`{"cells":null,"metadata":{},"nbformat":4,"nbformat_minor":5}`:                                           "field cells: want a list, is null",
		`{"cells":[],"metadata":{"kernelspec":{"name":3}},"nbformat":4,"nbformat_minor":5}`:                      "field metadata.kernelspec: want an object with a name",
		`{"cells":[],"metadata":{"budgetmem":{"shows":["frontier"]}},"nbformat":4,"nbformat_minor":5}`:           `"frontier" is not of the form chart:NAME`,
		`{"cells":[],"metadata":{"budgetmem":{"shows":"chart:a"}},"nbformat":4,"nbformat_minor":5}`:              "field metadata.budgetmem: want",
		"{\"cells\":[{\"id\":\"a\"},\n{\"metadata\":{\"b\":01}}]}":                                               "line 2: cell 2: field metadata: ",
		`{"cells":[{"id":"a","id":"b"}]}`:                                                                        "cell 1: field id: duplicate",
		cell(`"id":"b"`):                                                                                         "cell 2: field cell_type: missing",
		cell(`"cell_type":"chart"`):                                                                              `cell 2: field cell_type: "chart" is none of`,
		cell(`"cell_type":"raw"`):                                                                                "cell 2: field id: missing",
		cell(`"cell_type":"raw","id":"ä"`):                                                                       `cell 2: field id: "ä" is not`,
		cell(`"cell_type":"raw","id":"a","source":"","metadata":{}`):                                             `cell 2: field id: "a" is the ID of cell 1 too`,
		cell(`"cell_type":"raw","id":"b","source":7,"metadata":{}`):                                              "cell 2: field source: want a string or a list of strings",
		cell(`"cell_type":"raw","id":"b","source":"","metadata":{"tags":"x"}`):                                   "cell 2: field metadata.tags: want a list of strings",
		cell(`"cell_type":"raw","id":"b","source":"","metadata":{},"attachments":[]`):                            "cell 2: field attachments: want an object",
		cell(`"cell_type":"code","id":"b","source":"","metadata":{},"outputs":[]`):                               "cell 2: field execution_count: missing",
		cell(`"cell_type":"code","id":"b","source":"","metadata":{},"execution_count":-1,"outputs":[]`):          "cell 2: field execution_count: -1",
		code(`{"output_type":"stream","text":"a"}`):                                                              "cell 2: field outputs[0]: field name: missing",
		code(`{"output_type":"display_data","data":{},"metadata":{}},{"output_type":"display_data","data":"a"}`): "cell 2: field outputs[1]: field data: want an object",
		code(`{"output_type":"error","ename":"a","evalue":"b","traceback":"c"}`):                                 "cell 2: field outputs[0]: field traceback: want a list",
		code(`{"output_type":"execute_result","data":{},"metadata":{}}`):                                         "cell 2: field outputs[0]: field execution_count: missing",
		code(`{"output_type":"hologram"}`):                                                                       `cell 2: field outputs[0]: field output_type: "hologram" is none of`,
		code(`3`):                                                                                                "cell 2: field outputs[0]: want a JSON object",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n  error %v\n  want  %s", text, err, want)
		}
	}
	file := filepath.Join(t.TempDir(), "broken.ipynb")
	if err := os.WriteFile(file, []byte(cell(`"id":"b"`)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(file); err == nil || !strings.Contains(err.Error(), file+": cell 2: field cell_type") {
		t.Errorf("error %v does not name the file", err)
	}
}

func TestKeepOutputs(t *testing.T) {
	old := New(Cell{Kind: Code, Source: "a"}, Cell{Kind: Code, Source: "b"}, Cell{Kind: Code, Source: "a"})
	for i := range old.Cells {
		c := &old.Cells[i]
		c.ID, c.Count = string(rune('x'+i)), i+1
		c.Outputs = []Output{{Object{"output_type": encode(Stream), "name": encode("stdout"), "text": encode(c.ID)}}}
	}
	nb := New(Cell{Kind: Code, Source: "new"}, Cell{Kind: Code, Source: "a"}, Cell{Kind: Markdown, Source: "b"}, Cell{Kind: Code, Source: "a"}, Cell{Kind: Code, Source: "a"})
	nb.KeepOutputs(old)
	var got []string
	for _, c := range nb.Cells {
		written := "-"
		if len(c.Outputs) > 0 {
			_, written = c.Outputs[0].Stream()
		}
		got = append(got, written)
	}
	if want := "- x - z -"; strings.Join(got, " ") != want {
		t.Errorf("outputs %v, want %s", got, want)
	}
	if nb.Cells[1].ID != "x" || nb.Cells[3].ID != "z" || nb.Cells[3].Count != 3 {
		t.Errorf("cells %+v", nb.Cells)
	}
	checkRoundTrips(t, nb)
}

func FuzzParse(f *testing.F) {
	for seed := range uint64(20) {
		data, err := random(rand.New(rand.NewPCG(seed, 3))).Format()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		nb, err := Parse(data)
		if err != nil {
			return
		}
		if len(nb.extra) > 0 {
			return // no script can hold these
		}
		for _, c := range nb.Cells {
			if len(c.extra) > 0 {
				return
			}
		}
		checkRoundTrips(t, nb)
	})
}
