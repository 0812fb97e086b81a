package router

import (
	"fmt"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
	"github.com/gomlx/gomlx/ml/train/optimizer"

	"github.com/gomlx/compute/dtypes"
)

// ppo updates a network by proximal policy optimisation (Schulman et al. 2017) for episodes of one step with several
// decisions: the ratio is that of the joint chances, and as the return of an episode is known, the advantage is return
// minus value.
type ppo struct {
	cfg  Config
	net  *Network
	exec *model.Exec
	rate *model.Variable // Adam's learning rate
}

// minibatch is what a gradient is taken of: B rows, of which those with weight 0 are there to fill up.
type minibatch struct {
	query     []float32 // [B, dim]
	memory    []float32 // [states, B, dim]
	lambda    []float32 // [B]
	choices   []int32   // [modules, B]
	logProbs  []float32 // [B] joint, when the choices were made
	advantage []float32 // [B] normalised
	returns   []float32 // [B]
	values    []float32 // [B] before the update
	weights   []float32 // [B] with sum 1
}

// update is what one gradient step reports.
type update struct {
	policyLoss, valueLoss, entropy, kl, clipFraction, gradNorm float64
	ratioError                                                 float64 // largest distance of a ratio from 1
}

// maxLogRatio bounds the logarithm of a ratio, so that its exponential stays finite.
const maxLogRatio = 10

func newPPO(net *Network, cfg Config) (*ppo, error) {
	p := &ppo{cfg: cfg, net: net, rate: optimizer.LearningRateVar(net.store.RootScope(), dtypes.Float32, cfg.LearningRate)}
	adam := optimizer.Adam().LearningRate(cfg.LearningRate).Betas(0.9, 0.999).Epsilon(cfg.AdamEpsilon).Done()
	var err error
	p.exec, err = model.NewExec(net.be, net.store, func(sc *model.Scope, in []*Node) *Node {
		loss, report := p.loss(in)
		grads := sc.BuildTrainableVariablesGradientsGraph(loss)
		norm := clipNorm(grads, cfg.MaxGradNorm)
		adam.(gradientOptimizer).UpdateGraphWithGradients(sc, grads, loss.DType())
		return Stack(append(report, norm), 0)
	})
	return p, err
}

// gradientOptimizer is an optimizer that takes gradients which were changed on the way.
type gradientOptimizer interface {
	UpdateGraphWithGradients(*model.Scope, []*Node, dtypes.DType)
}

// clipNorm scales the gradients so that their joint norm is at most limit, and returns the norm that they had.
func clipNorm(grads []*Node, limit float64) *Node {
	squares := make([]*Node, len(grads))
	for i, g := range grads {
		flat := Reshape(g, 1, g.Shape().Size())
		squares[i] = Reshape(DotGeneral(flat, []int{1}, nil, flat, []int{1}, nil)) // quicker than a sum of squares in pure Go
	}
	norm := Sqrt(ReduceAllSum(Stack(squares, 0)))
	scale := MinScalar(Div(Const(norm.Graph(), float32(limit)), AddScalar(norm, 1e-6)), 1)
	for i := range grads {
		grads[i] = Mul(grads[i], scale)
	}
	return norm
}

// loss builds the loss of a minibatch, in the order of its fields, and what an update reports except for the gradient.
func (p *ppo) loss(in []*Node) (loss *Node, report []*Node) {
	query, memory, lambda, choices, old, advantage, returns, values, weights := in[0], in[1], in[2], in[3], in[4], in[5], in[6], in[7], in[8]
	average := func(x *Node) *Node { return ReduceAllSum(Mul(x, weights)) }
	logits, value := p.net.forward(query, memory, lambda)
	all := LogSoftmax(logits, -1)                                                        // [modules, B, tiers]
	chosen := Mul(all, OneHot(choices, p.net.shape.tiers(), all.DType()))                // [modules, B, tiers]
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

	entropies := Neg(ReduceSum(Mul(Exp(all), all), 0, 2)) // [B] joint
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

// step takes one gradient step at a learning rate.
func (p *ppo) step(b minibatch, rate float64) (update, error) {
	if err := p.rate.SetValue(tensors.FromScalar(float32(rate))); err != nil {
		return update{}, fmt.Errorf("update the router: %w", err)
	}
	n, s := len(b.lambda), p.net.shape
	vec := func(v []float32) *tensors.Tensor { return tensors.FromFlatDataAndDimensions(v, n) }
	flat, err := call(p.exec,
		tensors.FromFlatDataAndDimensions(b.query, n, s.Dim),
		tensors.FromFlatDataAndDimensions(b.memory, s.states(), n, s.Dim),
		tensors.FromFlatDataAndDimensions(b.lambda, n, 1),
		tensors.FromFlatDataAndDimensions(b.choices, len(s.Modules), n),
		vec(b.logProbs), vec(b.advantage), vec(b.returns), vec(b.values), vec(b.weights))
	if err != nil {
		return update{}, fmt.Errorf("update the router: %w", err)
	}
	r := flat[0]
	u := update{policyLoss: float64(r[0]), valueLoss: float64(r[1]), entropy: float64(r[2]), kl: float64(r[3]),
		clipFraction: float64(r[4]), ratioError: float64(r[5]), gradNorm: float64(r[6])}
	if !(u.gradNorm < 1e30) { // also if it is no number
		return update{}, fmt.Errorf("update the router: the gradient's norm is %v; lower the learning rate", u.gradNorm)
	}
	return u, nil
}

func (p *ppo) close() { p.exec.Finalize() }
