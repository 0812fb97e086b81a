package main

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/experiments/run"
)

func TestSplitPolicies(t *testing.T) {
	for _, tt := range []struct{ in, want []string }{
		{[]string{"low", "mid"}, []string{"low", "mid"}},
		{[]string{"low,mid,high,random"}, []string{"low", "mid", "high", "random"}},
		{[]string{"low,high,mid,low,high"}, []string{"low,high,mid,low,high"}},
		{[]string{"low,mid,high,random,low"}, []string{"low", "mid", "high", "random", "low"}},
		{[]string{"low+high  low,high,mid,low,high"}, []string{"low", "high", "low,high,mid,low,high"}},
		{[]string{"low", "mid,high"}, []string{"low", "mid", "high"}},
		{[]string{""}, nil},
	} {
		if got := splitPolicies(tt.in, 5); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestPrintAnswer(t *testing.T) {
	turns := []chunk.Turn{{ID: "1:1", Session: "1", Speaker: "Ann", Text: "I moved\nto Bern."}}
	a := bmem.Answer{Text: "Bern", Evidence: []string{"1:1"}, Trace: bmem.Trace{Retrieval: "hybrid", TopK: 5, Summary: "a\nb",
		Retrieved: []bmem.Found{{Chunk: "1#1", Turns: []string{"1:1"}, Score: 2}, {Chunk: "2#1"}},
		Kept:      []bmem.Found{{Chunk: "1#1", Turns: []string{"1:1"}, Score: 0.9}},
		Modules:   []bmem.Module{{Module: "filter", Facts: []string{"a fact"}}}}}
	a.Trace.Modules[0].Asked, a.Trace.Modules[0].Served, a.Trace.Modules[0].Why = "high", "mid", "no reply"
	for explain, wants := range map[bool][]string{
		false: {"Bern\n\nfrom turns 1:1\n"},
		true: {"chunk 1#1 (score 2.00, kept, relevance 0.90)", `1:1  Ann said, "I moved to Bern."`, "chunk 2#1 (score 0.00, dropped)",
			"filter: mid instead of high (no reply)", "- a fact", "  a\n  b\n"},
	} {
		var b bytes.Buffer
		if err := printAnswer(&b, a, turns, explain); err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(b.String(), want) {
				t.Errorf("explain %v: output lacks %q:\n%s", explain, want, b.String())
			}
		}
	}
}

func TestRunProgressInPlainLines(t *testing.T) {
	var b bytes.Buffer
	show, end := newRunProgress(&b)
	show(run.Progress{Done: 0, Total: 9})
	show(run.Progress{Done: 5, Total: 9, Dollars: 0.1})
	show(run.Progress{Done: 9, Total: 9, Failed: 1, Dollars: 0.25})
	end()
	if got, want := b.String(), "0 of 9 answers, $0.00000\n9 of 9 answers, $0.25000, 1 failed\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}
