package router

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
	"gonum.org/v1/gonum/mat"

	"github.com/budgetmem/budgetmem/router/portable"
)

// Init says how a network's weights start: orthogonal matrices (Saxe et al. 2013) times √2, the last layers by the gains
// given here, and biases at zero.
type Init struct {
	Seed       int64
	ActorGain  float64
	CriticGain float64
	// Describe holds one embedding [dim] a module, of a sentence that says what it does; the network goes on to learn from
	// there. Nil starts from random unit vectors.
	Describe [][]float32
}

// Network is the router's network on GoMLX, for training. One network serves all modules:
//
//	s = [q, m, λ]·W + b               the state: query, memory and λ
//	t = v·D + d                       the module, from its learned vector v
//	h = relu(s·Es + t·Et + e)
//	h = relu(h·F + f)
//	logits = relu(h·A + a)·L + l      of the module's tiers, by the actor
//	value  = relu(h·C + c)·V + v₀     what the question will earn, by the critic, at the first decision
//
// A Network may be used by one goroutine at a time; what Portable returns by any number.
type Network struct {
	shape Shape
	be    compute.Backend
	store *model.Store
	eval  *model.Exec
	first *model.Exec // values alone
	fold  *model.Exec
}

// root is the scope of the weights in the store.
const root = "/router/"

// NewNetwork makes a network with fresh weights.
func NewNetwork(be compute.Backend, shape Shape, init Init) (*Network, error) {
	shape, err := shape.withDefaults()
	if err != nil {
		return nil, err
	}
	if init.Describe != nil && (len(init.Describe) != len(shape.Modules) || slices.ContainsFunc(init.Describe, func(v []float32) bool { return len(v) != shape.Dim })) {
		return nil, fmt.Errorf("router: describe %d modules by as many embeddings of %d numbers", len(shape.Modules), shape.Dim)
	}
	if w, ok := be.(interface{ Unwrap() compute.Backend }); ok {
		be = w.Unwrap() // tensors know the engine itself, and would take the wrapper for another one
	}
	n := &Network{shape: shape, be: be, store: model.NewStore()}
	if err := n.fill(init); err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	if n.eval, err = model.NewExec(be, n.store, func(sc *model.Scope, in []*Node) []*Node {
		logits, value := n.forward(in[0], in[1], in[2])
		return []*Node{LogSoftmax(logits, -1), value}
	}); err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	if n.first, err = model.NewExec(be, n.store, func(sc *model.Scope, in []*Node) *Node {
		return n.value(n.heads(in[0], in[1], in[2], 1))
	}); err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	if n.fold, err = model.NewExec(be, n.store, n.folded); err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	return n, nil
}

// Close gives back the memory of the weights. The network cannot be used after it.
func (n *Network) Close() {
	n.eval.Finalize()
	n.first.Finalize()
	n.fold.Finalize()
	n.store.Finalize()
}

// fill creates the weights.
func (n *Network) fill(init Init) error {
	rng := rand.New(rand.NewPCG(uint64(init.Seed), 0x6f7274686f)) // a stream of its own
	d, h, a, s := n.shape.Dim, n.shape.Hidden, n.shape.Actor, n.shape
	modules := make([]float32, 0, len(s.Modules)*d)
	for m := range s.Modules {
		if init.Describe != nil {
			modules = append(modules, init.Describe[m]...)
		} else {
			modules = append(modules, orthogonal(rng, d, 1, 1)...)
		}
	}
	first := orthogonal(rng, 2*h, h, math.Sqrt2)
	for _, w := range []struct {
		name   string
		values []float32
		dims   []int
	}{
		{"state", orthogonal(rng, 2*d+1, h, math.Sqrt2), []int{2*d + 1, h}}, // query, memory, λ
		{"state_bias", nil, []int{h}},
		{"modules", modules, []int{len(s.Modules), d}},
		{"describe", orthogonal(rng, d, h, math.Sqrt2), []int{d, h}},
		{"describe_bias", nil, []int{h}},
		{"first_state", first[:h*h], []int{h, h}},
		{"first_module", first[h*h:], []int{h, h}},
		{"first_bias", nil, []int{h}},
		{"second", orthogonal(rng, h, h, math.Sqrt2), []int{h, h}},
		{"second_bias", nil, []int{h}},
		{"heads", beside(orthogonal(rng, h, a, math.Sqrt2), orthogonal(rng, h, a, math.Sqrt2), a), []int{h, 2 * a}}, // actor, critic
		{"heads_bias", nil, []int{2 * a}},
		{"logits", orthogonal(rng, a, s.tiers(), init.ActorGain), []int{a, s.tiers()}},
		{"logits_bias", nil, []int{s.tiers()}},
		{"value", orthogonal(rng, a, 1, init.CriticGain), []int{a, 1}},
		{"value_bias", nil, []int{1}},
	} {
		if w.values == nil {
			w.values = make([]float32, w.dims[0])
		}
		if _, err := n.store.CreateVariable(root+w.name, tensors.FromFlatDataAndDimensions(w.values, w.dims...)); err != nil {
			return err
		}
	}
	return nil
}

// orthogonal returns a random matrix [rows, cols] whose shorter side's vectors are orthogonal and of length gain.
func orthogonal(rng *rand.Rand, rows, cols int, gain float64) []float32 {
	long, short := max(rows, cols), min(rows, cols)
	random := mat.NewDense(long, short, nil)
	for i := range long {
		for j := range short {
			random.Set(i, j, rng.NormFloat64())
		}
	}
	var qr mat.QR
	qr.Factorize(random)
	var q, r mat.Dense
	qr.QTo(&q)
	qr.RTo(&r)
	out := make([]float32, rows*cols)
	for i := range long {
		for j := range short {
			// The sign of R's diagonal makes the distribution uniform (Mezzadri 2007).
			x := float32(gain * math.Copysign(q.At(i, j), q.At(i, j)*r.At(j, j)))
			if rows >= cols {
				out[i*cols+j] = x
			} else {
				out[j*cols+i] = x
			}
		}
	}
	return out
}

// beside joins the rows of two matrices of so many columns.
func beside(a, b []float32, columns int) []float32 {
	var out []float32
	for i := 0; i < len(a); i += columns {
		out = append(append(out, a[i:i+columns]...), b[i:i+columns]...)
	}
	return out
}

// weight returns a weight in a graph.
func (n *Network) weight(g *Graph, name string) *Node {
	return n.store.GetVariable(root + name).NodeValue(g)
}

// linear computes x·W + b with the weights of a name.
func (n *Network) linear(x *Node, name string) *Node {
	b := n.weight(x.Graph(), name+"_bias")
	return Add(MatMul(x, n.weight(x.Graph(), name)), ExpandLeftToRank(b, 2))
}

// relu has a cheaper gradient than a maximum, which would be taken of the zeros too.
func relu(x *Node) *Node {
	return Where(GreaterThan(x, ScalarZero(x.Graph(), x.DType())), x, ZerosLike(x))
}

// heads returns the last hidden layers of actor and critic, side by side [modules·B, 2·actor], for the first so many modules:
// query [B, dim], memory [states, B, dim] as far as those modules look, lambda [B, 1].
func (n *Network) heads(query, memory, lambda *Node, modules int) *Node {
	g, s := query.Graph(), n.shape
	batch, states, h := query.Shape().Dimensions[0], memory.Shape().Dimensions[0], s.Hidden
	// Each memory is projected once, however many modules look at it, and so is each module.
	every := func(x *Node, width int) *Node { // [B, width] → [states, B, width]
		return BroadcastToDims(InsertAxes(x, 0), states, batch, width)
	}
	state := Concatenate([]*Node{every(query, s.Dim), memory, every(lambda, 1)}, 2)
	state = MatMul(n.linear(Reshape(state, states*batch, 2*s.Dim+1), "state"), n.weight(g, "first_state"))
	state = Reshape(state, states, batch, h)
	module := MatMul(n.linear(n.weight(g, "modules"), "describe"), n.weight(g, "first_module"))
	module = Add(module, ExpandLeftToRank(n.weight(g, "first_bias"), 2))
	parts := make([]*Node, modules)
	for m, i := range s.States[:modules] {
		parts[m] = Add(Reshape(Slice(state, AxisElem(i)), batch, h), Slice(module, AxisElem(m)))
	}
	// One product for both heads is quicker than a small one for the critic's few rows.
	return relu(n.linear(relu(n.linear(relu(Concatenate(parts, 0)), "second")), "heads"))
}

// forward returns logits [modules, B, tiers], very low where a module has fewer tiers, and the values [B] of B questions:
// query [B, dim], memory [states, B, dim], lambda [B, 1].
func (n *Network) forward(query, memory, lambda *Node) (logits, value *Node) {
	s, batch := n.shape, query.Shape().Dimensions[0]
	heads := n.heads(query, memory, lambda, len(s.Modules))
	logits = n.linear(Slice(heads, AxisRange(), AxisRange(0, s.Actor)), "logits")
	logits = Add(Reshape(logits, len(s.Modules), batch, s.tiers()), n.mask(query.Graph()))
	return logits, n.value(Slice(heads, AxisRange(0, batch)))
}

// value returns the values [B] from the first module's heads [B, 2·actor].
func (n *Network) value(heads *Node) *Node {
	value := n.linear(Slice(heads, AxisRange(), AxisRange(n.shape.Actor)), "value")
	return Reshape(value, heads.Shape().Dimensions[0])
}

// masked is a logit whose chance is zero in float32.
const masked = -1e9

// mask is 0 for the tiers that a module has and masked for the rest: [modules, 1, tiers].
func (n *Network) mask(g *Graph) *Node {
	width := n.shape.tiers()
	mask := make([]float32, len(n.shape.Modules)*width)
	for m, module := range n.shape.Modules {
		for t := len(module.Tiers); t < width; t++ {
			mask[m*width+t] = masked
		}
	}
	return Const(g, tensors.FromFlatDataAndDimensions(mask, len(n.shape.Modules), 1, width))
}

// Evaluate computes on GoMLX the logarithms of the tiers' chances [modules, B, tiers] and the values [B] of B questions:
// query [B, dim], memory [states, B, dim], lambda [B].
func (n *Network) Evaluate(query, memory, lambda []float32) (logProbs, values []float32, err error) {
	b := len(lambda)
	out, err := call(n.eval,
		tensors.FromFlatDataAndDimensions(query, b, n.shape.Dim),
		tensors.FromFlatDataAndDimensions(memory, n.shape.states(), b, n.shape.Dim),
		tensors.FromFlatDataAndDimensions(lambda, b, 1))
	if err != nil {
		return nil, nil, fmt.Errorf("evaluate the router: %w", err)
	}
	return out[0], out[1], nil
}

// values computes the values [B] of B questions from what the first module looks at: query, memory [B, dim], lambda [B].
func (n *Network) values(query, memory, lambda []float32) ([]float32, error) {
	b := len(lambda)
	out, err := call(n.first,
		tensors.FromFlatDataAndDimensions(query, b, n.shape.Dim),
		tensors.FromFlatDataAndDimensions(memory, 1, b, n.shape.Dim),
		tensors.FromFlatDataAndDimensions(lambda, b, 1))
	if err != nil {
		return nil, fmt.Errorf("value questions: %w", err)
	}
	return out[0], nil
}

// call runs a graph, copies what it gives out of the backend, and frees inputs and outputs.
func call(exec *model.Exec, inputs ...*tensors.Tensor) ([][]float32, error) {
	args := make([]any, len(inputs))
	for i, t := range inputs {
		args[i] = t
	}
	out, err := exec.Call(args...)
	for _, t := range inputs {
		err = errors.Join(err, t.FinalizeAll())
	}
	if err != nil {
		return nil, err
	}
	flat := make([][]float32, len(out))
	for i, t := range out {
		values, copied := tensors.CopyFlatData[float32](t)
		flat[i] = values
		err = errors.Join(err, copied, t.FinalizeAll())
	}
	return flat, err
}

// agreementRows is how many made-up questions Agreement looks at.
const agreementRows = 64

// Agreement is the largest difference between the log-probabilities that an exported router and this network give to the
// tiers of made-up questions.
func (n *Network) Agreement(r *portable.Router) (float64, error) {
	if info := r.Info(); info.Dim != n.shape.Dim || !n.shape.Modules.equal(info.Modules) {
		return 0, fmt.Errorf("compare routers: one has dim %d and tiers %v, the other %d and %v", n.shape.Dim, n.shape.Modules, info.Dim, info.Modules)
	}
	rng := rand.New(rand.NewPCG(1, 5))
	rows, dim, span := agreementRows, n.shape.Dim, r.Info().Lambda
	query, memory, lambda := orthogonal(rng, rows, dim, 1), orthogonal(rng, n.shape.states()*rows, dim, 1), make([]float32, rows)
	for i := range lambda {
		lambda[i] = float32(span.Min + rng.Float64()*(span.Max-span.Min))
	}
	logProbs, _, err := n.Evaluate(query, memory, lambda)
	if err != nil {
		return 0, err
	}
	d, worst := r.NewDecider(), 0.0
	for i := range rows {
		// The nearest float32 of an end may lie outside.
		if err := d.Question(query[i*dim:(i+1)*dim], min(max(float64(lambda[i]), span.Min), span.Max)); err != nil {
			return 0, err
		}
		for m, state := range n.shape.States {
			if err := d.Memory(memory[(state*rows+i)*dim : (state*rows+i+1)*dim]); err != nil {
				return 0, err
			}
			at := (m*rows + i) * n.shape.tiers()
			for t, l := range d.LogProbs(m) {
				worst = max(worst, math.Abs(float64(l-logProbs[at+t])))
			}
		}
	}
	return worst, nil
}

// folded builds the tensors of portable.Weights, in their order: what is linear in a row is multiplied out, in float64.
func (n *Network) folded(_ *model.Scope, g *Graph) []*Node {
	w := func(name string) *Node { return ConvertDType(n.weight(g, name), dtypes.Float64) }
	row := func(name string) *Node { return InsertAxes(w(name), 0) }
	first := w("first_state")
	module := MatMul(Add(MatMul(w("modules"), w("describe")), row("describe_bias")), w("first_module"))
	module = Add(module, Add(MatMul(row("state_bias"), first), row("first_bias")))
	state, d := MatMul(w("state"), first), n.shape.Dim
	actor := AxisRange(0, n.shape.Actor)
	out := []*Node{Slice(state, AxisRange(0, d)), Slice(state, AxisRange(d, 2*d)), Slice(state, AxisElem(2*d)), module,
		w("second"), w("second_bias"), Slice(w("heads"), AxisRange(), actor), Slice(w("heads_bias"), actor), w("logits"), w("logits_bias")}
	for i := range out {
		out[i] = ConvertDType(out[i], dtypes.Float32)
	}
	return out
}

// Portable returns the network as it is now for use without GoMLX, and as the policy that collects episodes; lambda is the
// range of λ that it was trained for.
func (n *Network) Portable(lambda portable.Range) (*portable.Router, error) {
	fail := func(err error) (*portable.Router, error) { return nil, fmt.Errorf("export the router: %w", err) }
	flat, err := call(n.fold)
	if err != nil {
		return fail(err)
	}
	w := portable.Weights{Query: flat[0], Memory: flat[1], Lambda: flat[2], Module: flat[3], Encoder: flat[4], EncoderBias: flat[5],
		Actor: flat[6], ActorBias: flat[7], Logits: flat[8], LogitsBias: flat[9]}
	r, err := portable.New(portable.Info{Dim: n.shape.Dim, Embedder: n.shape.Embedder, Modules: n.shape.Modules, Lambda: lambda}, w)
	if err != nil {
		return fail(err)
	}
	return r, nil
}
