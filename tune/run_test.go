package tune

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/runfolder"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
	"github.com/budgetmem/budgetmem/tiers/llm/local/localtest"
)

// pureGo opens the backend that every machine has.
func pureGo(t *testing.T) compute.Backend {
	t.Helper()
	be, err := backend.Open("go", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(be.Finalize)
	return be
}

// lessons are examples that a model without sense can learn by heart.
func lessons() []Example {
	var out []Example
	for i, a := range []string{"red", "two", "Ann", "May", "yes", "tea", "Rome"} {
		out = append(out, Example{ID: fmt.Sprint(i), Notes: strings.Repeat("x", i), Question: fmt.Sprintf("q%d?", i), Answer: a})
	}
	return out
}

// small is a run of a few steps on a tiny model.
func small(t *testing.T, be compute.Backend, model string) Run {
	r := smallRun(be, model)
	r.Dir = t.TempDir()
	return r
}

func smallRun(be compute.Backend, model string) Run {
	c := Defaults()
	c.Rank, c.Alpha, c.Layers, c.Batch, c.PackTokens, c.Epochs = 4, 8, 2, 3, 256, 3
	c.LearningRate, c.CheckpointEvery, c.ValidateEvery = 2e-2, 2, 3
	return Run{Model: "tiny", Path: model, Backend: be, Config: c, Train: lessons(), Valid: lessons()[:3], Commit: "test", License: "CC0"}
}

// Test questions are for results, not for training.
func TestRunRefusesTestQuestions(t *testing.T) {
	r := Run{Dir: t.TempDir(), Train: lessons(), Valid: lessons()}
	r.Valid[2].Test = true
	if _, err := r.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "valid example 3 (2) is a test question") {
		t.Fatal(err)
	}
}

// A tiny model learns its examples, in both families, with some or all layers adapted, in packs of one or of several.
func TestRunLearns(t *testing.T) {
	be := pureGo(t)
	for _, c := range []struct {
		family string
		change func(*Config)
	}{
		{"qwen2", func(*Config) {}},
		{"qwen2", func(c *Config) { c.Layers = 0 }},
		// Packs shorter than an example grow.
		{"llama", func(c *Config) { c.PackTokens, c.Targets = 64, []string{"q_proj", "v_proj"} }},
	} {
		r := small(t, be, localtest.Tiny(t, c.family, 1))
		r.Config.Epochs, r.Config.CheckpointEvery, r.Config.ValidateEvery = 10, 15, 10
		c.change(&r.Config)
		res, err := r.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if res.Steps != 30 || res.Examples != 70 || res.BestStep == 0 {
			t.Errorf("%s: %+v", c.family, res)
		}
		if !(res.BestLoss < 0.8*res.FirstLoss) {
			t.Errorf("%s %+v: loss %v before, %v after", c.family, r.Config, res.FirstLoss, res.BestLoss)
		}
	}
}

// files reads all of a run that must come out the same, however often it was stopped.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A run that is stopped at every step ends with the same bytes as one that is not.
func TestResume(t *testing.T) {
	be := pureGo(t)
	model := localtest.Tiny(t, "qwen2", 2)
	whole := small(t, be, model)
	if _, err := whole.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := files(t, whole.Dir)
	stopped := small(t, be, model)
	starts := 0
	for done := false; !done; starts++ {
		ctx, cancel := context.WithCancel(t.Context())
		left := 3 // reports until it is stopped: more than a checkpoint takes
		stopped.Progress = func(Progress) {
			if left--; left == 0 {
				cancel()
			}
		}
		_, err := stopped.Start(ctx)
		cancel()
		switch {
		case err == nil:
			done = true
		case !errors.Is(err, context.Canceled):
			t.Fatal(err)
		case starts > 50:
			t.Fatal("the run does not come to an end")
		}
	}
	if starts < 4 {
		t.Errorf("the run was started %d times only", starts)
	}
	got := files(t, stopped.Dir)
	if len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
	for name, content := range want {
		if got[name] != content {
			t.Errorf("%s came out otherwise after %d starts", name, starts)
		}
	}
}

// A folder is not gone on with under other settings, nor by two processes.
func TestRunRefuses(t *testing.T) {
	be := pureGo(t)
	r := small(t, be, localtest.Tiny(t, "llama", 3))
	r.Config.Epochs = 1
	if _, err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Run)
		want   string
	}{
		"other rank":      {func(r *Run) { r.Config.Rank = 5 }, `"rank": 4`},
		"other examples":  {func(r *Run) { r.Train = r.Train[1:] }, "train_sha256"},
		"no examples":     {func(r *Run) { r.Dir, r.Train = t.TempDir(), nil }, "no examples"},
		"unknown target":  {func(r *Run) { r.Dir, r.Config.Targets = t.TempDir(), []string{"q_prj"} }, `did you mean "q_proj"`},
		"too many layers": {func(r *Run) { r.Dir, r.Config.Layers = t.TempDir(), 4 }, "the model has 3"},
		"too long": {func(r *Run) {
			r.Dir, r.Train = t.TempDir(), []Example{{Question: strings.Repeat("long ", 200), Answer: "a"}}
		}, "context is 512"},
	} {
		other := r
		other.Train = lessons()
		c.change(&other)
		if _, err := other.Start(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
	unlock, err := runfolder.Claim(r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Start(t.Context()); !errors.Is(err, ErrLocked) {
		t.Errorf("error %v, want ErrLocked", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}

// The product's engine gives the answers the log-probabilities that training saw: the base model, and with the adapter merged.
func TestAdapterInTheEngine(t *testing.T) {
	be := pureGo(t)
	for _, family := range []string{"llama", "qwen2"} {
		path := localtest.Tiny(t, family, 4)
		r := small(t, be, path)
		r.Config.Layers, r.Config.ValidateEvery = 0, 0
		res, err := r.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		lines, err := os.ReadFile(filepath.Join(r.Dir, metricsFile))
		if err != nil || strings.Count(string(lines), "\n") != res.Steps {
			t.Errorf("metrics: %v, %s", err, lines)
		}
		plain, err := local.Open(path, be, local.Options{Context: 512})
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		tuned, err := local.Open(path, be, local.Options{Context: 512, Adapter: res.Last})
		if err != nil {
			t.Fatal(err)
		}
		defer tuned.Close()
		if plain.ID() == tuned.ID() {
			t.Error("the tuned model has the base model's ID, so that the cache of replies would take one for the other")
		}
		if name, _ := llm.PromptTemplate(tuned); name != tiers.NotesTemplate {
			t.Errorf("prompt template %q", name)
		}
		if err := tiers.CheckTuned(tuned); err != nil {
			t.Error(err)
		}
		for m, trained := range map[*local.Model]bool{plain: false, tuned: true} {
			want := trainingLoss(t, r, trained)
			got := engineLoss(t, m, r)
			if math.Abs(got-want) > 2e-3 { // the adapter's file has half precision
				t.Errorf("%s, trained %v: loss %v in the engine, %v in training", family, trained, got, want)
			}
		}
	}
}

// trainingLoss is the loss on the validation examples by the training's graph, without the token that ends a reply.
func trainingLoss(t *testing.T, r Run, trained bool) float64 {
	t.Helper()
	tr, err := r.open()
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	if err := tr.restore(); err != nil {
		t.Fatal(err)
	}
	if !trained {
		tr.matrices.finalize()
		if tr.matrices, err = newMatrices(tr.Backend, tr.Config, &tr.base.Config, tr.decoder.keys, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range tr.valid.seqs {
		tokens := tr.valid.seqs[i].tokens
		tr.valid.seqs[i].tokens = tokens[:len(tokens)-1]
	}
	loss, _, err := tr.validate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return loss
}

// engineLoss is the same by the engine's scores.
func engineLoss(t *testing.T, m *local.Model, r Run) float64 {
	t.Helper()
	sum := 0.0
	for _, e := range r.Valid {
		messages, err := e.Messages(r.Config.Template)
		if err != nil {
			t.Fatal(err)
		}
		scores, _, err := m.Score(t.Context(), []llm.ScoreRequest{{Messages: messages, Continuation: e.Answer}})
		if err != nil {
			t.Fatal(err)
		}
		sum -= scores[0].LogProb / float64(scores[0].Tokens)
	}
	return sum / float64(len(r.Valid))
}

func TestAdapterRefused(t *testing.T) {
	be := pureGo(t)
	path := localtest.Tiny(t, "llama", 5)
	r := small(t, be, path)
	r.Config.Epochs = 1
	res, err := r.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	open := func(path, dir string) error {
		m, err := local.Open(path, be, local.Options{Context: 512, Adapter: dir})
		if err == nil {
			m.Close()
		}
		return err
	}
	if err := open(localtest.Tiny(t, "llama", 6), res.Last); !errors.Is(err, local.ErrAdapter) || !strings.Contains(err.Error(), "sha256") {
		t.Errorf("another base: %v", err)
	}
	weights, err := os.ReadFile(filepath.Join(res.Last, adapter.WeightsFile))
	if err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(res.Last, adapter.ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ weights, config, want string }{
		"cut":       {string(weights[:len(weights)-10]), string(config), "cut"},
		"no LoRA":   {string(weights), strings.Replace(string(config), `"LORA"`, `"IA3"`, 1), "IA3"},
		"other r":   {string(weights), strings.Replace(string(config), `"r": 4`, `"r": 8`, 1), "r = 8"},
		"DoRA":      {string(weights), strings.Replace(string(config), `"use_dora": false`, `"use_dora": true`, 1), "use_dora"},
		"not JSON":  {string(weights), "nonsense", adapter.ConfigFile},
		"no matrix": {"\x02\x00\x00\x00\x00\x00\x00\x00{}", string(config), "no tensor"},
	} {
		dir := t.TempDir()
		if err := errors.Join(os.WriteFile(filepath.Join(dir, adapter.WeightsFile), []byte(c.weights), 0o644),
			os.WriteFile(filepath.Join(dir, adapter.ConfigFile), []byte(c.config), 0o644)); err != nil {
			t.Fatal(err)
		}
		if err := open(path, dir); !errors.Is(err, adapter.ErrFormat) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want adapter.ErrFormat with %q", name, err, c.want)
		}
	}
	a, err := adapter.Read(res.Last)
	if err != nil {
		t.Fatal(err)
	}
	a.Info.TemplateHash = "of an older prompt"
	dir := t.TempDir()
	if err := a.Write(dir); err != nil {
		t.Fatal(err)
	}
	m, err := local.Open(path, be, local.Options{Context: 512, Adapter: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := tiers.CheckTuned(m); !errors.Is(err, tiers.ErrTemplate) {
		t.Errorf("another template: %v", err)
	}
}
