package router

import (
	"fmt"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// ppo updates a network by proximal policy optimisation (Schulman et al. 2017) for episodes of one step with several
// decisions: the ratio is that of the joint chances, and as the return of an episode is known, the advantage is return
// minus value.
type ppo struct {
	cfg     Config
	net     *Network
	learner *Learner
}

// minibatch is what a gradient is taken of, or a part of it: B rows, of which those with weight 0 are there to fill up.
type minibatch struct {
	query     []float32 // [B, dim]
	memory    []float32 // [states, B, dim]
	lambda    []float32 // [B]
	choices   []int32   // [modules, B]
	logProbs  []float32 // [B] joint, when the choices were made
	advantage []float32 // [B] normalised
	returns   []float32 // [B]
	values    []float32 // [B] before the update
	weights   []float32 // [B] with sum 1, over all parts
}

// update is what one gradient step reports.
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

// loss builds the loss of a minibatch, from its fields after those of the questions, in their order, and what an update reports
// except for the gradient.
func (p *ppo) loss(logits, value *Node, in []*Node) (loss *Node, report []*Node) {
	choices, old, advantage, returns, values, weights := in[0], in[1], in[2], in[3], in[4], in[5]
	average := func(x *Node) *Node { return ReduceAllSum(Mul(x, weights)) }
	all, chances := logSoftmax(logits)                                                   // [modules, B, tiers]
	chosen := Mul(all, OneHot(choices, p.net.shape.MaxTiers(), all.DType()))             // [modules, B, tiers]
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

	entropies := Neg(ReduceSum(Mul(chances, all), 0, 2)) // [B] joint
	entropy := average(entropies)
	if p.cfg.MeanEntropy {
		entropy = DivScalar(entropy, float64(len(p.net.shape.Modules)))
	}
	loss = Add(policyLoss, Sub(MulScalar(valueLoss, p.cfg.ValueCoef), MulScalar(entropy, p.cfg.EntropyCoef)))

	off := Abs(AddScalar(ratio, -1))
	kl := average(Sub(AddScalar(ratio, -1), logRatio)) // never negative (Schulman, "Approximating KL divergence")
	outside := average(ConvertDType(GreaterThan(off, Scalar(off.Graph(), off.DType(), p.cfg.Clip)), off.DType()))
	worst := ReduceAllMax(Where(GreaterThan(weights, ZerosLike(weights)), off, ZerosLike(off)))
	return loss, []*Node{policyLoss, valueLoss, entropy, kl, outside, worst}
}

// tensors returns the fields in their order; several steps can use them.
func (b minibatch) tensors(s Shape) []*tensors.Tensor {
	n := len(b.lambda)
	vec := func(v []float32) *tensors.Tensor { return tensors.FromFlatDataAndDimensions(v, n) }
	return append(Inputs(s, b.query, b.memory, b.lambda), tensors.FromFlatDataAndDimensions(b.choices, len(s.Modules), n),
		vec(b.logProbs), vec(b.advantage), vec(b.returns), vec(b.values), vec(b.weights))
}

// tensorsOf returns the tensors of a minibatch's parts.
func tensorsOf(parts []minibatch, s Shape) [][]*tensors.Tensor {
	all := make([][]*tensors.Tensor, len(parts))
	for i, part := range parts {
		all[i] = part.tensors(s)
	}
	return all
}

// step takes one gradient step on the tensors of a minibatch's parts.
func (p *ppo) step(parts [][]*tensors.Tensor, rate float64) (update, error) {
	reports, norm, err := p.learner.Step(parts, rate)
	if err != nil {
		return update{}, fmt.Errorf("update the router: %w", err)
	}
	u := update{gradNorm: norm}
	for _, r := range reports {
		u.add(update{policyLoss: float64(r[0]), valueLoss: float64(r[1]), entropy: float64(r[2]), kl: float64(r[3]), clipFraction: float64(r[4])})
		u.ratioError = max(u.ratioError, float64(r[5]))
	}
	return u, nil
}
