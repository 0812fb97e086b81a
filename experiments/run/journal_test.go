package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func rec(policy, id, prediction string) Record {
	return Record{Prediction: Prediction{Policy: policy, ID: id, Prediction: prediction, Gold: []string{"g"}}}
}

func TestJournalSurvivesATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "traces.jsonl")
	j, got, err := openJournal(path)
	if err != nil || len(got) != 0 {
		t.Fatalf("new journal: %v, %v", got, err)
	}
	for _, r := range []Record{rec("low", "1", "a"), rec("low", "2", "b"), rec("low", "1", "c")} {
		if err := j.append(r); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := openJournal(path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second process got the journal: %v", err)
	}
	j.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := strings.LastIndex(strings.TrimSpace(string(whole)), "\n") + 1
	// Cut the file at every byte of its last line: the first two records always survive, and appending works.
	for cut := last; cut < len(whole); cut++ {
		if err := os.WriteFile(path, whole[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		j, got, err := openJournal(path)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if (j.dropped != "") != (cut > last) {
			t.Errorf("cut at %d: said %q", cut, j.dropped)
		}
		if len(got) != 2 || got[key{"low", "1"}].Prediction.Prediction != "a" {
			t.Fatalf("cut at %d: %d records", cut, len(got))
		}
		if err := j.append(rec("low", "1", "c")); err != nil {
			t.Fatal(err)
		}
		j.Close()
		if b, _ := os.ReadFile(path); string(b) != string(whole) {
			t.Fatalf("cut at %d: after appending again the file is\n%s", cut, b)
		}
	}
	_, got, err = openJournal(path)
	if err != nil || got[key{"low", "1"}].Prediction.Prediction != "c" {
		t.Errorf("the last line of a question must count: %+v, %v", got, err)
	}
}

func TestJournalNamesADamagedLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "traces.jsonl")
	if err := os.WriteFile(path, []byte("{}\nnonsense\n{}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openJournal(path); err == nil || !strings.Contains(err.Error(), "traces.jsonl:2:") {
		t.Errorf("error %v, want one that names line 2", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "{}\nnonsense\n{}\n" {
		t.Error("the damaged file was changed")
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "is not the folder of a run") {
		t.Errorf("an empty folder: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, configName), []byte(`{"settings":{"metric":"locomo-f1"}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "traces.jsonl"), []byte("{}\nnonsense\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "traces.jsonl:2") {
		t.Errorf("a damaged journal: %v", err)
	}
}

// Whatever bit of a record changes, the file and the line are named, and nothing is used.
func TestJournalNamesAFlippedBit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "traces.jsonl")
	j, _, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"1", "2", "3"} {
		if err := j.append(rec("low", id, "answer "+id)); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := strings.IndexByte(string(whole), '\n') + 1
	second := first + strings.IndexByte(string(whole[first:]), '\n')
	for i := first; i <= second; i++ {
		damaged := append([]byte(nil), whole...)
		damaged[i] ^= 4
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, got, err := openJournal(path); err == nil || !strings.Contains(err.Error(), "traces.jsonl:2:") {
			t.Errorf("byte %d: %d records, %v", i-first, len(got), err)
		}
	}
}

// A line that could not be written is not followed by another, which would be glued to what there is of it.
func TestJournalStopsAfterAFailedWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "traces.jsonl")
	j, _, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.append(rec("low", "1", "a")); err != nil {
		t.Fatal(err)
	}
	file := j.f
	if j.f, err = os.Open(path); err != nil { // cannot be written
		t.Fatal(err)
	}
	broken := j.append(rec("low", "2", "b"))
	j.f.Close()
	j.f = file
	if again := j.append(rec("low", "3", "c")); broken == nil || again == nil {
		t.Errorf("errors %v, %v", broken, again)
	}
	j.Close()
	if _, got, err := openJournal(path); err != nil || len(got) != 1 {
		t.Errorf("%d records, %v", len(got), err)
	}
}
