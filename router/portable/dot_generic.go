//go:build !(goexperiment.simd && amd64)

package portable

// addVectors is there for builds with SIMD; it computes no column.
func addVectors(_, _, _ []float32, _ []int32) int { return 0 }
