package episodes_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/router"
)

// A small file that unpacks to one endless line is refused by that line, before it takes much memory.
func TestLongLines(t *testing.T) {
	header, _, ok := strings.Cut(unpacked(t, task.File(3)), "\n")
	if !ok {
		t.Fatal("no header")
	}
	for name, c := range map[string]struct{ head, want string }{
		"header": {"", "bomb.gz:1: the line is longer than the limit of 1048576 bytes"}, "line": {header + "\n", "bomb.gz:2: the line is longer than the limit of 16777216 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			var bomb bytes.Buffer
			w := gzip.NewWriter(&bomb)
			w.Write([]byte(c.head))
			chunk := bytes.Repeat([]byte("a"), 1<<20)
			for range 200 {
				w.Write(chunk)
			}
			w.Close()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := episodes.Parse("bomb.gz", &bomb)
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 150<<20 {
				t.Errorf("allocated %d MB", grown>>20)
			}
		})
	}
}

// What version 2 adds survives, and a file without it is one of version 1.
func TestVersions(t *testing.T) {
	f := task.File(3)
	var plain bytes.Buffer
	if err := f.Write(&plain); err != nil {
		t.Fatal(err)
	}
	old, err := episodes.Parse("old", bytes.NewReader(plain.Bytes()))
	if err != nil || old.Version != 1 {
		t.Fatalf("version %d, %v", old.Version, err)
	}
	sum := -1.5
	f.Signals = []router.Signal{{Name: "sure", Scale: 2}}
	e := &f.Episodes[1]
	e.Answer, e.Quoted, e.Signals, e.AnswerSignals = "Bern", []string{"1:1"}, map[string]float64{"sure": 1}, map[string]float64{"logprob_mean": -0.5}
	e.Calls = []router.Calls{{Step: "answer", Model: "m", Calls: 1, In: 10, Out: 2, Dollars: 1e-6}}
	e.Draws = []router.Draw{{Answer: "Bern", Score: 1, LogProb: &sum}, {Answer: "Basel"}}
	var rich bytes.Buffer
	if err := f.Write(&rich); err != nil {
		t.Fatal(err)
	}
	got, err := episodes.Parse("new", bytes.NewReader(rich.Bytes()))
	if err != nil || got.Version != 2 || !reflect.DeepEqual(got.Shape().Signals, f.Signals) {
		t.Fatalf("version %d, signals %v, %v", got.Version, got.Signals, err)
	}
	back := got.Episodes[1]
	if back.Answer != e.Answer || !reflect.DeepEqual(back.Quoted, e.Quoted) || !reflect.DeepEqual(back.Signals, e.Signals) || !reflect.DeepEqual(back.AnswerSignals, e.AnswerSignals) ||
		!reflect.DeepEqual(back.Calls, e.Calls) || !reflect.DeepEqual(back.Draws, e.Draws) {
		t.Errorf("read again: %+v", back)
	}
	if s := got.Stats(); s.Draws != 2 || s.Signals["sure"] != 1 || s.Signals["logprob_mean"] != 1 {
		t.Errorf("stats %+v", s)
	}
	// Files of both versions go together, if nothing else differs.
	got.Signals = nil
	if both, err := episodes.Merge(old, got); err != nil || len(both.Episodes) != len(old.Episodes) {
		t.Errorf("merged: %v", err)
	}
	for name, spoil := range map[string]func(*episodes.File){
		"scale": func(f *episodes.File) { f.Signals = []router.Signal{{Name: "sure"}} },
		"calls": func(f *episodes.File) { f.Episodes[0].Calls = []router.Calls{{Step: "answer", In: -1}} },
		"draws": func(f *episodes.File) { f.Episodes[0].Draws = []router.Draw{{Score: 2}} },
	} {
		bad := *got
		bad.Episodes = slices.Clone(got.Episodes)
		spoil(&bad)
		if err := bad.Write(io.Discard); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
