// Package adamw is a step of AdamW (Loshchilov and Hutter, 2019) over gradients whose norm is bounded, on GoMLX.
package adamw

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // GoMLX's own habit: graph code reads as formulas
	"github.com/gomlx/gomlx/ml/model"
	"github.com/gomlx/gomlx/ml/train/optimizer"
)

// Config is what is the same in all steps of a training.
type Config struct {
	LearningRate float64 // of the first step, until a rate is given
	WeightDecay  float64
	MaxGradNorm  float64
}

// Step changes the trainable variables that the graph uses by their gradients, which are in the order of the variables. These are bounded
// together to MaxGradNorm, as torch.nn.utils.clip_grad_norm_ does. rate is this step's learning rate. The norm before is returned; both
// are scalars of float32.
func (c Config) Step(scope *model.Scope, rate *Node, grads []*Node) *Node {
	sum := ScalarZero(rate.Graph(), dtypes.Float32)
	for _, grad := range grads {
		sum = Add(sum, ReduceAllSum(Square(grad)))
	}
	norm := Sqrt(sum)
	factor := MinScalar(Div(ConstAs(norm, c.MaxGradNorm), AddScalar(norm, 1e-6)), 1)
	bounded := make([]*Node, len(grads))
	for i, grad := range grads {
		bounded[i] = Mul(grad, factor)
	}
	optimizer.LearningRateVarWithValue(scope, dtypes.Float32, c.LearningRate).SetNodeValue(rate)
	adam := optimizer.Adam().Epsilon(1e-8).WeightDecay(c.WeightDecay).LearningRate(c.LearningRate).Done()
	adam.(gradientsOptimizer).UpdateGraphWithGradients(scope, bounded, dtypes.Float32)
	return norm
}

// gradientsOptimizer is an optimizer of GoMLX that takes gradients which were summed up or changed elsewhere.
type gradientsOptimizer interface {
	UpdateGraphWithGradients(scope *model.Scope, grads []*Node, lossDType dtypes.DType)
}
