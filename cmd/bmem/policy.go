package main

import (
	"cmp"

	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
)

// checkPolicies refuses policies that a tier set does not know, before any model is loaded. split cuts what was given into policies.
func checkPolicies(axis string, split func(modules int) []string) error {
	set, err := tiers.LoadSpec(cmp.Or(axis, tiers.ImplementationAxis))
	if err != nil {
		return err
	}
	var space router.Space
	for _, m := range set.Routed() {
		module := router.Module{Name: m.String()}
		for _, t := range set.Modules[m.String()] {
			module.Tiers = append(module.Tiers, t.Tier)
		}
		space = append(space, module)
	}
	for _, p := range split(len(space)) {
		if _, err := router.Parse(p, space, 0); err != nil {
			return err
		}
	}
	return nil
}
