package train

import (
	"fmt"

	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/offline"
)

// The training methods.
const (
	// Offline learns from traces without playing questions, see offline.Learn.
	Offline = "offline"
	// PPO plays questions, replayed or live, with one router for all λ.
	PPO = "ppo"
	// Paper is PPO as in BudgetMem's published code, for one λ.
	Paper = "paper"
)

// Methods lists the training methods.
func Methods() []string { return []string{Offline, PPO, Paper} }

// Settings is a training method with its settings. Make one with NewSettings.
type Settings struct {
	method string
	config offline.Config // only the method Offline uses more than the embedded router.Config
}

// NewSettings returns the default settings of a method. An unknown method is an error.
func NewSettings(method string) (Settings, error) {
	s := Settings{method: method}
	switch method {
	case Offline:
		s.config = offline.DefaultConfig()
	case PPO:
		s.config.Config = router.Default()
	case Paper:
		s.config.Config = router.Paper()
	default:
		return s, fmt.Errorf("no training method %q: there are %v", method, Methods())
	}
	return s, nil
}

// Method is one of Methods, "" for the zero value.
func (s Settings) Method() string { return s.method }

// Config returns the settings that all methods share. Its Seed is that of the first training.
func (s *Settings) Config() *router.Config { return &s.config.Config }

// Set changes one of the method's settings, given as key=value with the key of its JSON. An unknown key or a value of another
// type is an error and changes nothing.
func (s *Settings) Set(assignment string) error {
	if s.method == Offline {
		return s.config.Set(assignment)
	}
	return s.config.Config.Set(assignment)
}

// Merge takes over the settings of a JSON object. An unknown key or a value of another type is an error and changes nothing.
func (s *Settings) Merge(object []byte) error {
	if s.method == Offline {
		return s.config.Merge(object)
	}
	return s.config.Config.Merge(object)
}

// String lists the settings with their names.
func (s Settings) String() string { return fmt.Sprintf("%+v", s.config) }
