package router

import (
	"fmt"
	"math"

	"github.com/budgetmem/budgetmem/internal/settings"
	"github.com/budgetmem/budgetmem/router/portable"
)

// Config holds the settings of training by PPO. Start from Default or Paper: the zero value is refused.
type Config struct {
	// Seed drives the initial weights, the order of questions, λ and the choices. Equal seeds give equal results on one
	// backend and build, however many questions are played at once.
	Seed int64 `json:"seed"`
	// Epochs is how often every question is played; 0 derives it from the number of questions, see For.
	Epochs int `json:"epochs"`
	// Batch is how many questions are played between updates, Minibatch how many one gradient is taken of, and Passes how
	// many passes over the batch an update makes.
	Batch     int `json:"batch"`
	Minibatch int `json:"minibatch"`
	Passes    int `json:"passes"`
	// LearningRate is Adam's; Anneal lowers it linearly to 0 over the training. AdamEpsilon is Adam's ε.
	LearningRate float64 `json:"learning_rate"`
	Anneal       bool    `json:"anneal"`
	AdamEpsilon  float64 `json:"adam_epsilon"`
	// Clip bounds the distance of the joint probability ratio from 1, and ValueClip how far a value may move in an update
	// before its gradient becomes zero; 0 does not clip values.
	Clip      float64 `json:"clip"`
	ValueClip float64 `json:"value_clip"`
	// ValueCoef and EntropyCoef weigh the value loss and the entropy against the policy loss.
	ValueCoef   float64 `json:"value_coef"`
	EntropyCoef float64 `json:"entropy_coef"`
	// MeanEntropy averages the entropy over the modules instead of summing it to the joint entropy.
	MeanEntropy bool `json:"mean_entropy"`
	// MaxGradNorm bounds the joint norm of the gradients of all weights.
	MaxGradNorm float64 `json:"max_grad_norm"`
	// ActorGain and CriticGain scale the initial weights of the last layers.
	ActorGain  float64 `json:"actor_gain"`
	CriticGain float64 `json:"critic_gain"`
	// Align scales scores to the standard deviation of the efficiency; see Reward.
	Align bool `json:"align"`
	// LambdaMin and LambdaMax are the range of λ. Each episode samples its own: either end with probability 1/8, else
	// uniformly between them, so that the ends are learned as well as the middle. Equal numbers train for one fixed λ.
	LambdaMin float64 `json:"lambda_min"`
	LambdaMax float64 `json:"lambda_max"`
	// InFlight is how many questions are played concurrently; it changes no result.
	InFlight int `json:"in_flight"`
}

// Default is the preset for one router that serves every λ from 0 to 1.
//
// It takes more and larger steps than the published settings and gives the entropy twenty times the weight. With few
// questions, the published number of steps is too small to learn from, and more steps alone make the policy certain of the
// cheap tiers, which pay at most λs, before it can tell questions apart; a policy that is certain has no gradient left. As
// the number of updates is what counts, epochs are derived from it.
func Default() Config {
	return Config{
		Seed: 42, Batch: 32, Minibatch: 32, Passes: 4, LearningRate: 2e-3, Anneal: true, AdamEpsilon: 1e-5,
		Clip: 0.2, ValueClip: 0.2, ValueCoef: 0.5, EntropyCoef: 0.2, MaxGradNorm: 0.5, ActorGain: 0.01, CriticGain: 1,
		Align: true, LambdaMin: 0, LambdaMax: 1, InFlight: 32,
	}
}

// enoughUpdates is how many batches a training plays if its epochs are not set.
const enoughUpdates = 120

// For returns the settings for a number of questions: if epochs are not set, as many as make 120 updates. Replayed questions
// cost nothing to play again; where questions are asked live, many epochs ask for many combinations of tiers.
func (c Config) For(questions int) Config {
	if c.Epochs == 0 {
		batches := max((questions+c.Batch-1)/c.Batch, 1)
		c.Epochs = (enoughUpdates + batches - 1) / batches
	}
	return c
}

// Paper is the preset of BudgetMem's published code: one fixed λ, 7 epochs, entropy averaged over the modules, no annealing,
// and its gains of actor and critic.
func Paper() Config {
	c := Default()
	c.Epochs, c.LearningRate, c.Anneal, c.LambdaMax = 7, 3e-4, false, 0
	c.EntropyCoef, c.MeanEntropy, c.ActorGain, c.CriticGain = 0.01, true, math.Sqrt2, 0.01
	return c
}

// Set changes one setting, given as key=value with the key of its JSON. An unknown key or a value of another type is an error
// and changes nothing.
func (c *Config) Set(assignment string) error { return settings.Set(c, assignment) }

// Merge takes over the settings of a JSON object. An unknown key or a value of another type is an error and changes nothing.
func (c *Config) Merge(object []byte) error { return settings.Merge(c, object) }

// Check returns an error that names the first setting that is out of range.
func (c Config) Check() error {
	for _, s := range []struct {
		name  string
		ok    bool
		value any
	}{
		{"epochs", c.Epochs >= 0, c.Epochs},
		{"batch", c.Batch >= 2, c.Batch}, // a single advantage cannot be normalised
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
