package router

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// FixedLast lets another policy decide all modules but the last, whose tier it fixes. The other policy may be one of the space
// without the last module.
type FixedLast struct {
	first Policy
	last  int // the last module
	tier  int
	name  string
}

// FixLast returns the policy that decides as first and gives the last module of the space a tier. A space of one module and a tier
// that the last module does not have are errors.
func FixLast(space Space, first Policy, tier int) (*FixedLast, error) {
	last := len(space) - 1
	if last < 1 {
		return nil, errors.New("fix the last module's tier: there is no module before it")
	}
	if tiers := space[last].Tiers; tier < 0 || tier >= len(tiers) {
		return nil, fmt.Errorf("fix the tier of module %s: it has %d tiers, and none of number %d", space[last].Name, len(tiers), tier)
	}
	return &FixedLast{first, last, tier, first.Name() + "/" + space[last].Tiers[tier]}, nil
}

// Name implements Policy: "low/high" where "low" decides all but the last module.
func (f *FixedLast) Name() string { return f.name }

// First is the policy that decides all modules but the last.
func (f *FixedLast) First() Policy { return f.first }

// Decide implements Policy. It returns the error of the other policy.
func (f *FixedLast) Decide(ctx context.Context, s State) (int, error) {
	if s.Module == f.last {
		return f.tier, nil
	}
	return f.first.Decide(ctx, s)
}

// parseLast reads POLICY/TIER, where TIER is one of the last module's; ok is false if the spec has another form.
func parseLast(spec string, space Space, seed int64) (p Policy, ok bool, err error) {
	at, last := strings.LastIndexByte(spec, '/'), len(space)-1
	if at < 0 || last < 1 || slices.Contains(space[0].Tiers, spec) {
		return nil, false, nil
	}
	tier := slices.Index(space[last].Tiers, spec[at+1:])
	if tier < 0 {
		return nil, false, nil
	}
	before := space[:last]
	if strings.HasPrefix(spec, "router:") {
		before = space // an exported router knows the last module too
	}
	first, err := Parse(spec[:at], before, seed)
	if err != nil {
		return nil, true, err
	}
	if _, twice := first.(*FixedLast); twice {
		return nil, true, fmt.Errorf("policy %q names the last module's tier twice", spec)
	}
	p, err = FixLast(space, first, tier)
	return p, true, err
}
