//go:build !(goexperiment.simd && amd64)

package portable

// Kernel names how products are computed, for benchmarks.
func Kernel() string { return "scalar" }

func addVectors(_, _, _ []float32, _ []int32) int { return 0 }
