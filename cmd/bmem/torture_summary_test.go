//go:build unix

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// summarise writes what a long test has done, a line a kind.
func summarise(t *testing.T, title string, counts map[string]int) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "torture: %s\n", title)
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, "%8d %s\n", counts[kind], kind)
	}
	t.Log(b.String())
}
