package router

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/router/portable"
)

// Trainer trains a router by PPO: it plays a batch of questions, turns outcomes into returns, updates the network, and
// goes on, epoch after epoch. Everything that the rest of a training depends on goes into a checkpoint (Save, Restore), so
// that a training that was stopped between two steps ends as if it had not been.
type Trainer struct {
	cfg    Config
	env    Environment
	net    *Network
	ppo    *ppo
	reward *Reward
	at     progress
}

// progress says how far a training is.
type progress struct {
	Epoch    int `json:"epoch"`    // finished
	Batch    int `json:"batch"`    // of the epoch under way, finished
	Updates  int `json:"updates"`  // gradient steps
	Episodes int `json:"episodes"` // played
	Failed   int `json:"failed"`   // of them, dropped
}

// Metrics reports one step of training. Names are those of JSON lines.
type Metrics struct {
	Epoch    int `json:"epoch"`    // counted from 0
	Batch    int `json:"batch"`    // of the epoch, counted from 0
	Updates  int `json:"updates"`  // gradient steps since the training's start
	Episodes int `json:"episodes"` // played since the training's start
	Failed   int `json:"failed"`   // of them, dropped
	// Means over the batch.
	Score   float64 `json:"score"`
	Dollars float64 `json:"dollars"`
	Lambda  float64 `json:"lambda"`
	Return  float64 `json:"return"`
	// Scale is the reward's α.
	Scale float64 `json:"scale"`
	// Shares[m][t] is the share of the batch that had tier t in module m.
	Shares [][]float64 `json:"shares"`
	// Means over the update's gradient steps: the losses, the entropy in nats (joint, or the modules' mean with MeanEntropy),
	// the KL divergence from the policy that played, estimated as mean(ratio − 1 − ln ratio), the share of ratios outside
	// the clip, and the gradient's norm before it was bounded.
	PolicyLoss   float64 `json:"policy_loss"`
	ValueLoss    float64 `json:"value_loss"`
	Entropy      float64 `json:"entropy"`
	ApproxKL     float64 `json:"approx_kl"`
	ClipFraction float64 `json:"clip_fraction"`
	GradNorm     float64 `json:"grad_norm"`
	// ExplainedVariance is 1 − var(return − value)/var(return) before the update; 0 if all returns are the same.
	ExplainedVariance float64 `json:"explained_variance"`
	LearningRate      float64 `json:"learning_rate"`
	// FirstRatioError is the largest distance from 1 of a ratio in the update's first step, where all should be 1.
	FirstRatioError float64 `json:"first_ratio_error"`
}

// NewTrainer starts a training.
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

// Close gives back the memory of the network.
func (t *Trainer) Close() {
	t.ppo.learner.Close()
	t.net.Close()
}

// Reward returns the reward with its windows; Observe it before the first step to start from known outcomes.
func (t *Trainer) Reward() *Reward { return t.reward }

// At says how many epochs are finished, and how many batches of the one under way.
func (t *Trainer) At() (epochs, batches int) { return t.at.Epoch, t.at.Batch }

// Done says whether the training is at its end.
func (t *Trainer) Done() bool { return t.at.Epoch >= t.cfg.Epochs }

// batches is how many batches an epoch has; the last may be smaller.
func (t *Trainer) batches() int { return (t.env.Len() + t.cfg.Batch - 1) / t.cfg.Batch }

// Portable returns the router as it is now.
func (t *Trainer) Portable() (*portable.Router, error) { return t.net.Portable(t.cfg.Lambdas()) }

// Step plays one batch and updates the network. After an error the training stands where it stood, except that an error of
// the update itself leaves it unusable: go on from a checkpoint.
func (t *Trainer) Step(ctx context.Context) (Metrics, error) {
	if t.Done() {
		return Metrics{}, errors.New("train a router: all epochs are done")
	}
	episodes, failed, err := t.collect(ctx)
	if err != nil {
		return Metrics{}, fmt.Errorf("train a router, epoch %d, batch %d: %w", t.at.Epoch, t.at.Batch, err)
	}
	m := Metrics{Epoch: t.at.Epoch, Batch: t.at.Batch, LearningRate: t.rate()}
	if err := t.learn(episodes, &m); err != nil {
		return m, fmt.Errorf("train a router, epoch %d, batch %d: %w", t.at.Epoch, t.at.Batch, err)
	}
	t.at.Episodes += len(episodes) + failed
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

// collect plays the next batch's questions.
func (t *Trainer) collect(ctx context.Context) (episodes []rollout, failed int, err error) {
	order := rand.New(rand.NewPCG(seedOf(t.cfg.Seed, int64(t.at.Epoch)), 1)).Perm(t.env.Len())
	questions := order[t.at.Batch*t.cfg.Batch : min((t.at.Batch+1)*t.cfg.Batch, len(order))]
	router, err := t.Portable()
	if err != nil {
		return nil, 0, err
	}
	explorers := make([]*explorer, len(questions))
	for n, q := range questions {
		explorers[n] = newExplorer(t.net.shape, t.cfg, router, seedOf(t.cfg.Seed, int64(t.at.Epoch), int64(q)))
	}
	results, err := play(ctx, t.env, questions, t.cfg.InFlight, func(n int) Policy { return explorers[n] })
	if err != nil {
		return nil, 0, err
	}
	for n, e := range explorers {
		if results.Failures[n] != nil {
			continue
		}
		done, err := e.finish(results.Outcomes[n])
		if err != nil {
			return nil, 0, fmt.Errorf("question %d: %w", questions[n], err)
		}
		episodes = append(episodes, done)
	}
	if len(episodes) == 0 {
		return nil, 0, fmt.Errorf("all %d episodes failed, the first: %w", len(questions), results.Failures[0])
	}
	return episodes, results.Failed(), t.value(episodes)
}

// value fills in what the critic expects of episodes, before they change it.
func (t *Trainer) value(episodes []rollout) error {
	all := batch{t.net.shape, episodes, make([]float64, len(episodes))}.rows(upTo(t.cfg.Batch, len(episodes)))
	values, err := t.net.values(all.query, all.memory[:len(all.query)], all.lambda)
	if err != nil {
		return err
	}
	for i := range episodes {
		episodes[i].value = values[i]
	}
	return nil
}

// learn turns outcomes into returns and updates the network.
func (t *Trainer) learn(episodes []rollout, m *Metrics) error {
	b := t.batch(episodes)
	b.describe(m)
	m.Scale = t.reward.Scale()
	if len(episodes) < 2 {
		return nil // one advantage alone cannot be normalised
	}
	return t.update(b, m)
}

// batch turns outcomes into returns.
func (t *Trainer) batch(episodes []rollout) batch {
	outcomes := make([]Outcome, len(episodes))
	for i, e := range episodes {
		outcomes[i] = e.outcome
	}
	t.reward.Observe(outcomes...)
	returns := make([]float64, len(episodes))
	for i, e := range episodes {
		returns[i] = t.reward.Return(e.outcome, e.lambda)
	}
	return batch{t.net.shape, episodes, returns}
}

// update goes through a batch of at least two episodes several times.
func (t *Trainer) update(b batch, m *Metrics) (err error) {
	var places []int // of the minibatch's episodes
	var minibatch [][]*tensors.Tensor
	defer func() { err = errors.Join(err, free(slices.Concat(minibatch...))) }()
	seed := seedOf(t.cfg.Seed, int64(t.at.Epoch), int64(t.at.Batch))
	var sum update
	steps := 0
	for pass := range t.cfg.Passes {
		order := rand.New(rand.NewPCG(seed, 2+uint64(pass))).Perm(len(b.episodes))
		for len(order) >= 2 { // what is left over, at most one, waits for another pass
			next := order[:min(t.cfg.Minibatch, len(order))]
			order = order[len(next):]
			// In order, so that the minibatch that is the whole batch moves to the network once for all passes.
			slices.Sort(next)
			if !slices.Equal(places, next) {
				if err := free(slices.Concat(minibatch...)); err != nil {
					return fmt.Errorf("update the router: %w", err)
				}
				places, minibatch = next, tensorsOf(b.minibatch(next, t.cfg.Minibatch, t.ppo.learner.Parts), b.shape)
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
