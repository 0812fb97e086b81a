package bert

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
)

// encoder reads all-MiniLM-L6-v2 with the classifier that scripts/rerank_reference.py gives it.
func encoder(t *testing.T, dir string) (Config, map[string]Tensor) {
	t.Helper()
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	c, err := ParseConfig(read("config.json"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := ParseWeights(read("model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	head := Tensor{Dims: []int{1, c.Hidden}}
	for i := range c.Hidden {
		head.Data = append(head.Data, float32(0.1*math.Cos(0.37*float64(i))))
	}
	all["classifier.weight"], all["classifier.bias"] = head, Tensor{Dims: []int{1}, Data: []float32{0.2}}
	return c, all
}

// Tokens and scores of pairs equal those of transformers; testdata/pairs.json is from scripts/rerank_reference.py.
func TestPairs(t *testing.T) {
	var want struct {
		Pairs []struct {
			Question string  `json:"question"`
			Turn     string  `json:"turn"`
			IDs      []int   `json:"ids"`
			First    int     `json:"first"`
			Score    float64 `json:"score"`
		} `json:"pairs"`
	}
	data, err := os.ReadFile("testdata/pairs.json")
	if err == nil {
		err = json.Unmarshal(data, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := modelstest.Path(t, "all-minilm-l6-v2")
	c, all := encoder(t, dir)
	tokens, err := OpenTokenizer(dir)
	if err != nil {
		t.Fatal(err)
	}
	var rows []Row
	for i, p := range want.Pairs {
		ids := slices.Concat([]int{tokens.CLS}, tokens.Encode(p.Question), []int{tokens.SEP})
		first := len(ids)
		ids = slices.Concat(ids, tokens.Encode(p.Turn), []int{tokens.SEP})
		if !slices.Equal(ids, p.IDs) || first != p.First {
			t.Errorf("%q: tokens %v, first %d, want %v, %d", p.Turn, ids, first, p.IDs, p.First)
		}
		rows = append(rows, Row{Index: i, IDs: ids, First: first})
	}
	weights, err := c.PairWeights(all)
	if err != nil {
		t.Fatal(err)
	}
	be, err := backend.Open("", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer be.Finalize()
	exec, err := graph.NewExec(be, c.Pairs)
	if err != nil {
		t.Fatal(err)
	}
	defer exec.Finalize()
	for _, b := range Batches(rows) {
		ids, lengths, firsts := b.Inputs()
		in := []any{tensors.FromFlatDataAndDimensions(ids, b.Size, b.Length), lengths, firsts}
		for _, w := range weights {
			in = append(in, tensors.FromFlatDataAndDimensions(w.Data, w.Dims...))
		}
		out, err := exec.Call1(in...)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range tensors.MustCopyFlatData[float32](out)[:len(b.Rows)] {
			if p := want.Pairs[b.Rows[i].Index]; math.Abs(float64(s)-p.Score) > 1e-5 {
				t.Errorf("%q scores %v, want %v", p.Turn, s, p.Score)
			}
		}
	}
}

// What PairTensors names, PairWeights reads back.
func TestPairTensors(t *testing.T) {
	c, all := encoder(t, modelstest.Path(t, "all-minilm-l6-v2"))
	weights, err := c.PairWeights(all)
	if err != nil {
		t.Fatal(err)
	}
	named := c.PairTensors(weights, c.FirstType(all))
	for name, w := range all {
		got, ok := named[encoderPrefix+name]
		if !ok {
			got, ok = named[name]
		}
		if !ok || !slices.Equal(got.Dims, w.Dims) {
			t.Fatalf("%s is missing or of shape %v, want %v", name, got.Dims, w.Dims)
		}
		for i, v := range w.Data {
			if d := math.Abs(float64(got.Data[i] - v)); d > 1e-6*math.Max(1, math.Abs(float64(v))) {
				t.Fatalf("%s[%d] is %v, want %v", name, i, got.Data[i], v)
			}
		}
	}
	again, err := c.PairWeights(named)
	if err != nil || len(again) != len(weights) {
		t.Fatalf("%d weights (%v), want %d", len(again), err, len(weights))
	}
	delete(named, "bert.pooler.dense.bias")
	if _, err := c.PairWeights(named); err == nil {
		t.Error("a model without its pooler is read")
	}
}
