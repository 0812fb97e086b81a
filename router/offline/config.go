package offline

import (
	"fmt"

	"github.com/budgetmem/budgetmem/internal/settings"
	"github.com/budgetmem/budgetmem/router"
)

// Config holds the settings of learning from episodes. Start from DefaultConfig: the zero value is refused.
//
// Of the embedded settings it uses seed, epochs, batch, learning_rate, anneal, adam_epsilon, entropy_coef, max_grad_norm,
// the gains, align, and the range of λ.
type Config struct {
	router.Config
	// MaxWeight bounds how much a measured outcome corrects the prediction for its combination. The doubly robust
	// correction weighs it by 1/propensity, which is unbiased but noisy where few combinations are measured. 1 replaces the
	// prediction by the measured outcome; if every combination is measured, predictions then do not count at all (full
	// information). 0 learns from the predictions alone.
	MaxWeight float64 `json:"max_weight"`
}

// DefaultConfig returns the recommended settings.
func DefaultConfig() Config {
	c := router.Default()
	c.Epochs, c.Batch, c.Minibatch, c.LearningRate, c.EntropyCoef = 40, 64, 64, 1e-3, 0.01
	return Config{Config: c, MaxWeight: 1}
}

// Set changes one setting, given as key=value with the key of its JSON. An unknown key or a value of another type is an
// error and changes nothing.
func (c *Config) Set(assignment string) error { return settings.Set(c, assignment) }

// Merge takes over the settings of a JSON object. An unknown key or a value of another type is an error and changes nothing.
func (c *Config) Merge(object []byte) error { return settings.Merge(c, object) }

// check returns an error that names the first setting that is out of range.
func (c Config) check() error {
	switch {
	case c.Epochs < 1:
		return fmt.Errorf("offline settings: epochs is %d, must be at least 1", c.Epochs)
	case !(c.MaxWeight >= 0):
		return fmt.Errorf("offline settings: max_weight is %v, must not be negative", c.MaxWeight)
	}
	return c.Config.Check()
}
