package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
)

// space is what the policies of the tier set choose from, before any model is loaded.
func (f *systemFlags) space() (router.Space, error) {
	set, err := tiers.LoadSpec(cmp.Or(f.spec.Tiers, tiers.ImplementationAxis))
	if err != nil {
		return nil, err
	}
	var space router.Space
	for _, m := range set.Routed() {
		module := router.Module{Name: m.String()}
		for _, t := range set.Modules[m.String()] {
			module.Tiers = append(module.Tiers, t.Tier)
		}
		space = append(space, module)
	}
	return space, nil
}

// policies reads what was given as policies, which split cuts into single ones, and refuses those that the tier set does not know.
// Of the specs, the cascade of --calibration gets the name of its file.
func (f *systemFlags) policies(split func(modules int) []string) (specs []string, parsed []router.Policy, err error) {
	space, err := f.space()
	if err != nil {
		return nil, nil, err
	}
	specs = split(len(space))
	for i, p := range specs {
		if rest, ok := strings.CutPrefix(p, "cascade"); ok && (rest == "" || rest[0] == '@') {
			if f.spec.Calibration == "" || f.spec.Calibration == setup.ShippedCalibration {
				return nil, nil, fmt.Errorf("policy %q: %w: give --calibration FILE, which 'bmem calibrate' writes", p, bmem.ErrNoCalibration)
			}
			specs[i] = "cascade:" + f.spec.Calibration + rest
		}
		policy, err := router.Parse(specs[i], space, 0)
		if err != nil {
			return nil, nil, err
		}
		parsed = append(parsed, policy)
	}
	return specs, parsed, nil
}

// policy is policies for a single one.
func (f *systemFlags) policy(spec string) (router.Policy, error) {
	_, parsed, err := f.policies(func(int) []string { return []string{spec} })
	if err != nil {
		return nil, err
	}
	return parsed[0], nil
}
