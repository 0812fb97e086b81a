//go:build fit

package retrieve

import (
	"fmt"
	"slices"
)

// calibration compares, for turns of similar probability, the mean probability with the share that is evidence.
func calibration(examples []*example, m *model) []string {
	edges := []float64{0, 0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 1.01}
	var lines []string
	for i, low := range edges[:len(edges)-1] {
		var n, sum, evidence float64
		for _, e := range examples {
			for u, p := range m.probabilities(m.logits(e.rows), nil, 0) {
				if p >= low && p < edges[i+1] {
					n, sum, evidence = n+1, sum+p, evidence+indicator(slices.Contains(e.evidence, u))
				}
			}
		}
		lines = append(lines, fmt.Sprintf("probability %.3f to %.3f: %6.0f turns, mean %.4f, evidence %.4f", low, min(1, edges[i+1]), n, sum/max(1, n), evidence/max(1, n)))
	}
	return lines
}
