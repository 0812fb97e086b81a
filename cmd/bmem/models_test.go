package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/internal/models"
)

func TestModelsCommand(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(models.EnvDir, dir)
	t.Setenv("HF_HUB_OFFLINE", "1")

	out, err := runVerb(t, "", "models", "list", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []modelRow
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	for _, r := range rows {
		if r.State != "missing" || r.Path != "" || r.Size <= 0 || r.Licence == "" {
			t.Errorf("in an empty folder: %+v", r)
		}
	}
	if out, err := runVerb(t, "", "models", "verify"); err != nil || !strings.Contains(out, "bmem models pull") {
		t.Errorf("verify of an empty folder: %q, %v", out, err)
	}

	// A file that is not what it should be.
	const name = "smollm2-135m-instruct"
	if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name, "SmolLM2-135M-Instruct.Q4_1.gguf"), []byte("no model"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err = runVerb(t, "", "models", "list"); err != nil || !strings.Contains(out, "damaged") {
		t.Errorf("list with a damaged file: %q, %v", out, err)
	}
	if out, err = runVerb(t, "", "models", "verify"); err == nil || !strings.Contains(out, "wrong: SHA-256") || !strings.Contains(err.Error(), "1 of 1 files") {
		t.Errorf("verify with a damaged file: %q, %v", out, err)
	}

	if _, err := runVerb(t, "", "models", "pull", "qwen2.5-0.5b-instruct"); err == nil || !strings.Contains(err.Error(), "HF_HUB_OFFLINE") {
		t.Errorf("pull of a model that only the hub has, offline: %v", err)
	}
	if _, err := runVerb(t, "", "models", "pull", "smollm2"); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("pull of a name cut short: %v", err)
	}
}
