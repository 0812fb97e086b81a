package router

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
	"gonum.org/v1/gonum/mat"
)

// Init says how a network's weights start: orthogonal matrices (Saxe et al. 2013) times √2, the last layers by the gains
// given here, and biases at zero.
type Init struct {
	Seed       int64
	ActorGain  float64
	CriticGain float64
}

// Network is the router's network on GoMLX, for training. One network serves all modules:
//
//	s = q·Q + m·M + λ·l + b           the state: query, memory and λ
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
	shape, err := shape.Complete()
	if err != nil {
		return nil, err
	}
	if w, ok := be.(interface{ Unwrap() compute.Backend }); ok {
		be = w.Unwrap() // tensors know the engine itself, and would take the wrapper for another one
	}
	n := &Network{shape: shape, be: be, store: model.NewStore()}
	if err := n.fill(init); err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	if n.eval, err = model.NewExec(be, n.store, func(sc *model.Scope, in []*Node) []*Node {
		logits, value := n.pass(in[0].Graph()).forward(in[0], in[1], in[2])
		return []*Node{LogSoftmax(logits, -1), value}
	}); err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	if n.first, err = model.NewExec(be, n.store, func(sc *model.Scope, in []*Node) *Node {
		p := n.pass(in[0].Graph())
		return p.value(p.hidden(in[0], in[1], in[2], 1))
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
	for range s.Modules {
		modules = append(modules, orthogonal(rng, d, 1, 1)...)
	}
	state := orthogonal(rng, 2*d+1, h, math.Sqrt2) // one layer, whose parts are kept apart, see hidden
	first := orthogonal(rng, 2*h, h, math.Sqrt2)
	for _, w := range []struct {
		name   string
		values []float32
		dims   []int
	}{
		{"query", state[:d*h], []int{d, h}},
		{"memory", state[d*h : 2*d*h], []int{d, h}},
		{"lambda", state[2*d*h:], []int{1, h}},
		{"state_bias", nil, []int{h}},
		{"modules", modules, []int{len(s.Modules), d}},
		{"describe", orthogonal(rng, d, h, math.Sqrt2), []int{d, h}},
		{"describe_bias", nil, []int{h}},
		{"first_state", first[:h*h], []int{h, h}},
		{"first_module", first[h*h:], []int{h, h}},
		{"first_bias", nil, []int{h}},
		{"second", orthogonal(rng, h, h, math.Sqrt2), []int{h, h}},
		{"second_bias", nil, []int{h}},
		{"actor", orthogonal(rng, h, a, math.Sqrt2), []int{h, a}},
		{"actor_bias", nil, []int{a}},
		{"critic", orthogonal(rng, h, a, math.Sqrt2), []int{h, a}},
		{"critic_bias", nil, []int{a}},
		{"logits", orthogonal(rng, a, s.MaxTiers(), init.ActorGain), []int{a, s.MaxTiers()}},
		{"logits_bias", nil, []int{s.MaxTiers()}},
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

// hidden returns the last layer [modules·B, hidden] that actor and critic share, for the first so many modules: query [B, dim],
// memory [states, B, dim] as far as those modules look, lambda [B, 1].
func (p pass) hidden(query, memory, lambda *Node, modules int) *Node {
	s := p.shape
	states, batch, h := memory.Shape().Dimensions[0], memory.Shape().Dimensions[1], s.Hidden
	// Each question and each memory is projected once, however many modules look at it, and so is each module.
	asked := p.bias(Add(p.product("query", query), p.product("lambda", lambda)), "state_bias")
	found := Reshape(p.product("memory", Reshape(memory, states*batch, s.Dim)), states, batch, h)
	state := Add(found, BroadcastToDims(InsertAxes(asked, 0), states, batch, h))
	state = Reshape(p.product("first_state", Reshape(state, states*batch, h)), states, batch, h)
	seen := make([]*Node, modules)
	for m, i := range s.States[:modules] {
		seen[m] = Slice(state, AxisElem(i))
	}
	module := p.bias(p.product("first_module", p.linear("describe", p.weight("modules"))), "first_bias")
	first := Add(Concatenate(seen, 0), InsertAxes(Slice(module, AxisRange(0, modules)), 1))
	return relu(p.linear("second", relu(Reshape(first, modules*batch, h))))
}

// forward returns logits [modules, B, tiers], very low where a module has fewer tiers, and the values [B] of B questions:
// query [B, dim], memory [states, B, dim], lambda [B, 1].
func (p pass) forward(query, memory, lambda *Node) (logits, value *Node) {
	s, batch := p.shape, query.Shape().Dimensions[0]
	h := p.hidden(query, memory, lambda, len(s.Modules))
	logits = p.linear("logits", relu(p.linear("actor", h)))
	logits = Add(Reshape(logits, len(s.Modules), batch, s.MaxTiers()), p.mask(p.g))
	return logits, p.value(Slice(h, AxisRange(0, batch)))
}

// value returns the values [B] from the first module's hidden layer [B, hidden].
func (p pass) value(h *Node) *Node {
	return Reshape(p.linear("value", relu(p.linear("critic", h))), h.Shape().Dimensions[0])
}

// masked is a logit whose chance is zero in float32.
const masked = -1e9

// mask is 0 for the tiers that a module has and masked for the rest: [modules, 1, tiers].
func (n *Network) mask(g *Graph) *Node {
	width := n.shape.MaxTiers()
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
	out, err := callOnce(n.eval,
		tensors.FromFlatDataAndDimensions(query, b, n.shape.Dim),
		tensors.FromFlatDataAndDimensions(memory, n.shape.Memories(), b, n.shape.Dim),
		tensors.FromFlatDataAndDimensions(lambda, b, 1))
	if err != nil {
		return nil, nil, fmt.Errorf("evaluate the router: %w", err)
	}
	return out[0], out[1], nil
}

// values computes the values [B] of B questions from what the first module looks at: query, memory [B, dim], lambda [B].
func (n *Network) values(query, memory, lambda []float32) ([]float32, error) {
	b := len(lambda)
	out, err := callOnce(n.first,
		tensors.FromFlatDataAndDimensions(query, b, n.shape.Dim),
		tensors.FromFlatDataAndDimensions(memory, 1, b, n.shape.Dim),
		tensors.FromFlatDataAndDimensions(lambda, b, 1))
	if err != nil {
		return nil, fmt.Errorf("value questions: %w", err)
	}
	return out[0], nil
}

// call runs a graph, copies what it gives out of the backend, and frees that.
func call(exec *model.Exec, inputs []*tensors.Tensor) ([][]float32, error) {
	args := make([]any, len(inputs))
	for i, t := range inputs {
		args[i] = t
	}
	out, err := exec.Call(args...)
	if err != nil {
		return nil, err
	}
	flat := make([][]float32, len(out))
	for i, t := range out {
		values, copied := tensors.CopyFlatData[float32](t)
		flat[i] = values
		err = errors.Join(err, copied)
	}
	return flat, errors.Join(err, free(out))
}

// callOnce is call for inputs that are not needed again: it frees them.
func callOnce(exec *model.Exec, inputs ...*tensors.Tensor) ([][]float32, error) {
	flat, err := call(exec, inputs)
	return flat, errors.Join(err, free(inputs))
}

func free(all []*tensors.Tensor) (err error) {
	for _, t := range all {
		err = errors.Join(err, t.FinalizeAll())
	}
	return err
}
