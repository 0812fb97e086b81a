package experiments

import (
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/tiers"
)

// Implementation is the axis whose tiers are rules, stronger methods without a language model, and a language model.
const Implementation = "implementation"

// Describe says for a run's record what sys is.
func Describe(sys *setup.System, axis string, options tiers.Options) System {
	backend := sys.Backend
	if !sys.Local {
		backend = "endpoint; embedder on " + backend
	}
	return System{Axis: axis, Model: sys.Client.Model(), ModelID: sys.Client.ID(), Embedder: sys.EmbedderID, Price: sys.Price,
		Prompts: tiers.PromptHash(), Options: options, Backend: backend, Warnings: sys.Warnings}
}
