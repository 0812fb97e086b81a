package episodes

import (
	"fmt"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/router"
)

// Where returns the episodes for which keep returns true.
func (f *File) Where(keep func(router.Episode) bool) *File {
	out := &File{Header: f.Header}
	for _, t := range f.Episodes {
		if keep(t) {
			out.Episodes = append(out.Episodes, t)
		}
	}
	return out
}

// Only returns the episodes whose combinations use the named tiers alone, as if the system had no other tiers. It fails if no
// module has a named tier, or if nothing is left.
func (f *File) Only(tiers ...string) (*File, error) {
	var known []string
	for _, m := range f.Space {
		for _, name := range m.Tiers {
			if !slices.Contains(known, name) {
				known = append(known, name)
			}
		}
	}
	for _, name := range tiers {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("no module has a tier %q; there are %s", name, strings.Join(known, ", "))
		}
	}
	space := slices.Clone(f.Space)
	for m := range space {
		space[m].Tiers = slices.DeleteFunc(slices.Clone(space[m].Tiers), func(name string) bool { return !slices.Contains(tiers, name) })
	}
	out := &File{Header: f.Header}
	out.Space = space
	for _, t := range f.Episodes {
		// Choices count the remaining tiers alone.
		if choices, err := space.Choices(f.names(t.Choices)); err == nil {
			t.Choices = choices
			out.Episodes = append(out.Episodes, t)
		}
	}
	if err := out.Usable(); err != nil {
		return nil, fmt.Errorf("with the tiers %s alone: %w", strings.Join(tiers, ", "), err)
	}
	return out, nil
}

// HistoryOf is the history that a question is about, by the beginning of its identifier before the last slash; the identifier itself
// without one.
func HistoryOf(id string) string {
	if i := strings.LastIndexByte(id, '/'); i > 0 {
		return id[:i]
	}
	return id
}

// Histories groups questions, by their index, whose identifiers have the same beginning before the last slash, as those about one of
// LoCoMo's conversations have. A question without a slash is about a history of its own.
func Histories(ids []string) [][]int {
	var out [][]int
	at := map[string]int{}
	for q, id := range ids {
		name := HistoryOf(id)
		h, ok := at[name]
		if !ok {
			h = len(out)
			at[name] = h
			out = append(out, nil)
		}
		out[h] = append(out[h], q)
	}
	return out
}
