package lab

import "github.com/budgetmem/budgetmem/bmem/setup"

// Models says which model answers, for quick.OpenWith: one on this machine, by its name or "" for the best that is here; or, with
// a base URL, one at an OpenAI-compatible endpoint, whose key is in the environment variable keyEnv ("" for none). A model without
// a known price counts as free.
func Models(endpoint, keyEnv, model string) setup.Spec {
	s := setup.Spec{Model: model, AllowUnpriced: true}
	if endpoint != "" {
		s.Endpoints = []string{endpoint}
	}
	if keyEnv != "" {
		s.KeyEnv = []string{keyEnv}
	}
	return s
}
