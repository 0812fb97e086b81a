package router

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/budgetmem/budgetmem/router/internal/routertest"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"
)

// The backward pass as it is written out gives what GoMLX's own gradients are, at the widths that routers have.
func TestGradientsEqualGoMLX(t *testing.T) {
	const rows = 32
	shape := five(384)
	rng := rand.New(rand.NewPCG(1, 7))
	fill := func(n int) []float32 {
		flat := make([]float32, n)
		for i := range flat {
			flat[i] = float32(rng.NormFloat64()) / 8
		}
		return flat
	}
	for _, be := range routertest.Engines(t) {
		net, err := NewNetwork(be, shape, Init{Seed: 3, ActorGain: 1, CriticGain: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer net.Close()
		exec, err := model.NewExec(net.be, net.store, func(_ *model.Scope, in []*Node) []*Node {
			p := net.pass(in[0].Graph())
			logits, values := p.forward(in[0], in[1], in[2])
			loss := Add(ReduceAllSum(Square(Softmax(logits, -1))), ReduceAllSum(Square(values)))
			var weights []*Node
			for v := range net.store.IterVariables() {
				weights = append(weights, v.NodeValue(p.g))
			}
			return append(p.gradients(loss, logits, values, in[3], in[4]), Gradient(loss, weights...)...)
		})
		if err != nil {
			t.Fatal(err)
		}
		defer exec.Finalize()
		out, err := callOnce(exec, Inputs(net.shape, fill(rows*shape.Dim), fill(3*rows*shape.Dim), fill(rows))...)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range newAdam(net, Default(), 1).weights {
			theirs := out[len(grouped)+i]
			ours := w.of(block{to: len(theirs)}, out)
			largest, apart := 0.0, 0.0
			for k, x := range theirs {
				largest, apart = max(largest, math.Abs(float64(x))), max(apart, math.Abs(float64(x-ours[k])))
			}
			if !(apart <= 1e-5*largest) || largest == 0 {
				t.Errorf("%s: gradients by %s, of up to %.2g, differ by %.2g", be.Kind, w.Name(), largest, apart)
			}
		}
	}
}
