package reranker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/bmem/rerank"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
)

func newRun(t *testing.T, dir string, examples []Example) Run {
	t.Helper()
	be, err := backend.Open("", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(be.Finalize)
	c := Defaults()
	c.Questions, c.Turns, c.MaxSteps, c.CheckpointEvery, c.Epochs = 2, 3, 4, 2, 10
	return Run{Dir: dir, Encoder: modelstest.Path(t, "all-minilm-l6-v2"), Backend: be, Config: c, Train: examples}
}

// reference is ../../internal/bert/testdata/pairs.json, which scripts/rerank_reference.py made with transformers.
func reference(t *testing.T) (examples []Example, loss, norm float64) {
	t.Helper()
	var r struct {
		Pairs []struct {
			Question, Turn string
		}
		Offsets  [][]float64
		Loss     float64
		GradNorm float64 `json:"grad_norm"`
	}
	data, err := os.ReadFile("../../internal/bert/testdata/pairs.json")
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, offsets := range r.Offsets {
		e := Example{ID: string(rune('a' + i)), Question: r.Pairs[i*3].Question, LogOdds: offsets, Gold: []bool{true, false, false}}
		for _, p := range r.Pairs[i*3 : i*3+3] {
			e.Turns = append(e.Turns, p.Turn)
		}
		examples = append(examples, e)
	}
	return examples, r.Loss, r.GradNorm
}

// Loss and gradient of a step equal those of transformers and PyTorch.
func TestStepEqualsPyTorch(t *testing.T) {
	examples, loss, norm := reference(t)
	tr, err := newRun(t, t.TempDir(), examples).open()
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	head := make([]float32, tr.bert.Hidden)
	for i := range head {
		head[i] = float32(0.1*math.Cos(0.37*float64(i))) / headScale
	}
	for i, w := range []*tensors.Tensor{tensors.FromFlatDataAndDimensions(head, len(head), 1), tensors.FromFlatDataAndDimensions([]float32{0.2}, 1)} {
		if err := tr.store.GetVariable(path(tr.head() + i)).SetValue(w); err != nil {
			t.Fatal(err)
		}
	}
	s, err := tr.take(0, 4)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(s.Loss/loss-1) > 1e-5 || math.Abs(s.GradNorm/norm-1) > 1e-4 {
		t.Errorf("loss %v, gradient norm %v, want %v, %v", s.Loss, s.GradNorm, loss, norm)
	}
}

// A run that is stopped and started again ends with the same bytes, and learns.
func TestRunResumes(t *testing.T) {
	examples, _, _ := reference(t)
	read := func(dir string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, modelDir, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	whole, stopped := t.TempDir(), t.TempDir()
	var steps []Step
	r := newRun(t, whole, examples)
	r.Progress = func(s Step, _ int) { steps = append(steps, s) }
	dir, err := r.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) != 4 || steps[0].Loss < 0.999*steps[0].RetrievalLoss || steps[0].Loss > 1.001*steps[0].RetrievalLoss || steps[3].Loss >= steps[3].RetrievalLoss {
		t.Errorf("steps %+v: want four, the first at the loss of retrieval, the last below it", steps)
	}

	ctx, cancel := context.WithCancel(t.Context())
	r = newRun(t, stopped, examples)
	r.Progress = func(s Step, _ int) {
		if s.Step == 3 { // behind the checkpoint of step 2
			cancel()
		}
	}
	if _, err := r.Start(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled run: %v", err)
	}
	r.Progress = nil
	if _, err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(whole), read(stopped)) {
		t.Error("the resumed run's model differs")
	}
	r.Config.LearningRate *= 2
	if _, err := r.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "other settings") {
		t.Errorf("resumed with another learning rate: %v", err)
	}

	m, err := rerank.Open(dir, r.Backend)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	e := examples[0]
	scores, err := m.Scores(t.Context(), e.Question, e.Turns)
	if err != nil || len(scores) != 3 || slices.Max(scores) == slices.Min(scores) {
		t.Errorf("scores %v, %v", scores, err)
	}
	if _, err := rerank.Open(r.Encoder, r.Backend); err == nil || !strings.Contains(err.Error(), "classifier") {
		t.Errorf("an encoder as a reranker: %v", err)
	}
}

func TestDraw(t *testing.T) {
	e := Example{Turns: make([]string, 5), LogOdds: []float64{3, 1, -1, -2, -9}, Gold: []bool{false, true, false, true, false}}
	counts := map[int]int{}
	for i := range 2000 {
		turns, gold := draw(e, 3, rand.New(rand.NewPCG(1, uint64(i))))
		if gold != 2 || !slices.Equal(turns[:2], []int{1, 3}) || len(turns) != 3 {
			t.Fatalf("turns %v, %d of them evidence", turns, gold)
		}
		counts[turns[2]]++
	}
	if !(counts[0] > counts[2] && counts[2] > counts[4]) || counts[2] == 0 {
		t.Errorf("turns without evidence were drawn %v times", counts)
	}
	if turns, gold := draw(e, 2, rand.New(rand.NewPCG(1, 1))); gold != 1 || len(turns) != 2 {
		t.Errorf("of two places: %v, %d of them evidence", turns, gold)
	}
}

func TestRecall(t *testing.T) {
	examples := []Example{{Turns: make([]string, 3), LogOdds: []float64{2, 1, 0}, Gold: []bool{false, true, true}, Missed: 2}}
	for n, want := range map[int]float64{1: 0, 2: 0.25, 3: 0.5, 9: 0.5} {
		if got := Recall(examples, nil, n)[0]; got != want {
			t.Errorf("recall@%d = %v, want %v", n, got, want)
		}
	}
	if got := Recall(examples, [][]float64{{0, 0, 3}}, 1)[0]; got != 0.25 {
		t.Errorf("reranked recall@1 = %v, want 0.25", got)
	}
}

func TestConfigChecks(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"layers 7":        func(c *Config) { c.Layers = 7 },
		"turns 1":         func(c *Config) { c.Turns = 1 },
		"learning rate 0": func(c *Config) { c.LearningRate = 0 },
		"learning rate N": func(c *Config) { c.LearningRate = math.NaN() },
		"negative":        func(c *Config) { c.MaxSteps = -1 },
	} {
		c := Defaults()
		change(&c)
		if err := c.check(6); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := Defaults()
	if err := c.check(6); err != nil {
		t.Error(err)
	}
}
