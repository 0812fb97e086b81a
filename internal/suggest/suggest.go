// Package suggest finds the known name that a mistyped one was probably meant to be.
package suggest

// Name returns the entry of known with the fewest single-letter edits from name, the first of several; "" if known is empty.
func Name(name string, known []string) string {
	best, bestDistance := "", -1
	for _, k := range known {
		if d := distance([]rune(name), []rune(k)); bestDistance < 0 || d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance: insertions, deletions and substitutions, each counting one.
func distance(a, b []rune) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i, ra := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j, rb := range b {
			substituted := diagonal
			if ra != rb {
				substituted++
			}
			diagonal = row[j+1]
			row[j+1] = min(substituted, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
