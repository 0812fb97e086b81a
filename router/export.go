package router

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/budgetmem/budgetmem/router/portable"
)

// foldConstants builds the tensors of portable.Weights, in their order: consecutive linear layers are multiplied out, in
// float64.
func (n *Network) foldConstants(_ *model.Scope, g *Graph) []*Node {
	l := n.layers(g)
	w := func(name string) *Node { return ConvertDType(l.weight(name), dtypes.Float64) }
	row := func(name string) *Node { return InsertAxes(w(name), 0) }
	first := w("first_state")
	module := MatMul(Add(MatMul(w("modules"), w("describe")), row("describe_bias")), w("first_module"))
	module = Add(module, Add(MatMul(row("state_bias"), first), row("first_bias")))
	out := []*Node{MatMul(w("query"), first), MatMul(w("memory"), first), MatMul(w("lambda"), first), module,
		w("second"), w("second_bias"), w("actor"), w("actor_bias"), w("logits"), w("logits_bias")}
	if len(n.shape.Signals) > 0 {
		out = append(out, MatMul(w("signals"), first))
	}
	for i := range out {
		out[i] = ConvertDType(out[i], dtypes.Float32)
	}
	return out
}

// Portable exports the current weights for use without GoMLX; lambda is the range of λ that they were trained for. A range
// that does not rise from 0 or more, and weights that are not finite, are errors.
func (n *Network) Portable(lambda portable.Range) (*portable.Router, error) {
	fail := func(err error) (*portable.Router, error) { return nil, fmt.Errorf("export the router: %w", err) }
	flat, err := callOnce(n.export, nil)
	if err != nil {
		return fail(err)
	}
	w := portable.Weights{Query: flat[0], Memory: flat[1], Lambda: flat[2], Module: flat[3], Encoder: flat[4], EncoderBias: flat[5],
		Actor: flat[6], ActorBias: flat[7], Logits: flat[8], LogitsBias: flat[9]}
	if len(n.shape.Signals) > 0 {
		w.Signals = flat[10]
	}
	r, err := portable.New(portable.Info{Dim: n.shape.Dim, Embedder: n.shape.Embedder, Modules: n.shape.Modules, Signals: n.shape.Signals, Lambda: lambda}, w)
	if err != nil {
		return fail(err)
	}
	return r, nil
}

// agreementRows is the number of random questions in Agreement.
const agreementRows = 64

// Agreement is the largest difference between the log-probabilities of an exported router and of this network for the tiers
// of random questions. Routers for other modules or tiers are an error.
func (n *Network) Agreement(r *portable.Router) (float64, error) {
	if info := r.Info(); info.Dim != n.shape.Dim || !n.shape.Modules.equal(info.Modules) || !slices.Equal(n.shape.Signals, info.Signals) {
		return 0, fmt.Errorf("compare routers: one has dim %d and tiers %v, the other %d and %v", n.shape.Dim, n.shape.Modules, info.Dim, info.Modules)
	}
	rng := rand.New(rand.NewPCG(1, 5))
	rows, dim, span := agreementRows, n.shape.Dim, r.Info().Lambda
	q := Questions{Query: orthogonal(rng, rows, dim, 1), Memory: orthogonal(rng, n.shape.Memories()*rows, dim, 1), Lambda: make([]float32, rows)}
	for i := range q.Lambda {
		q.Lambda[i] = float32(span.Min + rng.Float64()*(span.Max-span.Min))
	}
	signals := make([][]float32, rows)
	for i := range signals {
		signals[i] = make([]float32, len(n.shape.Signals))
		for at, s := range n.shape.Signals {
			signals[i][at] = float32(s.Scale * rng.NormFloat64())
			if rng.IntN(4) == 0 {
				signals[i][at] = float32(math.NaN())
			}
		}
		inputs := make([]float32, 2*len(n.shape.Signals))
		portable.SignalInputs(n.shape.Signals, signals[i], inputs)
		q.Signals = append(q.Signals, inputs...)
	}
	logProbs, _, err := n.predict(q)
	if err != nil {
		return 0, err
	}
	d, worst := r.NewDecider(), 0.0
	for i := range rows {
		// The float32 nearest to an end may lie outside the range.
		if err := d.Question(q.Query[i*dim:(i+1)*dim], min(max(float64(q.Lambda[i]), span.Min), span.Max)); err != nil {
			return 0, err
		}
		if err := d.Signals(signals[i]); err != nil {
			return 0, err
		}
		for m, index := range n.shape.MemoryIndex {
			if err := d.Memory(q.Memory[(index*rows+i)*dim : (index*rows+i+1)*dim]); err != nil {
				return 0, err
			}
			at := (m*rows + i) * n.shape.MaxTiers()
			for t, l := range d.LogProbs(m) {
				worst = max(worst, math.Abs(float64(l-logProbs[at+t])))
			}
		}
	}
	return worst, nil
}
