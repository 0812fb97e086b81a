package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/cmd/bmem/doctor"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/internal/testenv"
)

func TestDoctorWithoutModels(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	t.Setenv(models.EnvDir, dir)
	out, err := runVerb(t, "", "doctor", "--json", "--backend", "go")
	if err == nil {
		t.Error("no error without an embedder")
	}
	var r doctor.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if r.OK() || !strings.Contains(r.Problems[0].Do, "bmem models pull all-minilm-l6-v2") {
		t.Errorf("problems %+v, want the embedder first", r.Problems)
	}
	if r.Backend.Kind != backend.Go || r.Speed.GFLOPS <= 0 || r.Speed.TextsPerSecond != 0 {
		t.Errorf("backend %+v, speed %+v", r.Backend, r.Speed)
	}
	if r.ModelsDir != dir || r.DiskFree == 0 || r.MemoryFree == 0 {
		t.Errorf("disk %d free in %s, memory %d", r.DiskFree, r.ModelsDir, r.MemoryFree)
	}
	if len(r.Data) == 0 || r.Data[0].Name != "locomo" || len(r.Data[0].Splits) != 3 {
		t.Errorf("data %+v", r.Data)
	}
	if r.Program.Go == "" || r.Program.CPUs == 0 {
		t.Errorf("program %+v", r.Program)
	}
}

func TestDoctorWithDamagedModel(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(models.EnvDir, dir)
	name := filepath.Join(dir, "smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("no model"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := runVerb(t, "", "doctor", "--backend", "go")
	if err == nil || !strings.Contains(err.Error(), "necessary") {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{"smollm2-135m-instruct: damaged", "run `bmem models pull smollm2-135m-instruct`", "MISSING: no embedder", "could be better: computing in pure Go",
		"Not here, and needed by those who name it only: model qwen2.5-0.5b-instruct"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "All that is necessary is here") {
		t.Errorf("it says that all is here without an embedder:\n%s", out)
	}
}

func TestDoctorWithoutBackend(t *testing.T) {
	t.Setenv(models.EnvDir, t.TempDir())
	out, err := runVerb(t, "", "doctor", "--backend", "tpu")
	if err == nil || !strings.Contains(out, `MISSING: unknown backend "tpu"`) || !strings.Contains(out, backend.Specs) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestDoctor looks at this machine as `make setup` leaves it.
func TestDoctor(t *testing.T) {
	catalogue, err := models.Open()
	if err != nil {
		t.Fatal(err)
	}
	if !catalogue.Present(t.Context(), "all-minilm-l6-v2") {
		testenv.Missing(t, "no embedder here: run `make setup`")
	}
	out, err := runVerb(t, "", "doctor", "--json")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var r doctor.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if !r.OK() || r.Speed.GFLOPS <= 0 || r.Speed.TextsPerSecond <= 0 {
		t.Errorf("problems %+v, speed %+v", r.Problems, r.Speed)
	}
	for _, m := range r.Models {
		if m.Name == "all-minilm-l6-v2" && (m.State != "here" || len(m.SHA256) != 64 || m.Path == "") {
			t.Errorf("embedder %+v", m)
		}
	}
}
