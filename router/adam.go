package router

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
	"github.com/gomlx/gomlx/ml/model/initializer"
	"github.com/gomlx/gomlx/ml/train/optimizer"
)

// adam changes weights by their gradients g as Adam does (Kingma & Ba 2015), once the gradients are scaled by c so that their
// joint norm is at most a limit:
//
//	m ← β₁m + (1−β₁)c·g     v ← β₂v + (1−β₂)(c·g)²     w ← w − rate·√(1−β₂ᵗ)/(1−β₁ᵗ)·m/(√v + ε√(1−β₂ᵗ))
//
// It is GoMLX's optimizer, and keeps the same variables, in three quarters of the operations: all that can be is folded into
// the scalars, as in pure Go every operation goes through as many numbers as there are weights.
type adam struct {
	rate    *model.Variable
	limit   float64 // of the norm
	epsilon float64
}

const beta1, beta2 = 0.9, 0.999

func newAdam(store *model.Store, cfg Config) adam {
	return adam{optimizer.LearningRateVar(store.RootScope(), dtypes.Float32, cfg.LearningRate), cfg.MaxGradNorm, cfg.AdamEpsilon}
}

// setRate sets the learning rate.
func (a adam) setRate(rate float64) error { return a.rate.SetValue(tensors.FromScalar(float32(rate))) }

// update builds the change of all trainable weights in a graph, whose gradients are in the order of the store, and returns the
// norm that the gradients have.
func (a adam) update(sc *model.Scope, grads []*Node) (norm *Node) {
	g := grads[0].Graph()
	norm = jointNorm(grads)
	scale := MinScalar(Div(Const(g, float32(a.limit)), AddScalar(norm, 1e-6)), 1)
	optimizer.IncrementGlobalStep(g, dtypes.Float32)
	scope := sc.At(optimizer.AdamDefaultScope).WithInitializer(initializer.Zero)
	t := optimizer.IncrementCounter(scope, g, "step", dtypes.Float32)
	start := func(beta float64) *Node { return OneMinus(Exp(MulScalar(t, math.Log(beta)))) } // 1 − βᵗ
	debias := Sqrt(start(beta2))
	step := Mul(a.rate.NodeValue(g), Div(debias, start(beta1)))
	epsilon := MulScalar(debias, a.epsilon)
	first, second := MulScalar(scale, 1-beta1), MulScalar(scale, math.Sqrt(1-beta2))

	i := 0
	for weights := range sc.IterVariables() {
		if !weights.Trainable || !weights.InUseByGraph(g) {
			continue
		}
		moment := func(name string) *model.Variable {
			return scope.At("%s", weights.Scope()[1:]).VariableWithShape(weights.Name()+name, weights.Shape()).SetTrainable(false)
		}
		m, v := moment("_1st_moment"), moment("_2nd_moment")
		m.SetNodeValue(Add(MulScalar(m.NodeValue(g), beta1), Mul(grads[i], first)))
		v.SetNodeValue(Add(MulScalar(v.NodeValue(g), beta2), Square(Mul(grads[i], second))))
		weights.SetNodeValue(Sub(weights.NodeValue(g), Div(Mul(m.NodeValue(g), step), Add(Sqrt(v.NodeValue(g)), epsilon))))
		i++
	}
	return norm
}

// jointNorm is the norm of gradients taken together.
func jointNorm(grads []*Node) *Node {
	squares := make([]*Node, len(grads))
	for i, g := range grads {
		flat := Reshape(g, 1, g.Shape().Size())
		squares[i] = Reshape(DotGeneral(flat, []int{1}, nil, flat, []int{1}, nil)) // quicker than a sum of squares in pure Go
	}
	return Sqrt(ReduceAllSum(Stack(squares, 0)))
}
