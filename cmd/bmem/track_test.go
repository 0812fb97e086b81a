package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/internal/testenv"
)

// trackers returns the Python that `make trackers` installs both trackers for.
func trackers(t *testing.T) string {
	t.Helper()
	return testenv.Python(t, "track", "wandb", "trackers")
}

// madeUp writes made-up traces and returns the arguments of a small training on them.
func madeUp(t *testing.T, dir string) []string {
	t.Helper()
	args := []string{"train", "--backend", "go", "--runs", dir, "--name", "one", "--seeds", "2", "--method", "ppo",
		"--set", "epochs=3", "--set", "batch=8", "--set", "minibatch=8"}
	if err := writeTraces(dir); err != nil {
		t.Fatal(err)
	}
	for split, flag := range map[string]string{"train": "--traces", "validation": "--validation-traces", "test": "--test-traces"} {
		args = append(args, flag, filepath.Join(dir, split+".jsonl.gz"))
	}
	return args
}

// killOnTheWay starts a training twice in a process of its own and kills it by SIGKILL in the midst of the first seed, and of
// the second.
func killOnTheWay(t *testing.T, dir string, args []string) {
	t.Helper()
	for _, seed := range []int{42, 43} {
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = append(os.Environ(), processEnv+"=1")
		var output bytes.Buffer
		cmd.Stdout, cmd.Stderr = &output, &output
		cmd.WaitDelay = 20 * time.Second // what it has started ends by itself
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			if info, err := os.Stat(filepath.Join(dir, "one", fmt.Sprintf("seed-%d", seed), "epochs.jsonl")); err == nil && info.Size() > 0 || time.Now().After(deadline) {
				break
			}
		}
		_ = cmd.Process.Kill() // it may have ended, which fails the test
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != -1 {
			t.Fatalf("the training ended before it was killed: %v\n%s", err, &output)
		}
	}
}

// lines reads a file of JSON lines.
func lines(t *testing.T, path string) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	for dec := json.NewDecoder(bytes.NewReader(data)); ; {
		var v map[string]any
		if err := dec.Decode(&v); err == io.EOF {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
}

// want is what a tracker must show of a seed, from the training's files: values of each step by name, and the summary.
func want(t *testing.T, dir string, seed int) (steps []map[string]float64, summary map[string]float64, hash string) {
	t.Helper()
	folder := filepath.Join(dir, "one", fmt.Sprintf("seed-%d", seed))
	metrics, epochs := lines(t, filepath.Join(folder, "metrics.jsonl")), lines(t, filepath.Join(folder, "epochs.jsonl"))
	for i, line := range metrics {
		number := func(field string) float64 { return line[field].(float64) }
		v := map[string]float64{}
		for name, field := range map[string]string{"train/score": "score", "train/return": "return", "cost/dollars": "dollars", "losses/entropy": "entropy",
			"losses/policy_loss": "policy_loss", "losses/learning_rate": "learning_rate", "train/value": "value"} {
			if _, ok := line[field]; ok {
				v[name] = number(field)
			}
		}
		if shares, ok := line["shares"].([]any); ok {
			v["route/topic/mid"] = shares[3].([]any)[1].(float64)
		}
		if epoch := int(number("epoch")); i == len(metrics)-1 || metrics[i+1]["epoch"] != line["epoch"] {
			v["validation/value"] = epochs[epoch]["value"].(float64)
			first := epochs[epoch]["points"].([]any)[0].(map[string]any)
			v["validation/lambda-0/score"], v["validation/lambda-0/dollars"] = first["score"].(float64), first["dollars"].(float64)
		}
		steps = append(steps, v)
	}
	var s struct {
		Seeds []struct {
			Seed   int
			Test   map[string]struct{ Value float64 }
			Best   int `json:"best_epoch"`
			Hashes map[string]string
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "one", "summary.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	for _, one := range s.Seeds {
		if one.Seed == seed {
			return steps, map[string]float64{"test/best/value": one.Test["best"].Value, "test/last/value": one.Test["last"].Value, "validation/best/epoch": float64(one.Best)}, one.Hashes["best"]
		}
	}
	t.Fatalf("summary.json has no seed %d", seed)
	return nil, nil, ""
}

// compare checks the steps that a tracker shows.
func compare(t *testing.T, seed int, got, want []map[string]float64) {
	t.Helper()
	if len(got) != len(want) || len(want) < 3 {
		t.Fatalf("seed %d: %d steps are shown, want %d", seed, len(got), len(want))
	}
	for i := range want {
		for name, v := range want[i] {
			if shown, ok := got[i][name]; !ok || shown != v {
				t.Errorf("seed %d, step %d: %s is %v, want %v", seed, i, name, shown, v)
			}
		}
		if _, ok := got[i]["validation/value"]; ok != (want[i]["validation/value"] != 0) {
			t.Errorf("seed %d, step %d: validation shown %t", seed, i, ok)
		}
	}
}

// offlineRun is what scripts/read_wandb.py reads of an offline run.
type offlineRun struct {
	ID, Project, Group, Name string
	Config                   map[string]any
	Steps                    []map[string]float64
	Summary                  map[string]any
	Artifacts                map[string]map[string]string // path of each file of an artifact
	Exit                     *int
}

func readOffline(t *testing.T, python, seedDir string) offlineRun {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(seedDir, "wandb", "offline-run-*", "*.wandb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("offline runs %v, %v: want one", found, err)
	}
	cmd := exec.Command(python, "../../scripts/read_wandb.py", found[0])
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var run offlineRun
	if err := json.Unmarshal(out, &run); err != nil {
		t.Fatal(err)
	}
	return run
}

// An offline run of W&B, read by W&B's own reader, has what the training's files have, and no key; also if
// the training was killed on its way.
func TestWandbOffline(t *testing.T) {
	python := trackers(t)
	const key = "0123456789abcdef0123456789abcdef01234567"
	t.Setenv("WANDB_API_KEY", key)
	dir := t.TempDir()
	args := append(madeUp(t, dir), "--wandb", "offline", "--python", python)
	killOnTheWay(t, dir, args)
	ids := map[string]bool{}
	for range 2 { // the second start finds everything done
		if out, err := runVerb(t, "", args...); err != nil || strings.Contains(out, "W&B") {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, seed := range []int{42, 43} {
			folder := filepath.Join(dir, "one", fmt.Sprintf("seed-%d", seed))
			run := readOffline(t, python, folder)
			ids[run.ID] = true
			steps, summary, hash := want(t, dir, seed)
			compare(t, seed, run.Steps, steps)
			for name, v := range summary {
				if run.Summary[name] != v {
					t.Errorf("seed %d: summary %s is %v, want %v", seed, name, run.Summary[name], v)
				}
			}
			config, _ := run.Config["config"].(map[string]any)
			if run.Project != "budgetmem" || run.Group != "one" || run.Name != fmt.Sprintf("one seed %d", seed) || run.Config["method"] != "ppo" || config["seed"] != float64(seed) || run.Exit == nil || *run.Exit != 0 {
				t.Errorf("seed %d: %+v", seed, run)
			}
			if run.Summary["sha256.best"] != hash {
				t.Errorf("seed %d: hash %v, want %s", seed, run.Summary["sha256.best"], hash)
			}
			shown, err := os.ReadFile(run.Artifacts["router-"+run.ID]["best.safetensors"])
			kept, err2 := os.ReadFile(filepath.Join(folder, "checkpoints", "best.safetensors"))
			if err != nil || err2 != nil || !bytes.Equal(shown, kept) {
				t.Errorf("seed %d: the artefact is not the best router: %v, %v, %v", seed, err, err2, run.Artifacts)
			}
		}
	}
	if len(ids) != 2 {
		t.Errorf("runs %v: want one for each seed, the same at both starts", ids)
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(key)) {
			t.Errorf("%s holds the key", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBadTrackers(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("WANDB_API_KEY", "")
	args := madeUp(t, dir)
	for want, more := range map[string]string{
		"there are offline and online": "--wandb maybe",
		"set WANDB_API_KEY":            "--wandb online",
		"has no package wandb":         "--wandb offline --python nopython",
		"give one such as":             "--mlflow localhost:5000",
		"not in the address":           "--mlflow http://me:secret@127.0.0.1:1",
		"nothing may follow":           "--mlflow http://127.0.0.1:1/?a=b",
		"experiment needs a name":      "--mlflow http://127.0.0.1:1 --mlflow-experiment=",
	} {
		if _, err := runVerb(t, "", append(slices.Clone(args), strings.Fields(more)...)...); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v, want %q", more, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "one")); err == nil {
		t.Error("a training was begun")
	}
	// A server that is not there is told of once, and the training is done.
	out, err := runVerb(t, "", append(args, "--seeds", "1", "--mlflow", "http://127.0.0.1:1")...)
	if err != nil || strings.Count(out, "MLflow at http://127.0.0.1:1") != 1 || !strings.Contains(out, "the training goes on") || !strings.Contains(out, "last on test") {
		t.Errorf("%v\n%s", err, out)
	}
}
