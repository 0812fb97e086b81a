package tune

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
)

// reference is what scripts/tune_reference.py writes.
type reference struct {
	Rank     int     `json:"rank"`
	Alpha    float64 `json:"alpha"`
	Layers   int     `json:"layers"`
	Examples []struct {
		Tokens []int32 `json:"tokens"`
		Prompt int     `json:"prompt"`
	} `json:"examples"`
	Loss      float64   `json:"loss"`
	Losses    []float64 `json:"losses"`
	Gradients map[string]struct {
		Norm   float64   `json:"norm"`
		Values []float64 `json:"values"`
	} `json:"gradients"`
}

// startValues are those of the function start in the script.
func startValues(k adapter.Key, matrix string, n int) []float32 {
	phase := float64(k.Layer + 10*slices.Index(adapter.Targets(), k.Target))
	if matrix == "B" {
		phase += 0.5
	}
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(0.02 * math.Sin(0.37*float64(i)+phase))
	}
	return out
}

func readReference(t *testing.T, name string) (ref reference) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(&ref); err != nil {
		t.Fatal(err)
	}
	return ref
}

// openEngine opens the fastest backend without its wrapper, as training uses it.
func openEngine(t *testing.T) compute.Backend {
	t.Helper()
	be, err := backend.Open("", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(be.Finalize)
	return be.Unwrap()
}

// The losses and all LoRA gradients of ten real examples are PyTorch's in float64, to 1e-4.
func TestGradientsEqualPyTorch(t *testing.T) {
	for _, c := range []struct{ model, file string }{
		{"smollm2-135m-instruct", "smollm2.json.gz"},
		{"qwen2.5-coder-0.5b-instruct", "qwen2.json.gz"},
	} {
		t.Run(c.model, func(t *testing.T) {
			testenv.Slow(t, "runs a model's layers on ten examples")
			checkReference(t, modelstest.Path(t, c.model), readReference(t, c.file))
		})
	}
}

func checkReference(t *testing.T, path string, ref reference) {
	be := openEngine(t)
	base, err := local.OpenBase(path, be)
	if err != nil {
		t.Fatal(err)
	}
	tr := &training{Run: Run{Dir: t.TempDir(), Backend: be, Config: Defaults()}, base: base}
	t.Cleanup(func() {
		if err := tr.close(); err != nil {
			t.Error(err)
		}
	})
	tr.Config.Rank, tr.Config.Alpha, tr.Config.Layers = ref.Rank, ref.Alpha, ref.Layers
	tr.Train = []Example{{Question: "replaced below", Answer: "by the fixture's tokens"}}
	if err := tr.prepare(); err != nil {
		t.Fatal(err)
	}
	var seqs []sequence
	for _, e := range ref.Examples {
		seqs = append(seqs, sequence{e.Tokens, e.Prompt})
	}
	if err := tr.train.hidden.close(); err != nil {
		t.Fatal(err)
	}
	p, err := newPacker(seqs, tr.Config.PackTokens, base.Config.Context)
	if err != nil {
		t.Fatal(err)
	}
	tr.train = &split{packer: p}
	if tr.train.hidden, err = openHidden(t.TempDir(), "reference", base, tr.decoder.from, p); err != nil {
		t.Fatal(err)
	}
	if tr.matrices, err = newMatrices(be, tr.Config, &base.Config, tr.decoder.keys, nil, nil); err != nil {
		t.Fatal(err)
	}
	for i, v := range tr.matrices.variables() {
		matrix := []string{"A", "B"}[i%2]
		values := startValues(tr.decoder.keys[i/2], matrix, v.Shape().Size())
		if err := v.SetValue(tensors.FromFlatDataAndDimensions(values, v.Shape().Dimensions...)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.fillHidden(t.Context()); err != nil {
		t.Fatal(err)
	}

	for i, want := range ref.Losses { // each alone in its pack
		out, err := tr.call(tr.train, tr.train.batch([]int{i})[0], 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := scalar(out[0]); math.Abs(got-want) > 1e-4*want {
			t.Errorf("loss of example %d: %v, PyTorch has %v", i, got, want)
		}
		out[1].FinalizeAll()
	}
	all := make([]int, len(seqs))
	for i := range all {
		all[i] = i
	}
	packs := tr.train.batch(all)
	if len(packs) < 2 || len(packs) == len(all) {
		t.Fatalf("%d packs of %d examples: sums over packs and sequences in a pack would not be checked", len(packs), len(all))
	}
	grads, loss := tr.matrices.zeros(), 0.0
	for _, k := range packs {
		var sums []any
		for _, g := range grads {
			sums = append(sums, g)
		}
		out, err := tr.call(tr.train, k, len(all), sums)
		if err != nil {
			t.Fatal(err)
		}
		loss += scalar(out[0])
		grads = out[2:]
	}
	if math.Abs(loss-ref.Loss) > 1e-4*ref.Loss {
		t.Errorf("loss %v, PyTorch has %v", loss, ref.Loss)
	}
	if len(grads) != len(ref.Gradients) {
		t.Fatalf("%d gradients, PyTorch has %d", len(grads), len(ref.Gradients))
	}
	worst := 0.0
	for i, grad := range grads {
		k := tr.decoder.keys[i/2]
		name := fmt.Sprintf("%d/%s/%s", k.Layer, k.Target, []string{"A", "B"}[i%2])
		want, ok := ref.Gradients[name]
		if !ok {
			t.Fatalf("PyTorch has no gradient %s", name)
		}
		flat := tensors.MustCopyFlatData[float32](grad)
		norm := 0.0
		for _, v := range flat {
			norm += float64(v) * float64(v)
		}
		norm = math.Sqrt(norm)
		worst = max(worst, math.Abs(norm-want.Norm)/want.Norm)
		scale := want.Norm / math.Sqrt(float64(len(flat))) // a typical element
		for j, w := range want.Values {
			worst = max(worst, math.Abs(float64(flat[j*len(flat)/len(want.Values)])-w)/max(scale, math.Abs(w)))
		}
		if worst > 1e-4 {
			t.Fatalf("gradient %s: relative difference %.2g from PyTorch's", name, worst)
		}
		grad.FinalizeAll()
	}
	t.Logf("%d matrices, largest relative difference %.2g", len(grads), worst)
}
