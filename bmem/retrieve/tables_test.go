//go:build fit

package retrieve

import (
	"flag"
	"maps"
	"slices"
	"testing"

	"github.com/budgetmem/budgetmem/datasets"
)

var tables = flag.String("tables", "locomo", "data set of which TestTables prints recall on training and validation questions")

// TestTables prints recall by mode and category: go test ./bmem/retrieve -tags fit -run TestTables -v -tables locomo
func TestTables(t *testing.T) {
	b := newBench(t)
	d := dataset(t, *tables)
	t.Logf("chunks and sessions at %v, turns at %v", chunkDepths, turnDepths)
	for _, split := range []datasets.Split{datasets.Train, datasets.Validation} {
		for _, mode := range Modes() {
			all, byCategory := b.measure(t, d, split, mode)
			t.Logf("%-10s %-7s %-18s %v", split, mode, "all", all)
			for _, c := range slices.Sorted(maps.Keys(byCategory)) {
				t.Logf("%-10s %-7s %-18s %v", split, mode, c, byCategory[c])
			}
		}
	}
}
