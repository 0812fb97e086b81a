package main

import (
	"archive/zip"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/serve/api"
)

// notRun are commands whose examples ask models, compute for long, serve until they are stopped, or change an installation. Their
// examples are only parsed; other tests run them with smaller settings.
var notRun = map[string]bool{"bmem ask": true, "bmem calibrate": true, "bmem demo": true, "bmem data verify": true, "bmem doctor": true, "bmem eval": true, "bmem kernel install": true, "bmem mcp": true, "bmem models pull": true, "bmem nats": true,
	"bmem notebook": true, "bmem notebook run": true, "bmem quickstart": true, "bmem report": true, "bmem script": true, "bmem serve": true, "bmem train": true,
	"bmem traces collect": true, "bmem traces learnable": true, "bmem tune data": true, "bmem tune eval": true, "bmem tune export": true, "bmem tune reranker": true,
	"bmem tune run": true, "bmem worker": true}

// embeds are commands that need the embedding model.
var embeds = map[string]bool{"bmem memory add": true, "bmem memory edit": true}

var wordRE = regexp.MustCompile(`"[^"]*"|\S+`)

// TestHelpExamples parses every example that the commands' help shows, and runs those that need no language model, each in a folder of its
// own that has the files they name.
func TestHelpExamples(t *testing.T) {
	testenv.Slow(t, "runs some thirty commands")
	made := exampleWorld(t)
	var parsed, ran int
	var visit func(*cobra.Command)
	visit = func(from *cobra.Command) {
		for _, c := range from.Commands() {
			visit(c)
		}
		for line := range strings.Lines(from.Example) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			parsed++
			t.Run(line, func(t *testing.T) {
				path := parseExample(t, line)
				if notRun[path] || strings.Contains(line, "--live") || strings.Contains(line, "postgres://") || strings.Contains(line, "--data ~") {
					return
				}
				if embeds[path] {
					modelstest.Path(t, setup.Embedder)
				}
				ran++
				runExample(t, made, line)
			})
		}
	}
	visit(newRoot())
	if parsed < 70 || ran < 20 {
		t.Errorf("%d examples were parsed and %d run", parsed, ran)
	}
}

// parseExample finds the command of an example and checks its flags and arguments.
func parseExample(t *testing.T, line string) string {
	t.Helper()
	line, _, _ = strings.Cut(line, " | ")
	line, _, _ = strings.Cut(line, " < ")
	line, _, _ = strings.Cut(line, " > ")
	words := wordRE.FindAllString(line, -1)
	for i, w := range words {
		words[i] = strings.Trim(w, `"`)
	}
	if words[0] != "bmem" {
		t.Fatalf("it does not start with bmem")
	}
	cmd, rest, err := newRoot().Find(words[1:])
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(cmd.ValidateArgs(cmd.Flags().Args()), cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups()); err != nil {
		t.Fatal(err)
	}
	return cmd.CommandPath()
}

// runExample runs a line in a shell, in a copy of the folder made.
func runExample(t *testing.T, made, line string) {
	t.Helper()
	shell, err := exec.LookPath("sh")
	if err != nil {
		testenv.Missing(t, err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(made)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, shell, "-c", line)
	cmd.Dir = dir
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "bmem")); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), processEnv+"=1", api.EnvToken+"=", setup.EnvCache+"="+filepath.Join(dir, "cache"), "BUDGETMEM_BACKEND=go",
		"PATH="+dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// exampleWorld makes a folder with the files that examples name.
func exampleWorld(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Chdir(dir) // trainings go to runs/
	made := filepath.Join(dir, "made")
	if err := writeTraces(made); err != nil {
		t.Fatal(err)
	}
	for to, from := range map[string]string{"train.jsonl.gz": "train", "validation.jsonl.gz": "validation", "test.jsonl.gz": "test", "test200.jsonl.gz": "train", "test60.jsonl.gz": "test", "v.jsonl.gz": "validation", "t.jsonl.gz": "test"} {
		copyFile(t, filepath.Join(made, from+".jsonl.gz"), to)
	}
	for _, folder := range []string{"traces/locomo-implementation", "traces/hotpotqa-implementation", "traces/locomo-readers", "traces/locomo-answerable", "notebooks"} {
		if err := os.CopyFS(folder, os.DirFS(filepath.Join(root, folder))); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"WhatsApp Chat with Ann.txt": "[03.05.24, 10:04:00] Ann: I moved to Bern.\n[03.05.24, 10:05:00] Bo: How nice!\n",
		"notes.md":                   "# Trip\n\nWe meet at the old mill on 3 May 2024.\n",
		"predictions.jsonl":          `{"id":"a","prediction":"Paris, the city","gold":"Paris","category":1}` + "\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	slack, err := os.Create("Acme Slack export.zip")
	if err != nil {
		t.Fatal(err)
	}
	defer slack.Close()
	export := zip.NewWriter(slack)
	if err := errors.Join(export.AddFS(os.DirFS(filepath.Join(root, "bmem/conversation/testdata/slack"))), export.Close()); err != nil {
		t.Fatal(err)
	}
	writeExampleMemory(t)
	run := func(line string) {
		t.Helper()
		if out, err := runVerb(t, "", strings.Fields(line)...); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	run("memory export talk --cache cache --out talk.jsonl")
	copyFile(t, "talk.jsonl", "notes.jsonl")
	run("notebook convert notebooks/02_locomo.ipynb locomo.go")
	copyFile(t, filepath.Join("notebooks", "02_locomo.ipynb"), "with-outputs.ipynb")
	run("train --backend go --name NAME --seeds 1 --method ppo --set epochs=2 --set batch=8 --set minibatch=8 --traces train.jsonl.gz --validation-traces validation.jsonl.gz")
	run("router export runs/NAME router.safetensors")
	return dir
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// writeExampleMemory makes the memory that examples name, without a model.
func writeExampleMemory(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll("cache", 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(filepath.Join("cache", setup.MemoryFile))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Append(t.Context(), "talk", []chunk.Turn{
		{ID: "1:1", Session: "1", Time: "3 May 2024", Speaker: "Ann", Text: "Hello."},
		{ID: "1:2", Session: "1", Time: "3 May 2024", Speaker: "Ann", Text: "I moved to Bern."},
		{ID: "1:3", Session: "1", Time: "3 May 2024", Speaker: "Rita", Text: "How nice!"},
		{ID: "1:4", Session: "1", Time: "3 May 2024", Speaker: "Ann", Text: "Yes."},
		{ID: "2:1", Session: "2", Time: "5 May 2024", Speaker: "Ann", Text: "We meet at the old mill."},
	}, store.Cutter{Count: func(s string) int { return len(strings.Fields(s)) }}, store.AddOptions{})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
}
