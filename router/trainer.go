package router

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/gomlx/compute"

	"github.com/budgetmem/budgetmem/router/portable"
)

// Trainer trains a router by PPO: it plays a batch of questions, turns outcomes into returns, updates the network, and
// continues with the next batch, epoch after epoch. A checkpoint (Save, Restore) holds everything that the rest of the
// training depends on, so that a training that was stopped between two steps ends with the same bytes as one that was not.
type Trainer struct {
	cfg    Config
	env    Environment
	net    *Network
	ppo    *ppo
	reward *Reward
	at     progress
}

// progress is how far a training is.
type progress struct {
	Epoch    int `json:"epoch"`    // finished epochs
	Batch    int `json:"batch"`    // finished batches of the current epoch
	Updates  int `json:"updates"`  // gradient steps
	Episodes int `json:"episodes"` // played
	Failed   int `json:"failed"`   // dropped episodes among them
}

// Metrics reports one step of training.
type Metrics struct {
	Epoch    int `json:"epoch"`    // counted from 0
	Batch    int `json:"batch"`    // of the epoch, counted from 0
	Updates  int `json:"updates"`  // gradient steps since the start of the training
	Episodes int `json:"episodes"` // played since the start of the training
	Failed   int `json:"failed"`   // dropped episodes among them
	// Means over the batch: the score, the price of a question in dollars, λ and the return.
	Score   float64 `json:"score"`
	Dollars float64 `json:"dollars"`
	Lambda  float64 `json:"lambda"`
	Return  float64 `json:"return"`
	// Scale is the reward's α.
	Scale float64 `json:"scale"`
	// Shares[m][t] is the share of the batch that chose tier t in module m.
	Shares [][]float64 `json:"shares"`
	// Means over the gradient steps of the update: the losses, the entropy in nats (joint, or the mean over modules with
	// MeanEntropy), the KL divergence from the behaviour policy, estimated as mean(ratio − 1 − ln ratio), the share of
	// ratios outside the clip range, and the norm of the gradient before it was bounded.
	PolicyLoss   float64 `json:"policy_loss"`
	ValueLoss    float64 `json:"value_loss"`
	Entropy      float64 `json:"entropy"`
	ApproxKL     float64 `json:"approx_kl"`
	ClipFraction float64 `json:"clip_fraction"`
	GradNorm     float64 `json:"grad_norm"`
	// ExplainedVariance is 1 − var(return − value)/var(return) before the update; 0 if all returns are the same.
	ExplainedVariance float64 `json:"explained_variance"`
	LearningRate      float64 `json:"learning_rate"`
	// FirstRatioError is the largest distance of a ratio from 1 in the first step of the update, where all should be 1.
	FirstRatioError float64 `json:"first_ratio_error"`
}

// NewTrainer starts a training. Settings out of range, a shape whose parts do not fit together and fewer than 2 questions are
// errors. The caller closes the trainer.
func NewTrainer(be compute.Backend, env Environment, shape Shape, cfg Config) (*Trainer, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if env.Len() < 2 {
		return nil, fmt.Errorf("train a router on %d questions: at least 2 are needed", env.Len())
	}
	cfg = cfg.For(env.Len())
	net, err := NewNetwork(be, shape, Init{Seed: cfg.Seed, ActorGain: cfg.ActorGain, CriticGain: cfg.CriticGain})
	if err != nil {
		return nil, err
	}
	ppo, err := newPPO(net, cfg)
	if err != nil {
		net.Close()
		return nil, fmt.Errorf("train a router: %w", err)
	}
	return &Trainer{cfg: cfg, env: env, net: net, ppo: ppo, reward: NewReward(cfg.Align)}, nil
}

// Close frees the network and the compiled graphs.
func (t *Trainer) Close() {
	t.ppo.learner.Close()
	t.net.Close()
}

// Reward returns the reward with its windows. Call its Observe before the first step to start from known outcomes.
func (t *Trainer) Reward() *Reward { return t.reward }

// At returns how many epochs are finished, and how many batches of the current one.
func (t *Trainer) At() (epochs, batches int) { return t.at.Epoch, t.at.Batch }

// Done says whether all epochs are finished.
func (t *Trainer) Done() bool { return t.at.Epoch >= t.cfg.Epochs }

// batches is the number of batches in an epoch; the last may be smaller.
func (t *Trainer) batches() int { return (t.env.Len() + t.cfg.Batch - 1) / t.cfg.Batch }

// Portable returns the router as it is now. It fails if the backend does.
func (t *Trainer) Portable() (*portable.Router, error) { return t.net.Portable(t.cfg.Lambdas()) }

// Step plays one batch and updates the network. An error of the environment, or an ended context, which errors.Is matches,
// leaves the training where it was. After an error of the update the trainer is unusable; continue from a checkpoint. Step
// fails once Done is true.
func (t *Trainer) Step(ctx context.Context) (Metrics, error) {
	if t.Done() {
		return Metrics{}, errors.New("train a router: all epochs are done")
	}
	rollouts, failed, err := t.collect(ctx)
	if err != nil {
		return Metrics{}, fmt.Errorf("train a router, epoch %d, batch %d: %w", t.at.Epoch, t.at.Batch, err)
	}
	m := Metrics{Epoch: t.at.Epoch, Batch: t.at.Batch, LearningRate: t.rate()}
	if err := t.learn(rollouts, &m); err != nil {
		return m, fmt.Errorf("train a router, epoch %d, batch %d: %w", t.at.Epoch, t.at.Batch, err)
	}
	t.at.Episodes += len(rollouts) + failed
	t.at.Failed += failed
	if t.at.Batch++; t.at.Batch == t.batches() {
		t.at.Batch = 0
		t.at.Epoch++
	}
	m.Updates, m.Episodes, m.Failed = t.at.Updates, t.at.Episodes, t.at.Failed
	return m, nil
}

// rate is the learning rate of this batch.
func (t *Trainer) rate() float64 {
	if !t.cfg.Anneal {
		return t.cfg.LearningRate
	}
	done, all := t.at.Epoch*t.batches()+t.at.Batch, t.cfg.Epochs*t.batches()
	return t.cfg.LearningRate * (1 - float64(done)/float64(all))
}

// collect plays the questions of the next batch.
func (t *Trainer) collect(ctx context.Context) (rollouts []rollout, failed int, err error) {
	order := rand.New(rand.NewPCG(seedOf(t.cfg.Seed, int64(t.at.Epoch)), 1)).Perm(t.env.Len())
	questions := order[t.at.Batch*t.cfg.Batch : min((t.at.Batch+1)*t.cfg.Batch, len(order))]
	router, err := t.Portable()
	if err != nil {
		return nil, 0, err
	}
	samplers := make([]*sampler, len(questions))
	for n, q := range questions {
		samplers[n] = newSampler(t.net.shape, t.cfg, router, seedOf(t.cfg.Seed, int64(t.at.Epoch), int64(q)))
	}
	results, err := play(ctx, t.env, questions, t.cfg.InFlight, func(n int) Policy { return samplers[n] })
	if err != nil {
		return nil, 0, err
	}
	for n, e := range samplers {
		if results.Failures[n] != nil {
			continue
		}
		done, err := e.finish(results.Outcomes[n])
		if err != nil {
			return nil, 0, fmt.Errorf("question %d: %w", questions[n], err)
		}
		rollouts = append(rollouts, done)
	}
	if len(rollouts) == 0 {
		return nil, 0, fmt.Errorf("all %d episodes failed, the first: %w", len(questions), results.Failures[0])
	}
	return rollouts, results.Failed(), t.value(rollouts)
}

// value fills in the values of the critic before the update.
func (t *Trainer) value(rollouts []rollout) error {
	all := batch{t.net.shape, rollouts, make([]float64, len(rollouts))}.rows(paddedIndices(indices(len(rollouts)), t.cfg.Batch))
	q := all.questions
	values, err := t.net.values(q.Query, q.Memory[:len(q.Query)], q.Lambda)
	if err != nil {
		return err
	}
	for i := range rollouts {
		rollouts[i].value = values[i]
	}
	return nil
}

// learn turns outcomes into returns and updates the network.
func (t *Trainer) learn(rollouts []rollout, m *Metrics) error {
	b := t.batch(rollouts)
	b.describe(m)
	m.Scale = t.reward.Scale()
	if len(rollouts) < 2 {
		return nil // one advantage alone cannot be normalised
	}
	return t.update(b, m)
}

// batch turns outcomes into returns.
func (t *Trainer) batch(rollouts []rollout) batch {
	outcomes := make([]Outcome, len(rollouts))
	for i, e := range rollouts {
		outcomes[i] = e.outcome
	}
	t.reward.Observe(outcomes...)
	returns := make([]float64, len(rollouts))
	for i, e := range rollouts {
		returns[i] = t.reward.Return(e.outcome, e.lambda)
	}
	return batch{t.net.shape, rollouts, returns}
}

// update makes several passes over a batch of at least two rollouts.
func (t *Trainer) update(b batch, m *Metrics) (err error) {
	var current []int // indices of the minibatch's rollouts
	var minibatch Inputs
	defer func() { err = errors.Join(err, minibatch.Free()) }()
	seed := seedOf(t.cfg.Seed, int64(t.at.Epoch), int64(t.at.Batch))
	var sum update
	steps := 0
	for pass := range t.cfg.Passes {
		order := rand.New(rand.NewPCG(seed, 2+uint64(pass))).Perm(len(b.rollouts))
		for len(order) >= 2 { // a single left-over episode waits for another pass
			next := order[:min(t.cfg.Minibatch, len(order))]
			order = order[len(next):]
			// Sorted, so that a minibatch that is the whole batch is moved to the backend once for all passes.
			slices.Sort(next)
			if !slices.Equal(current, next) {
				if err := minibatch.Free(); err != nil {
					return fmt.Errorf("update the router: %w", err)
				}
				current, minibatch = next, b.minibatch(next, t.cfg.Minibatch).inputs(b.shape)
			}
			u, err := t.ppo.step(minibatch, m.LearningRate)
			if err != nil {
				return err
			}
			if steps == 0 {
				m.FirstRatioError = u.ratioError
			}
			sum.add(u)
			steps++
		}
	}
	t.at.Updates += steps
	n := float64(steps)
	m.PolicyLoss, m.ValueLoss, m.Entropy, m.GradNorm = sum.policyLoss/n, sum.valueLoss/n, sum.entropy/n, sum.gradNorm/n
	m.ApproxKL, m.ClipFraction = sum.kl/n, sum.clipFraction/n
	return nil
}

func (u *update) add(o update) {
	u.policyLoss += o.policyLoss
	u.valueLoss += o.valueLoss
	u.entropy += o.entropy
	u.kl += o.kl
	u.clipFraction += o.clipFraction
	u.gradNorm += o.gradNorm
}
