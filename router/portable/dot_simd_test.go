//go:build goexperiment.simd && amd64

package portable

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Each kernel, by itself, gives what the loops in plain Go give, and leaves the columns that it does not reach.
func TestKernels(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for name, k := range map[string]struct {
		add    func(y, x, w []float32, rows []int32, j int) int
		block  int
		usable bool
	}{"AVX2": {addAVX2, 64, avx2}, "AVX-512": {addAVX512, 128, avx512}} {
		if !k.usable {
			t.Logf("this processor has no %s", name)
			continue
		}
		for _, n := range []int{1, 63, 64, 127, 128, 200, 256, 320} {
			const rows = 21
			x, w, got := vector(rng, rows), vector(rng, rows*n), vector(rng, n)
			some := positive(x, make([]int32, rows))
			want := append([]float32(nil), got...)
			done := k.add(got, x, w, some, 0)
			if done != n/k.block*k.block {
				t.Errorf("%s did %d of %d columns", name, done, n)
			}
			for j := range want {
				for _, i := range some {
					if j < done {
						want[j] += x[i] * w[int(i)*n+j]
					}
				}
				if math.Abs(float64(want[j]-got[j])) > 1e-5 {
					t.Fatalf("%s, %d columns: column %d is %v, want %v", name, n, j, got[j], want[j])
				}
			}
		}
	}
}
