package run

import (
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// System describes what answers. What decides results is compared when a run is resumed.
type System struct {
	// Axis is the name of the tier set, Tiers the hash of its content.
	Axis  string `json:"axis"`
	Tiers string `json:"tiers"`
	// The answering model.
	LanguageModel
	// Roles are the models that tiers ask besides the answering one, by role.
	Roles    map[string]LanguageModel `json:"roles,omitempty"`
	Embedder string                   `json:"embedder"`
	// Prompts is the hash of all prompts.
	Prompts string `json:"prompts"`
	// Options are settings of the tiers that differ from their defaults.
	Options tiers.Options `json:"options"`
	// Backend computes the local models ("go", "xla:cpu", …), or is "endpoint". It is shown but not compared.
	Backend string `json:"-"`
	// Warnings are shown above the table, for example that the model is too weak to answer well.
	Warnings []string `json:"-"`
}

// LanguageModel describes a language model.
type LanguageModel struct {
	Model   string `json:"model"`    // its name
	ModelID string `json:"model_id"` // with its weights' hash, or the endpoint
	// Price is in dollars per million tokens.
	Price llm.Price `json:"price"`
	// Fallback are the models that answer where its endpoints fail.
	Fallback []LanguageModel `json:"fallback,omitempty"`
}

func languageModel(m setup.Model) LanguageModel {
	l := LanguageModel{Model: m.Model(), ModelID: m.ID(), Price: m.Price}
	for _, f := range m.Fallback {
		l.Fallback = append(l.Fallback, languageModel(f))
	}
	return l
}

// Describe returns the description of sys that a run keeps.
func Describe(sys *setup.System, options tiers.Options) System {
	backend := sys.Backend
	if !sys.Local {
		backend = "endpoint; embedder on " + backend
	}
	s := System{Axis: sys.Tiers.Name, Tiers: sys.Tiers.Hash(), LanguageModel: languageModel(setup.Model{Client: sys.Client, Price: sys.Price, Fallback: sys.Fallback}),
		Embedder: sys.EmbedderID, Prompts: tiers.PromptHash(), Options: options, Backend: backend, Warnings: sys.Warnings}
	for role, m := range sys.Roles {
		if s.Roles == nil {
			s.Roles = map[string]LanguageModel{}
		}
		s.Roles[role] = languageModel(m)
	}
	return s
}
