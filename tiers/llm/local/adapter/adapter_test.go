package adapter

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// What is written is read again, and the card says for people what the file says for programs.
func TestWriteRead(t *testing.T) {
	a := &Adapter{Rank: 1, Alpha: 2, Pairs: map[Key]Pair{
		{Layer: 3, Target: "q_proj"}:    {A: []float32{1, 2}, B: []float32{0.5, -1, 4}, In: 2, Out: 3},
		{Layer: 0, Target: "down_proj"}: {A: []float32{0.25}, B: []float32{8}, In: 1, Out: 1},
	}, Info: Info{Base: "base", BaseSHA256: "aa11", Template: "notes", TemplateHash: "bb22", Steps: 7, Commit: "c0ffee", License: "CC-BY-NC-4.0",
		Data: []Data{{Name: "talks.jsonl", SHA256: "cc33", Examples: 12}}}}
	dir := t.TempDir()
	if err := a.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.SHA256 == "" || !got.In("local:sha256:aa11+sha256:"+got.SHA256) || got.In("local:sha256:aa11") {
		t.Errorf("SHA-256 %q", got.SHA256)
	}
	got.SHA256 = ""
	if !reflect.DeepEqual(got, a) {
		t.Errorf("read %+v, want %+v", got, a)
	}
	card, err := os.ReadFile(filepath.Join(dir, CardFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"base", "aa11", "notes", "bb22", "7 steps", "c0ffee", "CC-BY-NC-4.0", "talks.jsonl", "cc33", "12"} {
		if !strings.Contains(string(card), want) {
			t.Errorf("the card does not say %q:\n%s", want, card)
		}
	}
}
