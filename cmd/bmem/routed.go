package main

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/budgetmem/budgetmem/bmem"
)

// routedFlags say how a server of memories chooses tiers for questions that name no budget.
type routedFlags struct {
	policy string
	lambda float64
}

func (f *routedFlags) bind(flags *pflag.FlagSet) {
	flags.StringVar(&f.policy, "policy", "", "how questions that name no budget choose their tiers: as --policy of 'bmem ask', such as router:`FILE` (default mid)")
	flags.Float64Var(&f.lambda, "lambda", 0, "weight of cost against score that a router or a cascade of --policy decides by (default the router's smallest, or what its calibration gives for max_dollars)")
}

// options are those of questions that name no budget. A policy that the system's tier set does not know is an error.
func (f *routedFlags) options(flags *pflag.FlagSet, s *systemFlags) ([]bmem.Option, error) {
	if f.policy == "" {
		if flags.Changed("lambda") {
			return nil, errors.New("--lambda is about --policy, which is missing")
		}
		return nil, nil
	}
	p, err := s.policy(f.policy) // once, and not for each question
	if err != nil {
		return nil, err
	}
	opts := []bmem.Option{bmem.WithPolicy(p)}
	if flags.Changed("lambda") {
		opts = append(opts, bmem.WithLambda(f.lambda))
	}
	return opts, nil
}
