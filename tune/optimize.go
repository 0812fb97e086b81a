package tune

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/budgetmem/budgetmem/internal/adamw"
	"github.com/budgetmem/budgetmem/internal/safetensors"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
)

// matrices are an adapter under training: its matrices and the optimizer's moments as variables of a GoMLX store.
type matrices struct {
	be    compute.Backend
	cfg   Config
	model *local.Config
	keys  []adapter.Key
	store *model.Store
	step  *model.Exec
}

// loraScope holds the adapter's matrices in the store, A and B of each key.
const loraScope = "/lora"

func variablePath(k adapter.Key, matrix string) string {
	return fmt.Sprintf("%s/%d/%s/%s", loraScope, k.Layer, k.Target, matrix)
}

// newMatrices draws A from a normal distribution of variance 1/in and sets B to zero, so that training starts from the base
// model's own answers; or it takes them from an adapter, or, with the optimizer's state, from a checkpoint.
func newMatrices(be compute.Backend, cfg Config, c *local.Config, keys []adapter.Key, from *adapter.Adapter, saved map[string]safetensors.Tensor) (*matrices, error) {
	m := &matrices{be: be, cfg: cfg, model: c, keys: keys, store: model.NewStore()}
	rng := rand.New(rand.NewPCG(cfg.Seed, 1))
	for _, k := range keys {
		p, _ := c.Projection(k.Target)
		a, b := make([]float32, cfg.Rank*p.In), make([]float32, p.Out*cfg.Rank)
		for i := range a {
			a[i] = float32(rng.NormFloat64() / math.Sqrt(float64(p.In)))
		}
		if from != nil {
			a, b = from.Pairs[k].A, from.Pairs[k].B
		}
		if err := m.create(variablePath(k, "A"), a, []int{cfg.Rank, p.In}, saved); err != nil {
			return nil, err
		}
		if err := m.create(variablePath(k, "B"), b, []int{p.Out, cfg.Rank}, saved); err != nil {
			return nil, err
		}
	}
	for name, t := range saved {
		if strings.HasPrefix(name, loraScope) {
			continue
		}
		values, err := t.Float32()
		if err != nil {
			return nil, fmt.Errorf("checkpoint, %s: %w", name, err)
		}
		v, err := m.store.CreateVariable(name, tensors.FromFlatDataAndDimensions(values, t.Shape...))
		if err != nil {
			return nil, err
		}
		v.SetTrainable(false)
	}
	var err error
	m.step, err = model.NewExec(be, m.store, m.update)
	return m, err
}

func (m *matrices) create(path string, values []float32, shape []int, saved map[string]safetensors.Tensor) error {
	if saved != nil {
		t, ok := saved[path]
		if !ok || fmt.Sprint(t.Shape) != fmt.Sprint(shape) {
			return fmt.Errorf("checkpoint, %s: missing or not of shape %v", path, shape)
		}
		var err error
		if values, err = t.Float32(); err != nil {
			return fmt.Errorf("checkpoint, %s: %w", path, err)
		}
	}
	_, err := m.store.CreateVariable(path, tensors.FromFlatDataAndDimensions(values, shape...))
	return err
}

// update is the program of one step: the learning rate and the gradients to the norm that these have together.
func (m *matrices) update(scope *model.Scope, in []*Node) *Node {
	rate, grads := in[0], in[1:]
	for _, v := range m.variables() {
		v.NodeValue(rate.Graph()) // the optimizer updates what the graph uses
	}
	return adamw.Config{LearningRate: m.cfg.LearningRate, WeightDecay: m.cfg.WeightDecay, MaxGradNorm: m.cfg.MaxGradNorm}.Step(scope, rate, grads)
}

// variables are the matrices, A and B of each key in turn, in the order in which they were created and the optimizer goes
// through them.
func (m *matrices) variables() []*model.Variable {
	var out []*model.Variable
	for _, k := range m.keys {
		out = append(out, m.store.GetVariable(variablePath(k, "A")), m.store.GetVariable(variablePath(k, "B")))
	}
	return out
}

// values are the matrices as inputs of a program. They are valid until the next step.
func (m *matrices) values() ([]any, error) {
	var out []any
	for _, v := range m.variables() {
		t, err := v.Value()
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// zeros are gradients to begin a sum with.
func (m *matrices) zeros() []*tensors.Tensor {
	var out []*tensors.Tensor
	for _, v := range m.variables() {
		out = append(out, tensors.FromFlatDataAndDimensions(make([]float32, v.Shape().Size()), v.Shape().Dimensions...))
	}
	return out
}

// take makes a step with the gradients and frees them. It returns their norm.
func (m *matrices) take(rate float64, grads []*tensors.Tensor) (norm float64, err error) {
	in := []any{float32(rate)}
	for _, t := range grads {
		in = append(in, t)
	}
	out, err := m.step.Call(in...)
	for _, t := range grads {
		t.FinalizeAll()
	}
	if err != nil {
		return 0, fmt.Errorf("optimizer step: %w", err)
	}
	defer out[0].FinalizeAll()
	return float64(tensors.ToScalar[float32](out[0])), nil
}

// state returns everything that the next step depends on.
func (m *matrices) state() (map[string]safetensors.Tensor, error) {
	out := map[string]safetensors.Tensor{}
	for v := range m.store.IterVariables() {
		if v.DType() != dtypes.Float32 { // the global step, which nothing reads
			continue
		}
		t, err := v.Value()
		if err != nil {
			return nil, err
		}
		out[v.Path()] = safetensors.FromFloat32(tensors.MustCopyFlatData[float32](t), v.Shape().Dimensions...)
	}
	return out, nil
}

// adapter returns the adapter as it is now.
func (m *matrices) adapter() (*adapter.Adapter, error) {
	values, err := m.values()
	if err != nil {
		return nil, err
	}
	a := &adapter.Adapter{Rank: m.cfg.Rank, Alpha: m.cfg.Alpha, Pairs: map[adapter.Key]adapter.Pair{}}
	for i, k := range m.keys {
		p, _ := m.model.Projection(k.Target)
		a.Pairs[k] = adapter.Pair{In: p.In, Out: p.Out,
			A: tensors.MustCopyFlatData[float32](values[2*i].(*tensors.Tensor)),
			B: tensors.MustCopyFlatData[float32](values[2*i+1].(*tensors.Tensor))}
	}
	return a, nil
}

func (m *matrices) finalize() {
	m.step.Finalize()
	m.store.Finalize()
}
