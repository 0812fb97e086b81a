package tune

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
)

// Take takes over the shape of an adapter: rank, alpha, targets and layers, except what set reports to be chosen by the name of its flag.
func (c *Config) Take(a *adapter.Adapter, set func(flag string) bool) {
	layers, targets := map[int]bool{}, map[string]bool{}
	for k := range a.Pairs {
		layers[k.Layer], targets[k.Target] = true, true
	}
	if !set("rank") {
		c.Rank = a.Rank
	}
	if !set("alpha") {
		c.Alpha = a.Alpha
	}
	if !set("layers") {
		c.Layers = len(layers)
	}
	if !set("targets") {
		c.Targets = slices.DeleteFunc(adapter.Targets(), func(t string) bool { return !targets[t] })
	}
}

// info is what the adapter notes about its making.
func (t *training) info() (adapter.Info, error) {
	hash, err := tiers.TunedHash(t.Config.Template)
	i := adapter.Info{Base: t.Model, BaseSHA256: t.base.SHA256, Template: t.Config.Template, TemplateHash: hash,
		Data: t.Data, Steps: t.at.Step, Commit: t.Commit, License: t.License}
	if t.From == nil {
		return i, err
	}
	before := t.From.Info
	i.Data, i.Steps = slices.Concat(before.Data, t.Data), before.Steps+t.at.Step
	i.License = both(before.License, t.License)
	return i, err
}

// both is the SPDX expression of two licences, each of which may be "".
func both(a, b string) string {
	const and = " AND "
	if a == "" || a == b {
		return b
	}
	if b == "" || slices.Contains(strings.Split(a, and), b) {
		return a
	}
	group := func(l string) string {
		if strings.Contains(l, " OR ") {
			return "(" + l + ")"
		}
		return l
	}
	return group(a) + and + group(b)
}

// checkFrom refuses an adapter that this run cannot go on from. keys are the maps that it adapts.
func (t *training) checkFrom(keys []adapter.Key) error {
	a := t.From
	if a == nil {
		return nil
	}
	hash, err := tiers.TunedHash(t.Config.Template)
	if err != nil {
		return err
	}
	switch {
	case a.Info.BaseSHA256 == "":
		return errors.New("the adapter to go on from does not say which model file it was trained on: only adapters of 'bmem tune' do")
	case a.Info.BaseSHA256 != t.base.SHA256:
		return fmt.Errorf("the adapter to go on from was trained on another model: %s of SHA-256 %.12s, not %.12s", a.Info.Base, a.Info.BaseSHA256, t.base.SHA256)
	case a.Info.Template != t.Config.Template:
		return fmt.Errorf("the adapter to go on from was trained with the prompt %q, not %q", a.Info.Template, t.Config.Template)
	case a.Info.TemplateHash != hash:
		return fmt.Errorf("the adapter to go on from was trained with another wording of the prompt %q", a.Info.Template)
	case a.Rank != t.Config.Rank || a.Alpha != t.Config.Alpha:
		return fmt.Errorf("the adapter to go on from has rank %d and alpha %v, this run %d and %v", a.Rank, a.Alpha, t.Config.Rank, t.Config.Alpha)
	}
	have := len(a.Pairs) == len(keys)
	for _, k := range keys {
		_, ok := a.Pairs[k]
		have = have && ok
	}
	if !have {
		return fmt.Errorf("the adapter to go on from adapts %d maps, this run %d others: use its layers and targets", len(a.Pairs), len(keys))
	}
	return nil
}
