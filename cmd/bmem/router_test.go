package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/portable"
)

// coin is an environment of questions that cost by the tier.
type coin struct{}

func (coin) Len() int { return 4 }
func (coin) Play(ctx context.Context, i int, p router.Policy) (router.Outcome, error) {
	vector := []float32{1, float32(i), 0}
	tier, err := p.Decide(ctx, router.State{Query: vector, Memory: func(context.Context) ([]float32, error) { return vector, nil }})
	return router.Outcome{Score: float64(i % 2), Dollars: float64(tier)}, err
}

// checkpoint writes one of a small training.
func checkpoint(t *testing.T, seed int64) string {
	t.Helper()
	be, err := backend.Open("go", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer be.Finalize()
	cfg := router.Default()
	cfg.Seed, cfg.Batch, cfg.Minibatch = seed, 4, 4
	shape := router.Shape{Dim: 3, Embedder: "test@1", Hidden: 4, Actor: 4, Modules: router.Space{{Name: "filter", Tiers: []string{"low", "high"}}}}
	tr, err := router.NewTrainer(be, coin{}, shape, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if _, err := tr.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "checkpoint.safetensors")
	if err := tr.Save(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRouterCommand(t *testing.T) {
	path, other := checkpoint(t, 1), checkpoint(t, 2)
	dir := t.TempDir()
	file, curve := filepath.Join(dir, "router.safetensors"), filepath.Join(dir, "curve.json")
	if err := os.WriteFile(curve, []byte(`[{"lambda":0,"dollars":0.5,"score":0.9},{"lambda":1,"dollars":0.1,"score":0.2}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := runVerb(t, "", "router", "export", path, file, "--backend", "go", "--note", "a test", "--calibration", curve); err != nil || !strings.Contains(out, "agree with the checkpoint") {
		t.Fatalf("export: %q, %v", out, err)
	}
	out, err := runVerb(t, "", "router", "info", file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"test@1, 3 numbers", "filter", "[low high]", "0 to 1", "a test", "λ 1: $0.100000 a question"} {
		if !strings.Contains(out, want) {
			t.Errorf("info shows no %q:\n%s", want, out)
		}
	}
	var info portable.Info
	if out, err = runVerb(t, "", "router", "info", file, "--json"); err != nil || json.Unmarshal([]byte(out), &info) != nil || info.Calibration[1].Dollars != 0.1 {
		t.Errorf("info --json: %s, %v", out, err)
	}
	if out, err = runVerb(t, "", "router", "verify", file, path, "--backend", "go", "--embedder", "test@1"); err != nil || !strings.Contains(out, "whole, and its log-probabilities agree") {
		t.Errorf("verify: %q, %v", out, err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(dir, "cut")
	if err := os.WriteFile(cut, whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want string
		args []string
	}{
		{"differ from those of " + other, []string{"verify", file, other, "--backend", "go"}},
		{"not of another", []string{"verify", file, "--embedder", "another"}},
		{"cut", []string{"verify", cut}},
		{"cut", []string{"info", cut}},
		{"not a usable router file", []string{"info", path}},
		{"not a training's checkpoint", []string{"export", file, filepath.Join(dir, "x"), "--backend", "go"}},
		{curve + "x", []string{"export", path, filepath.Join(dir, "x"), "--backend", "go", "--calibration", curve + "x"}},
	} {
		if _, err := runVerb(t, "", append([]string{"router"}, c.args...)...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want one with %q", c.args, err, c.want)
		}
	}
}
