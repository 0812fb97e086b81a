package router

import (
	"fmt"
	"math"

	"github.com/budgetmem/budgetmem/internal/settings"
	"github.com/budgetmem/budgetmem/router/portable"
)

// Config holds the settings of training by PPO. Start from a preset: the zero value is refused.
type Config struct {
	// Seed drives the weights' start, the order of questions, λ and the choices. Equal seeds give equal results on one
	// backend and build, however many questions are played at once.
	Seed int64 `json:"seed"`
	// Epochs is how often every question is played; 0 lets it be decided by how many there are, see For.
	Epochs int `json:"epochs"`
	// Batch is how many questions are played between updates, Minibatch how many a gradient is taken of, and Passes how often
	// an update goes through the batch.
	Batch     int `json:"batch"`
	Minibatch int `json:"minibatch"`
	Passes    int `json:"passes"`
	// LearningRate is Adam's; Anneal lets it fall to 0 in a straight line over the training. AdamEpsilon is Adam's ε.
	LearningRate float64 `json:"learning_rate"`
	Anneal       bool    `json:"anneal"`
	AdamEpsilon  float64 `json:"adam_epsilon"`
	// Clip bounds how far the joint ratio of chances may leave 1, and ValueClip how far a value may move in an update before
	// its gradient ends; 0 does not clip values.
	Clip      float64 `json:"clip"`
	ValueClip float64 `json:"value_clip"`
	// ValueCoef and EntropyCoef weigh the value loss and the entropy against the policy loss.
	ValueCoef   float64 `json:"value_coef"`
	EntropyCoef float64 `json:"entropy_coef"`
	// MeanEntropy averages the entropy over the modules instead of taking the joint one, their sum.
	MeanEntropy bool `json:"mean_entropy"`
	// MaxGradNorm bounds the norm of the gradient of all weights together.
	MaxGradNorm float64 `json:"max_grad_norm"`
	// ActorGain and CriticGain scale the last layers at the start.
	ActorGain  float64 `json:"actor_gain"`
	CriticGain float64 `json:"critic_gain"`
	// Align scales scores to the spread of the efficiency; see Reward.
	Align bool `json:"align"`
	// LambdaMin and LambdaMax are the range of λ. Each episode draws its own: either end with a chance of 1/8, else evenly
	// between them, so that the ends, of which λ = 0 matters most, are learned as well as the middle. Equal numbers train for
	// one fixed λ.
	LambdaMin float64 `json:"lambda_min"`
	LambdaMax float64 `json:"lambda_max"`
	// InFlight is how many questions are played at one time; it changes no result.
	InFlight int `json:"in_flight"`
}

// Default is the preset for one router that serves every λ from 0 to 1.
//
// Three settings differ from the published ones, which do not learn from a hundred questions. On the made-up task of the
// tests, where the best tiers depend on the question, 120 questions and the published settings earn at λ = 0 no more than one
// assignment for all does: there are too few steps (28 updates at 3e-4), and more of them alone (120 updates) make the policy
// sure of the cheap tiers, which pay at most λs, before it can tell questions apart; where it is sure, there is no gradient
// left. Only 120 updates, a larger step and twenty times the entropy together earn over 95 % of what is possible at every λ;
// each pair of them stays below 92 % at λ = 0. What counts is the number of updates, so epochs are chosen by it.
func Default() Config {
	return Config{
		Seed: 42, Batch: 32, Minibatch: 32, Passes: 4, LearningRate: 2e-3, Anneal: true, AdamEpsilon: 1e-5,
		Clip: 0.2, ValueClip: 0.2, ValueCoef: 0.5, EntropyCoef: 0.2, MaxGradNorm: 0.5, ActorGain: 0.01, CriticGain: 1,
		Align: true, LambdaMin: 0, LambdaMax: 1, InFlight: 32,
	}
}

// enoughUpdates is how many batches a training plays whose epochs are not set.
const enoughUpdates = 120

// For returns the settings for so many questions: as many epochs as make 120 updates, if none are set. Replayed questions cost
// nothing to play again; where they are asked live, many epochs of few questions ask for many combinations of tiers.
func (c Config) For(questions int) Config {
	if c.Epochs == 0 {
		batches := max((questions+c.Batch-1)/c.Batch, 1)
		c.Epochs = (enoughUpdates + batches - 1) / batches
	}
	return c
}

// Paper is the preset of BudgetMem's published code: one fixed λ, 7 epochs, entropy averaged over the modules, no annealing,
// and the gains of actor and critic as they are there.
func Paper() Config {
	c := Default()
	c.Epochs, c.LearningRate, c.Anneal, c.LambdaMax = 7, 3e-4, false, 0
	c.EntropyCoef, c.MeanEntropy, c.ActorGain, c.CriticGain = 0.01, true, math.Sqrt2, 0.01
	return c
}

// Set changes a setting, given as key=value with the key of its JSON; an unknown key or a value of another type is an error
// and changes nothing.
func (c *Config) Set(assignment string) error { return settings.Set(c, assignment) }

// Merge takes over the settings of a JSON object; an unknown key or a value of another type is an error and changes nothing.
func (c *Config) Merge(object []byte) error { return settings.Merge(c, object) }

// Check returns an error that names the first setting that is out of range.
func (c Config) Check() error {
	for _, s := range []struct {
		name  string
		ok    bool
		value any
	}{
		{"epochs", c.Epochs >= 0, c.Epochs},
		{"batch", c.Batch >= 2, c.Batch}, // one advantage alone cannot be normalised
		{"minibatch", c.Minibatch >= 2 && c.Minibatch <= c.Batch, c.Minibatch},
		{"passes", c.Passes >= 1, c.Passes},
		{"learning_rate", c.LearningRate > 0, c.LearningRate},
		{"adam_epsilon", c.AdamEpsilon > 0, c.AdamEpsilon},
		{"clip", c.Clip > 0, c.Clip},
		{"value_clip", c.ValueClip >= 0, c.ValueClip},
		{"value_coef", c.ValueCoef >= 0, c.ValueCoef},
		{"entropy_coef", c.EntropyCoef >= 0, c.EntropyCoef},
		{"max_grad_norm", c.MaxGradNorm > 0, c.MaxGradNorm},
		{"actor_gain", c.ActorGain > 0, c.ActorGain},
		{"critic_gain", c.CriticGain > 0, c.CriticGain},
		{"lambda_min", c.LambdaMin >= 0, c.LambdaMin},
		{"lambda_max", c.LambdaMax >= c.LambdaMin, c.LambdaMax},
		{"in_flight", c.InFlight >= 1, c.InFlight},
	} {
		if !s.ok {
			return fmt.Errorf("router settings: %s is %v, which is out of range", s.name, s.value)
		}
	}
	return nil
}

// Lambdas is the range that a router trained with these settings serves.
func (c Config) Lambdas() portable.Range { return portable.Range{Min: c.LambdaMin, Max: c.LambdaMax} }
