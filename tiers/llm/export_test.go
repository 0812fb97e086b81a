package llm

import (
	"maps"
	"slices"
	"time"
)

// SetPatience sets how long a claim of another process is waited for.
func (c *Cache) SetPatience(d time.Duration) { c.patience = d }

// Models lists the names and aliases in the table, in lower case, sorted.
func (p Prices) Models() []string { return slices.Sorted(maps.Keys(p.byName)) }

// Names lists the entries of the configuration, in lower case, sorted.
func (m Models) Names() []string { return slices.Sorted(maps.Keys(m.byName)) }

// SetClock replaces the clock of a Fallback.
func SetClock(c Client, now func() time.Time) {
	for _, l := range c.(*fallback).links {
		l.now = now
	}
}
