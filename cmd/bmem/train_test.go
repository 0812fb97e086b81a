package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/episodes/episodestest"
	"github.com/budgetmem/budgetmem/experiments/lab"
	"github.com/budgetmem/budgetmem/experiments/train"
	"github.com/budgetmem/budgetmem/router/portable"
)

// From trace files to a calibrated router and a comparison, by the command line alone.
func TestTrainCompareCalibrate(t *testing.T) {
	dir := t.TempDir()
	file := map[string]string{}
	for split, n := range map[string]int{"train": 24, "validation": 8, "test": 8} {
		file[split] = filepath.Join(dir, split+".gz")
		if err := (episodestest.Task{Split: split, Questions: n, Seed: 1}).File(12).WriteFile(file[split]); err != nil {
			t.Fatal(err)
		}
	}
	must := func(want string, args ...string) string {
		t.Helper()
		out, err := runVerb(t, "", args...)
		if err != nil || !strings.Contains(out, want) {
			t.Fatalf("bmem %s: %v\n%s\nwant %q in it", strings.Join(args, " "), err, out, want)
		}
		return out
	}
	must("288, 12 to 12 a question", "traces", "info", file["train"])
	two := filepath.Join(dir, "two", "train.gz") // its folder is made
	must("40, 1 to 4 a question", "traces", "select", file["train"], "--tiers", "low,high", "--out", two)
	if f, err := episodes.ReadFile(two); err != nil || len(f.Episodes) >= 288 || len(f.Space[0].Tiers) != 2 {
		t.Errorf("%v; of 288 traces %d need the tiers %v alone", err, len(f.Episodes), f.Space[0].Tiers)
	}
	few := filepath.Join(dir, "few.gz")
	if err := (episodestest.Task{Split: "train", Questions: 12, Seed: 1}).File(3).WriteFile(few); err != nil {
		t.Fatal(err)
	}
	must("144, 12 to 12 a question", "traces", "select", file["train"], "--without", few, "--out", filepath.Join(dir, "new.gz"))
	if _, err := runVerb(t, "", "traces", "select", few, "--without", file["train"], "--out", filepath.Join(dir, "none.gz")); err == nil || !strings.Contains(err.Error(), "has every question") {
		t.Errorf("select --without the file with every question: %v", err)
	}
	must("embeddings, as routers do", "traces", "learnable", few)
	trained := []string{"train", "--traces", file["train"], "--validation-traces", file["validation"], "--test-traces", file["test"], "--backend", "go",
		"--runs", dir, "--name", "one", "--seeds", "1", "--set", "epochs=2", "--set", "batch=8", "--set", "minibatch=8"}
	first := must("last on test", trained...)
	again := must("last on test", trained...)
	if _, table, _ := strings.Cut(first, "offline, 1 seeds"); !strings.HasSuffix(again, table) {
		t.Errorf("the same command again said\n%s\nafter\n%s", again, first)
	}
	must("not evaluated on test: give --test-traces", "train", "--traces", file["train"], "--validation-traces", file["validation"], "--backend", "go",
		"--runs", dir, "--name", "two", "--seeds", "1", "--set", "epochs=1", "--set", "batch=8", "--set", "minibatch=8", "--method", "ppo")
	report, result := filepath.Join(dir, "r.html"), filepath.Join(dir, "r.json")
	must("oracle, not reachable", "frontier", "--validation-traces", file["validation"], "--test-traces", file["test"], "--training", filepath.Join(dir, "one"),
		"--html", report, "--json-file", result)
	for _, path := range []string{report, result} {
		if data, err := os.ReadFile(path); err != nil || !strings.Contains(string(data), "best static") {
			t.Errorf("%s: %v", path, err)
		}
	}
	out := filepath.Join(dir, "router.safetensors")
	must("calibration", "router", "calibrate", filepath.Join(dir, "one", "seed-42", "checkpoints", "best.safetensors"), "--traces", file["validation"], "--out", out, "--points", "5")
	r, err := portable.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	points := r.Info().Calibration
	if len(points) != 5 || points[0].Lambda != 0 || points[4].Lambda != 1 || !strings.Contains(r.Info().Note, "seed 42") {
		t.Errorf("%+v", r.Info())
	}
	for i := range points[1:] {
		if points[i+1].Dollars > points[i].Dollars {
			t.Errorf("dollars rise with λ: %+v", points)
		}
	}
}

func TestBadTrainingCommands(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "train.gz")
	if err := (episodestest.Task{Split: "train", Questions: 3, Seed: 1}).File(3).WriteFile(path); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string]string{
		"give --traces and":          "train --runs " + dir,
		"no training method":         "train --method best --runs " + dir,
		"unknown field":              "train --set epoch=1 --runs " + dir,
		"not of validation":          "train --traces " + path + " --validation-traces " + path + " --runs " + dir,
		"not of --dataset":           "train --dataset locomo --traces " + path + " --validation-traces " + path + " --runs " + dir,
		"give --validation":          "frontier --test-traces " + path,
		"there are test, validation": "frontier --live=train --validation-traces x --test-traces y",
		"no router":                  "frontier --validation-traces x --test-traces y --training " + dir,
		"no such file":               "traces info " + path + "x",
		"must not be negative":       "traces collect --questions -1",
		"at least 2 arg(s)":          "traces merge x",
		"there are low, mid, high":   "traces select " + path + " --tiers low,hig --out " + path + "2",
		"there are kind 0, kind 1":   "traces select " + path + " --category none --out " + path + "2",
		"at least 10 are needed":     "traces learnable " + path,
		"say what to keep":           "traces select " + path + " --out " + path + "2",
		"give --traces FILE":         "router calibrate x",
		"inside the folder":          "train --traces " + path + " --validation-traces " + path + " --name ../x",
		"at least 1":                 "train --seeds 0 --traces x --validation-traces y",
		"--config: open nofile":      "train --config nofile --traces x --validation-traces y",
	} {
		if _, err := runVerb(t, "", strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("bmem %s: error %v, want %q", args, err, want)
		}
	}
}

// The notebooks' lab starts the real program and reads its progress.
func TestLabReadsProgress(t *testing.T) {
	dir := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	script := "#!/bin/sh\nexec env " + processEnv + "=1 '" + program + "' \"$@\"\n"
	if err := errors.Join(os.Mkdir("bin", 0o755), os.WriteFile("bin/bmem", []byte(script), 0o755)); err != nil {
		t.Fatal(err)
	}
	file := func(split string, n int) *episodes.File {
		return episodestest.Task{Split: split, Questions: n, Seed: 1}.File(12)
	}
	b := lab.Benchmark{Train: file("train", 12), Validation: file("validation", 4), Test: file("test", 4)}
	for _, method := range []string{train.Offline, train.PPO} {
		var notes []string
		s, err := b.TrainRouters(t.Context(), lab.Training{Name: "x", Method: method, Seeds: 2, Settings: []string{"epochs=3", "batch=8", "minibatch=8"}, Runs: filepath.Join(dir, "runs"),
			Progress: func(done, total int, note string) { notes = append(notes, fmt.Sprintf("%d/%d %s", done, total, note)) }})
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, seed := range s.Seeds {
			for _, e := range seed.Epochs {
				want = append(want, fmt.Sprintf("%d/6 seed %d, value %.4f", len(want)+1, seed.Seed, e.Value))
			}
		}
		if len(want) != 6 || !slices.Equal(notes, want) {
			t.Errorf("%s: progress %q, want %q", method, notes, want)
		}
	}
	if _, err := runVerb(t, "", "train", "--progress", "xml"); err == nil || !strings.Contains(err.Error(), "want text or jsonl") {
		t.Errorf("an unknown form of progress: %v", err)
	}
}

// Epochs that say the same are one line; the first and the last one are always said.
func TestTrainProgressSaysWhatIsNew(t *testing.T) {
	var b strings.Builder
	show, err := newTrainProgress(&b, "text")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range int64(2) {
		for epoch := range 200 {
			e := &train.Epoch{Epoch: epoch + 1}
			e.Value, e.Points = 0.5, []train.Point{{Lambda: 0.25}}
			if epoch == 7 {
				e.Value = 0.75
			}
			show(train.Progress{Seed: seed, Epoch: epoch + 1, Epochs: 200, Validation: e})
		}
	}
	var said []string
	for _, line := range strings.Split(strings.TrimSpace(b.String()), "\n") {
		line, _, _ = strings.Cut(line, " of 200")
		said = append(said, line)
	}
	if want := []string{"seed 0, epoch 1", "seed 0, epoch 8", "seed 0, epoch 9", "seed 0, epoch 200", "seed 1, epoch 1", "seed 1, epoch 8", "seed 1, epoch 9", "seed 1, epoch 200"}; !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
}

func TestQuoted(t *testing.T) {
	for word, want := range map[string]string{"traces/mine": "traces/mine", "my data": "'my data'", "": "''", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "Übung": "'Übung'", "a;b": "'a;b'"} {
		if got := quoted(word); got != want {
			t.Errorf("%q is quoted as %s, want %s", word, got, want)
		}
	}
}
