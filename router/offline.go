package router

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
)

// OfflineConfig holds the settings of learning from traces. Start from DefaultOffline: the zero value is refused.
type OfflineConfig struct {
	Config // of it: seed, epochs, batch, learning_rate, anneal, adam_epsilon, entropy_coef, max_grad_norm, gains, align, lambda_*
	// MaxWeight bounds how much a traced combination's outcome corrects the prediction for it. The doubly robust correction
	// weighs it by 1/propensity, which has no bias but much noise where few combinations are traced. 1 puts the traced
	// outcome in the place of the prediction; with every combination traced, the predictions then do not count at all (full
	// information). 0 learns from the predictions alone.
	MaxWeight float64 `json:"max_weight"`
}

// DefaultOffline is the preset.
func DefaultOffline() OfflineConfig {
	c := Default()
	c.Epochs, c.Batch, c.Minibatch, c.LearningRate, c.EntropyCoef = 40, 64, 64, 1e-3, 0.01
	return OfflineConfig{Config: c, MaxWeight: 1}
}

// Set changes a setting, as Config.Set does, max_weight among them.
func (c *OfflineConfig) Set(assignment string) error { return set(c, assignment) }

// Merge takes over the settings of a JSON object, as Config.Merge does, max_weight among them.
func (c *OfflineConfig) Merge(object []byte) error { return merge(c, object) }

// startEntropy weighs the entropy at the start, when the returns are measured by their deviation; it falls geometrically to
// entropy_coef. An exact gradient climbs so fast that without this the policy is sure of one assignment for all, where the
// gradient vanishes, before it has learned to tell questions apart.
const startEntropy = 0.5

// LearnOffline trains the network on traces, without playing: an outcome model (a Gaussian process, see outcome.go) says what
// every combination of tiers would have scored and cost for each traced episode, the traced outcomes correct it (doubly
// robust, Dudík et al. 2011), and the network is trained to choose what is worth most at λ. As all outcomes are known, the
// expected return of the network's policy and its gradient are exact: nothing is sampled but λ, once an episode and epoch.
//
//	maximise  Σ over episodes, combinations a:  Πₘ π(aₘ | stateₘ, λ) · (α·score(a) + λ·e(a))
//
// States are taken as they were traced: that an early choice changes what later modules see enters through the episodes of
// that choice. after, if not nil, is called after each epoch with the network as it is then and the mean expected return,
// and its error ends the training. The caller closes the network.
func LearnOffline(ctx context.Context, be compute.Backend, shape Shape, logged []Logged, cfg OfflineConfig, describe [][]float32,
	after func(epoch int, n *Network, value float64) error) (*Network, *Reward, error) {
	fail := func(err error) (*Network, *Reward, error) {
		return nil, nil, fmt.Errorf("learn a router from traces: %w", err)
	}
	shape, err := shapeOf(shape, logged)
	if err != nil {
		return fail(err)
	}
	if err := cfg.check(); err != nil {
		return fail(err)
	}
	if cfg.Epochs < 1 {
		return fail(fmt.Errorf("epochs is %d, must be at least 1", cfg.Epochs))
	}
	if !(cfg.MaxWeight >= 0) {
		return fail(fmt.Errorf("max_weight is %v, must not be negative", cfg.MaxWeight))
	}
	t, err := newTable(shape, logged, rewardOf(logged, cfg.Align), cfg)
	if err != nil {
		return fail(err)
	}
	net, err := NewNetwork(be, shape, Init{Seed: cfg.Seed, ActorGain: cfg.ActorGain, CriticGain: cfg.CriticGain, Describe: describe})
	if err != nil {
		return fail(err)
	}
	if err := t.train(ctx, net, cfg, after); err != nil {
		net.Close()
		return fail(err)
	}
	return net, t.reward, nil
}

// train fits the network to the table.
func (t *table) train(ctx context.Context, net *Network, cfg OfflineConfig, after func(int, *Network, float64) error) error {
	members := t.members()
	learner, err := newLearner(net, cfg.Config, func(logits, _ *Node, in []*Node) (loss *Node, report []*Node) {
		value, entropy := t.objective(logits, members, in[0], in[1])
		return Neg(Add(value, Mul(entropy, in[2]))), []*Node{value}
	})
	if err != nil {
		return err
	}
	defer learner.close()
	n := len(t.logged)
	batches := (n + cfg.Batch - 1) / cfg.Batch
	for epoch := range cfg.Epochs {
		rng := rand.New(rand.NewPCG(seedOf(cfg.Seed, int64(epoch)), 4))
		order, sum := rng.Perm(n), 0.0
		for b := range batches {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("epoch %d: %w", epoch, err)
			}
			r, done := cfg.LearningRate, float64(epoch*batches+b)/float64(cfg.Epochs*batches)
			if cfg.Anneal {
				r *= 1 - done
			}
			entropy := startEntropy * math.Pow(max(cfg.EntropyCoef, 1e-3)/startEntropy, done)
			rows := order[b*cfg.Batch : min((b+1)*cfg.Batch, n)]
			parts := t.inputs(rows, cfg, rng, learner.parts)
			for i := range parts {
				parts[i] = append(parts[i], tensors.FromScalar(float32(entropy)))
			}
			reports, _, err := learner.step(parts, r)
			if err = errors.Join(err, free(slices.Concat(parts...))); err != nil {
				return fmt.Errorf("epoch %d: %w", epoch, err)
			}
			for _, report := range reports {
				sum += float64(report[0]) * t.unit * float64(len(rows)) / float64(n)
			}
		}
		if after != nil {
			if err := after(epoch, net, sum); err != nil {
				return err
			}
		}
	}
	return nil
}

// members is a matrix [modules·tiers, A] that has a 1 where a combination has a module's tier.
func (t *table) members() *tensors.Tensor {
	width, all := t.shape.tiers(), len(t.combinations)
	flat := make([]float32, len(t.shape.Modules)*width*all)
	for c, choices := range t.combinations {
		for m, tier := range choices {
			flat[(m*width+tier)*all+c] = 1
		}
	}
	return tensors.FromFlatDataAndDimensions(flat, len(t.shape.Modules)*width, all)
}

// objective returns the expected return of the policy that logits [modules, B, tiers] stand for, and its joint entropy, by
// returns [B, A] and weights [B].
func (t *table) objective(logits *Node, members *tensors.Tensor, returns, weights *Node) (value, entropy *Node) {
	all, chances := logSoftmax(logits) // [modules, B, tiers]
	flat := Reshape(TransposeAllDims(all, 1, 0, 2), weights.Shape().Size(), len(t.shape.Modules)*t.shape.tiers())
	joint := Exp(MatMul(flat, Const(all.Graph(), members))) // [B, A]
	value = ReduceAllSum(Mul(ReduceSum(Mul(joint, returns), -1), weights))
	entropy = ReduceAllSum(Mul(Neg(ReduceSum(Mul(chances, all), 0, 2)), weights))
	return value, entropy
}

// inputs lays out the rows, filled up to a batch with the first of them at weight 0, each with a λ of its own, in so many equal
// parts.
func (t *table) inputs(rows []int, cfg OfflineConfig, rng *rand.Rand, parts int) [][]*tensors.Tensor {
	all := make([][]*tensors.Tensor, parts)
	for i, part := range inParts(rows, cfg.Batch, parts) {
		weighted := len(rows) - i*len(part) // the rest, if any, fills up
		all[i] = t.part(part, weighted, 1/float32(len(rows)), cfg, rng)
	}
	return all
}

// part lays out rows of which the first so many have a weight.
func (t *table) part(rows []int, weighted int, weight float32, cfg OfflineConfig, rng *rand.Rand) []*tensors.Tensor {
	n, dim, all := len(rows), t.shape.Dim, len(t.combinations)
	query, memory := make([]float32, n*dim), make([]float32, t.shape.states()*n*dim)
	lambda, returns, weights := make([]float32, n), make([]float32, n*all), make([]float32, n)
	for i, row := range rows {
		if i < weighted {
			weights[i] = weight
		}
		l := cfg.lambda(rng)
		copy(query[i*dim:], t.logged[row].Query)
		for s, m := range t.logged[row].Memory {
			copy(memory[(s*n+i)*dim:], m)
		}
		lambda[i] = float32(l)
		for c := range all {
			returns[i*all+c] = (t.score[row][c] + float32(l)*t.efficiency[row][c]) / float32(t.unit)
		}
	}
	return append(questions(t.shape, query, memory, lambda), tensors.FromFlatDataAndDimensions(returns, n, all),
		tensors.FromFlatDataAndDimensions(weights, n))
}
