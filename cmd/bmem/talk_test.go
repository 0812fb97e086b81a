package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// ask runs `bmem ask --json` on a conversation of testdata, with a model that says "the old mill", and returns the answer and
// what was noted on the terminal.
func ask(t *testing.T, file string, args ...string) (bmem.Answer, string, error) {
	t.Helper()
	modelstest.Path(t, setup.Embedder)
	server := llmtest.New(llmtest.Config{Reply: func(llmtest.Call) string { return "the old mill" }})
	t.Cleanup(server.Close)
	root := newRoot()
	root.SetArgs(append([]string{"ask", "--backend", "go", "--cache", t.TempDir(), "--endpoint", server.URL(), "--model", "m", "--allow-unpriced", "--json",
		"--memory", file}, args...))
	var out, notes bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&notes)
	if err := root.Execute(); err != nil {
		return bmem.Answer{}, notes.String(), err
	}
	var a bmem.Answer
	if err := json.Unmarshal(out.Bytes(), &a); err != nil {
		t.Fatalf("%v in %s", err, out.Bytes())
	}
	return a, notes.String(), nil
}

// Conversations with dates and ids that are not quite right: what the answer is written from, and what the user is told.
func TestTalks(t *testing.T) {
	for name, c := range map[string]struct {
		file  string
		args  []string
		has   []string // in the summary
		hasNo []string
		order string // in the trace; "" for none
		notes string
	}{
		"the file shows the day first": {file: "dates-day-first", has: []string{"11 April 2025", "[12 April 2025]"}, hasNo: []string{"December"}, order: "dmy", notes: "as 13/04/2025 shows"},
		"the user says the month first": {file: "dates-day-first", args: []string{"--dates", "mdy"}, has: []string{"3 December 2025"}, order: "mdy",
			notes: "but for 13/04/2025, which cannot be read so"},
		"nothing is shown":        {file: "dates-nothing-shown", has: []string{"2 April 2025"}, hasNo: []string{"March"}, order: "dmy", notes: "assumed to be written day first"},
		"decimals are no amounts": {file: "dates-decimals", has: []string{"September 2023", "December 2024"}, hasNo: []string{"2020", "October 2024", "Bern 1 "}},
		"French times":            {file: "dates-other-languages", has: []string{"Notes from memory", "3 March 2025"}, hasNo: []string{"documents"}},
		"a relative session time": {file: "dates-relative-session", has: []string{"[yesterday] Rita said", "Notes from a conversation"}, hasNo: []string{"documents", " 20"},
			notes: `not read as dates, and left as written: ["yesterday"]`},
		"an id that is made up": {file: "generated-id-collides", has: []string{"old mill"}},
	} {
		t.Run(name, func(t *testing.T) {
			a, notes, err := ask(t, filepath.Join("testdata", "talks", c.file+".jsonl"), append(c.args, "When did Rita sign up, move, or meet at the old mill?")...)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range c.has {
				if !strings.Contains(a.Trace.Summary, s) {
					t.Errorf("%q is missing in\n%s", s, a.Trace.Summary)
				}
			}
			for _, s := range c.hasNo {
				if strings.Contains(a.Trace.Summary, s) {
					t.Errorf("%q stands in\n%s", s, a.Trace.Summary)
				}
			}
			if r := a.Trace.Dates; c.order != "" && (r == nil || string(r.Order) != c.order) {
				t.Errorf("the trace says %+v of dates, want order %s", r, c.order)
			}
			if !strings.Contains(notes, c.notes) || c.notes == "" && strings.Contains(notes, "note:") {
				t.Errorf("the user is told %q, want %q", notes, c.notes)
			}
		})
	}
	if _, _, err := ask(t, filepath.Join("testdata", "talks", "dates-day-first.jsonl"), "--dates", "ddmm", "When?"); err == nil || !strings.Contains(err.Error(), "dmy") {
		t.Errorf("--dates ddmm: %v", err)
	}
}

// BM25 finds words of scripts without spaces, and the trace says what is lacking for a language.
func TestTalksInOtherLanguages(t *testing.T) {
	for _, c := range []struct{ file, question, chunk, notes string }{
		{"chinese", "丽塔的猫叫什么名字？", "5#1", ""},
		{"japanese", "リタの猫の名前は何ですか？", "5#1", ""},
		{"thai", "แมวของริตาชื่ออะไร", "5#1", ""},
		{"lao", "ແມວຂອງລິຕາຊື່ຫຍັງ", "5#1", ""},
		{"khmer", "ឆ្មារបស់រីតាឈ្មោះអ្វី", "5#1", ""},
		{"polish", "Jak nazywa się kot Rity?", "5#1", "Polish"},
	} {
		a, notes, err := ask(t, filepath.Join("testdata", "talks", c.file+".jsonl"), "--retrieval", "bm25", "--top-k", "2", "--keep", "1", c.question)
		if err != nil {
			t.Fatalf("%s: %v", c.file, err)
		}
		if found := a.Trace.Retrieved; len(found) == 0 || found[0].Chunk != c.chunk || found[0].Score <= 0 {
			t.Errorf("%s: found %+v, want %s first", c.file, found, c.chunk)
		}
		if !strings.Contains(notes, c.notes) || c.notes == "" && strings.Contains(notes, "note:") {
			t.Errorf("%s: the user is told %q, want %q", c.file, notes, c.notes)
		}
	}
}
