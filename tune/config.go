package tune

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/internal/suggest"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
)

// Config is what decides a training's result beside model and examples. Defaults returns good values.
type Config struct {
	Rank    int      `json:"rank"`
	Alpha   float64  `json:"alpha"`   // B·A is scaled by Alpha/Rank
	Targets []string `json:"targets"` // of adapter.Targets
	Layers  int      `json:"layers"`  // how many of the top layers are adapted; 0 means all
	// Batch is the number of examples of a step. Their gradients are summed over packs of PackTokens tokens, or twice, four times …
	// as many where an example is longer.
	Batch      int `json:"batch"`
	PackTokens int `json:"pack_tokens"`
	Epochs     int `json:"epochs"`
	// MaxSteps ends the training early, the learning rate falling sooner; 0 means no limit.
	MaxSteps int `json:"max_steps"`
	// The learning rate rises for Warmup steps and then falls linearly, to FinalRate of its height at the end.
	LearningRate float64 `json:"learning_rate"`
	Warmup       int     `json:"warmup"`
	FinalRate    float64 `json:"final_rate"`
	WeightDecay  float64 `json:"weight_decay"`
	MaxGradNorm  float64 `json:"max_grad_norm"` // the gradient of all matrices together is cut to this Euclidean norm
	Seed         uint64  `json:"seed"`
	// Template is the prompt that examples are put into, as tiers.TunedPrompt knows it.
	Template string `json:"template"`
	// CheckpointEvery and ValidateEvery are in steps; 0 means at the end alone.
	CheckpointEvery int `json:"checkpoint_every"`
	ValidateEvery   int `json:"validate_every"`
}

// Defaults returns the default settings.
func Defaults() Config {
	return Config{Rank: 16, Alpha: 32, Targets: adapter.Targets(), Layers: 8, Batch: 8, PackTokens: 512, Epochs: 2,
		LearningRate: 6e-4, Warmup: 5, FinalRate: 0.05, MaxGradNorm: 1, Seed: 42, Template: tiers.NotesTemplate,
		CheckpointEvery: 10, ValidateEvery: 50}
}

// check finds settings that cannot work. Its messages name the flags of the command line.
func (c *Config) check(model *local.Config) error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	need(c.Rank > 0 && c.Alpha > 0, "rank %d, alpha %v: both must be positive", c.Rank, c.Alpha)
	need(c.Layers >= 0 && c.Layers <= model.Layers, "layers %d: the model has %d", c.Layers, model.Layers)
	need(c.Batch > 0 && c.Epochs > 0 && c.PackTokens >= 16, "batch %d, epochs %d, pack tokens %d: must be positive, the last at least 16", c.Batch, c.Epochs, c.PackTokens)
	need(c.MaxSteps >= 0 && c.Warmup >= 0 && c.CheckpointEvery >= 0 && c.ValidateEvery >= 0, "numbers of steps must not be negative")
	need(c.LearningRate > 0 && !math.IsInf(c.LearningRate, 0), "learning rate %v: must be positive", c.LearningRate)
	need(c.FinalRate >= 0 && c.FinalRate <= 1, "final rate %v: must be a share of the learning rate, from 0 to 1", c.FinalRate)
	need(c.WeightDecay >= 0 && c.MaxGradNorm > 0, "weight decay %v, gradient norm %v: must not be negative, the latter positive", c.WeightDecay, c.MaxGradNorm)
	need(len(c.Targets) > 0, "no targets: give some of %s", strings.Join(adapter.Targets(), ", "))
	for _, t := range c.Targets {
		need(slices.Contains(adapter.Targets(), t), "unknown target %q; did you mean %q? There are %s", t, suggest.Name(t, adapter.Targets()), strings.Join(adapter.Targets(), ", "))
	}
	if _, err := tiers.TunedHash(c.Template); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// steps is how many steps n examples take.
func (c *Config) steps(n int) int {
	steps := c.Epochs * ((n + c.Batch - 1) / c.Batch)
	if c.MaxSteps > 0 {
		steps = min(steps, c.MaxSteps)
	}
	return steps
}

// rate is the learning rate of a step, counted from 0, of a total.
func (c *Config) rate(step, steps int) float64 {
	r := max(c.FinalRate, 1-float64(step)/float64(steps))
	if step < c.Warmup {
		r *= float64(step+1) / float64(c.Warmup)
	}
	return c.LearningRate * r
}
