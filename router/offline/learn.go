package offline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/router"
)

// Options says what Learn trains and how.
type Options struct {
	// Shape is what the router decides on; it must be that of the episodes.
	Shape  router.Shape
	Config Config
	// AfterEpoch, if not nil, is called after each epoch, counted from 0, with the network as it is then and the mean
	// expected return on the episodes. Its error ends the training.
	AfterEpoch func(epoch int, n *router.Network, value float64) error
}

// startEntropy is the weight of the entropy at the start, with returns measured in units of their standard deviation; it
// falls geometrically to entropy_coef. An exact gradient climbs so fast that without this the policy becomes certain of one
// assignment for all questions, where the gradient vanishes, before it has learned to tell questions apart.
const startEntropy = 0.5

// Learn trains a network from episodes. A Gaussian process predicts the outcome of every combination of tiers in the place
// of each episode, the measured outcomes correct the predictions (doubly robust, Dudík et al. 2011), and the network is
// trained to choose what is worth most at λ. As all outcomes are known, the expected return of the network's policy and its
// gradient are exact; only λ is sampled, once for each episode and epoch.
//
//	maximise  Σ over episodes, combinations a:  Πₘ π(aₘ | stateₘ, λ) · (α·score(a) + λ·e(a))
//
// The embeddings that modules see are taken as they were measured. That an early choice changes what later modules see
// enters through the episodes with that choice.
//
// It returns the network, which the caller closes, and the reward, which has observed the episodes' outcomes. Episodes that
// do not fit the shape, settings out of range, a failing AfterEpoch and an ended context are errors; the last two can be
// matched with errors.Is.
func Learn(ctx context.Context, be compute.Backend, episodes []router.Episode, opts Options) (*router.Network, *router.Reward, error) {
	fail := func(err error) (*router.Network, *router.Reward, error) {
		return nil, nil, fmt.Errorf("learn a router from episodes: %w", err)
	}
	shape, err := router.CheckEpisodes(opts.Shape, episodes)
	if err != nil {
		return fail(err)
	}
	cfg := opts.Config
	if err := cfg.check(); err != nil {
		return fail(err)
	}
	t, err := newOutcomes(shape, episodes, observed(episodes, cfg.Align), cfg)
	if err != nil {
		return fail(err)
	}
	net, err := router.NewNetwork(be, shape, router.Init{Seed: cfg.Seed, ActorGain: cfg.ActorGain, CriticGain: cfg.CriticGain})
	if err != nil {
		return fail(err)
	}
	if err := t.train(ctx, net, opts); err != nil {
		net.Close()
		return fail(err)
	}
	return net, t.reward, nil
}

// observed returns a reward that has observed the episodes' outcomes.
func observed(episodes []router.Episode, align bool) *router.Reward {
	r := router.NewReward(align)
	outcomes := make([]router.Outcome, len(episodes))
	for i, e := range episodes {
		outcomes[i] = e.Outcome()
	}
	r.Observe(outcomes...)
	return r
}

// train fits the network to the outcomes.
func (t *outcomes) train(ctx context.Context, net *router.Network, opts Options) error {
	cfg, members := opts.Config, t.members()
	learner, err := router.NewLearner(net, cfg.Config, func(logits, _ *Node, in []*Node) (loss *Node, report []*Node) {
		value, entropy := t.objective(logits, members, in[0], in[1])
		return Neg(Add(value, Mul(entropy, in[2]))), []*Node{value}
	})
	if err != nil {
		return err
	}
	defer learner.Close()
	n := len(t.episodes)
	batches := (n + cfg.Batch - 1) / cfg.Batch
	for epoch := range cfg.Epochs {
		rng := rand.New(rand.NewPCG(uint64(cfg.Seed), uint64(epoch)))
		order, sum := rng.Perm(n), 0.0
		for b := range batches {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("epoch %d: %w", epoch, err)
			}
			rate, done := cfg.LearningRate, float64(epoch*batches+b)/float64(cfg.Epochs*batches)
			if cfg.Anneal {
				rate *= 1 - done
			}
			entropy := startEntropy * math.Pow(max(cfg.EntropyCoef, 1e-3)/startEntropy, done)
			rows := order[b*cfg.Batch : min((b+1)*cfg.Batch, n)]
			value, err := t.step(learner, rows, rate, entropy, cfg, rng)
			if err != nil {
				return fmt.Errorf("epoch %d: %w", epoch, err)
			}
			sum += value * t.unit * float64(len(rows)) / float64(n)
		}
		if opts.AfterEpoch != nil {
			if err := opts.AfterEpoch(epoch, net, sum); err != nil {
				return err
			}
		}
	}
	return nil
}

// step takes a gradient step on the given rows and returns their mean expected return in units of t.unit.
func (t *outcomes) step(learner *router.Learner, rows []int, rate, entropy float64, cfg Config, rng *rand.Rand) (value float64, err error) {
	in := t.inputs(rows, entropy, cfg, rng)
	defer func() { err = errors.Join(err, in.Free()) }()
	report, _, err := learner.Step(in, rate)
	if err != nil {
		return 0, err
	}
	return float64(report[0]), nil
}

// members is a matrix [modules·tiers, A] that has a 1 where a combination has a module's tier.
func (t *outcomes) members() *tensors.Tensor {
	width, all := t.shape.MaxTiers(), len(t.combinations)
	flat := make([]float32, len(t.shape.Modules)*width*all)
	for c, choices := range t.combinations {
		for m, tier := range choices {
			flat[(m*width+tier)*all+c] = 1
		}
	}
	return tensors.FromFlatDataAndDimensions(flat, len(t.shape.Modules)*width, all)
}

// objective returns the expected return of the policy with the given logits [modules, B, tiers], and its joint entropy, from
// returns [B, A] and weights [B].
func (t *outcomes) objective(logits *Node, members *tensors.Tensor, returns, weights *Node) (value, entropy *Node) {
	logProbs := LogSoftmax(logits, -1) // [modules, B, tiers]
	flat := Reshape(TransposeAllDims(logProbs, 1, 0, 2), weights.Shape().Size(), len(t.shape.Modules)*t.shape.MaxTiers())
	joint := Exp(MatMul(flat, Const(logProbs.Graph(), members))) // [B, A]
	value = ReduceAllSum(Mul(ReduceSum(Mul(joint, returns), -1), weights))
	entropy = ReduceAllSum(Mul(Neg(ReduceSum(Mul(Exp(logProbs), logProbs), 0, 2)), weights))
	return value, entropy
}

// inputs lays out rows, each with a λ of its own, and repeats the first of them with weight 0 up to a batch.
func (t *outcomes) inputs(rows []int, entropy float64, cfg Config, rng *rand.Rand) router.Inputs {
	weighted := len(rows)
	rows = slices.Concat(rows, slices.Repeat(rows[:1], cfg.Batch-weighted))
	n, all := len(rows), len(t.combinations)
	questions := router.NewQuestions(t.shape, n)
	returns, weights := make([]float32, n*all), make([]float32, n)
	for i, row := range rows {
		if i < weighted {
			weights[i] = 1 / float32(weighted)
		}
		l := cfg.DrawLambda(rng)
		e := t.episodes[row]
		questions.Set(t.shape, i, e.Query, e.Memory, l, e.Signals)
		for c := range all {
			returns[i*all+c] = (t.score[row][c]+float32(l)*t.efficiency[row][c])/float32(t.unit) - t.handicap[c]
		}
	}
	return router.NewInputs(t.shape, questions, tensors.FromFlatDataAndDimensions(returns, n, all),
		tensors.FromFlatDataAndDimensions(weights, n), tensors.FromScalar(float32(entropy)))
}
