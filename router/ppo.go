package router

import (
	"fmt"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// ppo updates a network by proximal policy optimisation (Schulman et al. 2017) for episodes of one step with several
// decisions. The ratio is that of the joint probabilities, and the advantage is the return minus the value.
type ppo struct {
	cfg     Config
	net     *Network
	learner *Learner
}

// minibatch is what one gradient is taken of: B rows, of which those with weight 0 are padding.
type minibatch struct {
	questions Questions
	choices   []int32   // [modules, B]
	logProbs  []float32 // [B] joint, of the behaviour policy
	advantage []float32 // [B] normalised
	returns   []float32 // [B]
	values    []float32 // [B] before the update
	weights   []float32 // [B] with sum 1
}

// update is the report of one gradient step.
type update struct {
	policyLoss, valueLoss, entropy, kl, clipFraction, gradNorm float64
	ratioError                                                 float64 // largest distance of a ratio from 1
}

// maxLogRatio bounds the logarithm of a ratio, so that its exponential stays finite.
const maxLogRatio = 10

func newPPO(net *Network, cfg Config) (*ppo, error) {
	p := &ppo{cfg: cfg, net: net}
	var err error
	p.learner, err = NewLearner(net, cfg, p.loss)
	return p, err
}

// loss is the Loss of a minibatch; in holds its fields from choices on.
func (p *ppo) loss(logits, value *Node, in []*Node) (loss *Node, report []*Node) {
	choices, old, advantage, returns, values, weights := in[0], in[1], in[2], in[3], in[4], in[5]
	average := func(x *Node) *Node { return ReduceAllSum(Mul(x, weights)) }
	logProbs := LogSoftmax(logits, -1)                                                   // [modules, B, tiers]
	chosen := Mul(logProbs, OneHot(choices, p.net.shape.MaxTiers(), logProbs.DType()))   // [modules, B, tiers]
	logRatio := ClipScalar(Sub(ReduceSum(chosen, 0, 2), old), -maxLogRatio, maxLogRatio) // [B]
	ratio := Exp(logRatio)
	clipped := ClipScalar(ratio, 1-p.cfg.Clip, 1+p.cfg.Clip)
	policyLoss := Neg(average(Min(Mul(ratio, advantage), Mul(clipped, advantage))))

	squared := Square(Sub(value, returns))
	if p.cfg.ValueClip > 0 {
		near := Add(values, ClipScalar(Sub(value, values), -p.cfg.ValueClip, p.cfg.ValueClip))
		squared = Max(squared, Square(Sub(near, returns)))
	}
	valueLoss := average(squared)

	entropies := Neg(ReduceSum(Mul(Exp(logProbs), logProbs), 0, 2)) // [B] joint
	entropy := average(entropies)
	if p.cfg.MeanEntropy {
		entropy = DivScalar(entropy, float64(len(p.net.shape.Modules)))
	}
	loss = Add(policyLoss, Sub(MulScalar(valueLoss, p.cfg.ValueCoef), MulScalar(entropy, p.cfg.EntropyCoef)))

	distance := Abs(AddScalar(ratio, -1))
	kl := average(Sub(AddScalar(ratio, -1), logRatio)) // never negative (Schulman, "Approximating KL divergence")
	outside := average(ConvertDType(GreaterThan(distance, Scalar(distance.Graph(), distance.DType(), p.cfg.Clip)), distance.DType()))
	worst := ReduceAllMax(Where(GreaterThan(weights, ZerosLike(weights)), distance, ZerosLike(distance)))
	return loss, []*Node{policyLoss, valueLoss, entropy, kl, outside, worst}
}

// inputs returns the fields as tensors, in the order that loss takes them.
func (b minibatch) inputs(s Shape) Inputs {
	n := len(b.weights)
	vec := func(v []float32) *tensors.Tensor { return tensors.FromFlatDataAndDimensions(v, n) }
	return NewInputs(s, b.questions, tensors.FromFlatDataAndDimensions(b.choices, len(s.Modules), n),
		vec(b.logProbs), vec(b.advantage), vec(b.returns), vec(b.values), vec(b.weights))
}

// step takes one gradient step.
func (p *ppo) step(minibatch Inputs, rate float64) (update, error) {
	r, norm, err := p.learner.Step(minibatch, rate)
	if err != nil {
		return update{}, fmt.Errorf("update the router: %w", err)
	}
	return update{policyLoss: float64(r[0]), valueLoss: float64(r[1]), entropy: float64(r[2]), kl: float64(r[3]), clipFraction: float64(r[4]),
		ratioError: float64(r[5]), gradNorm: norm}, nil
}
