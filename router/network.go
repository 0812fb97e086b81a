package router

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
	"gonum.org/v1/gonum/mat"
)

// Init says how a network's weights are initialised: orthogonal matrices (Saxe et al. 2013) times √2, the last layers by the
// gains given here, random unit vectors for modules, and biases at zero.
type Init struct {
	Seed       int64
	ActorGain  float64 // factor on the policy's last layer
	CriticGain float64 // and on the value's
}

// Network is the router's network on GoMLX, for training. One network serves all modules:
//
//	s = q·Q + m·M + λ·l + b           query, memory and λ; for the last module + g·G with the signals g, if there are some
//	t = v·D + d                       the module, from its learned vector v
//	h = relu(s·Es + t·Et + e)
//	h = relu(h·F + f)
//	logits = relu(h·A + a)·L + l      of the module's tiers, by the actor
//	value  = relu(h·C + c)·V + v₀     the expected return of the question, by the critic, at the first decision
//
// A Network may be used by one goroutine at a time; the routers that Portable returns by any number.
type Network struct {
	shape    Shape
	be       compute.Backend
	store    *model.Store
	evaluate *model.Exec
	value    *model.Exec
	export   *model.Exec
}

// root is the scope of the weights in the store.
const root = "/router/"

// NewNetwork makes a network with fresh weights. A shape whose parts do not fit together is an error. The caller closes the
// network.
func NewNetwork(be compute.Backend, shape Shape, init Init) (*Network, error) {
	shape, err := shape.complete()
	if err != nil {
		return nil, err
	}
	if w, ok := be.(interface{ Unwrap() compute.Backend }); ok {
		be = w.Unwrap() // tensors compare backends by identity
	}
	n := &Network{shape: shape, be: be, store: model.NewStore()}
	if err := n.initWeights(init); err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	if n.evaluate, err = model.NewExec(be, n.store, func(_ *model.Scope, in []*Node) []*Node {
		logits, values := n.layers(in[0].Graph()).forward(in)
		return []*Node{LogSoftmax(logits, -1), values}
	}); err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	if n.value, err = model.NewExec(be, n.store, func(_ *model.Scope, query, memory, lambda *Node) *Node {
		l := n.layers(query.Graph())
		return l.critic(l.hidden(query, memory, lambda, nil, 1))
	}); err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	if n.export, err = model.NewExec(be, n.store, n.foldConstants); err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	return n, nil
}

// Close frees the weights and the compiled graphs. The network cannot be used afterwards.
func (n *Network) Close() {
	n.evaluate.Finalize()
	n.value.Finalize()
	n.export.Finalize()
	n.store.Finalize()
}

// weights iterates over the network's own variables, in the order of the store.
func (n *Network) weights() iter.Seq[*model.Variable] {
	return n.store.Scope(root).IterVariables()
}

// initWeights creates the weights.
func (n *Network) initWeights(init Init) error {
	rng := rand.New(rand.NewPCG(uint64(init.Seed), 0x6f7274686f)) // a stream separate from those of training
	d, h, a, s := n.shape.Dim, n.shape.Hidden, n.shape.Actor, n.shape
	modules := make([]float32, 0, len(s.Modules)*d)
	for range s.Modules {
		modules = append(modules, orthogonal(rng, d, 1, 1)...)
	}
	state := orthogonal(rng, 2*d+1, h, math.Sqrt2) // one layer in separate parts, see hidden
	first := orthogonal(rng, 2*h, h, math.Sqrt2)
	type weight struct {
		name   string
		values []float32
		dims   []int
	}
	all := []weight{
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
	}
	if inputs := 2 * len(s.Signals); inputs > 0 {
		all = append(all, weight{"signals", orthogonal(rng, inputs, h, math.Sqrt2), []int{inputs, h}})
	}
	for _, w := range all {
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
