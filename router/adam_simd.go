//go:build goexperiment.simd && amd64

package router

import "simd/archsimd"

// eights does apply's work for the first weights, eight at a time, and returns how many it did. It rounds as apply does.
func (a adamStep) eights(w, g, first, second []float32) int {
	if !archsimd.X86.AVX2() {
		return 0
	}
	all, load := archsimd.BroadcastFloat32x8, archsimd.LoadFloat32x8Slice
	scale, rate, debias, epsilon := all(a.scale), all(a.rate), all(a.debias), all(a.epsilon)
	b1, c1, b2, c2 := all(beta1), all(1-beta1), all(beta2), all(1-beta2)
	n := len(w) &^ 7
	for ; len(w) >= 8; w, g, first, second = w[8:], g[8:], first[8:], second[8:] {
		c := load(g).Mul(scale)
		m := load(first).Mul(b1).Add(c.Mul(c1))
		v := load(second).Mul(b2).Add(c.Mul(c).Mul(c2))
		m.StoreSlice(first)
		v.StoreSlice(second)
		load(w).Sub(m.Mul(rate).Div(v.Sqrt().Mul(debias).Add(epsilon))).StoreSlice(w)
	}
	archsimd.ClearAVXUpperBits() // or all that follows would wait for the upper halves of the registers
	return n
}

// squareEights adds the squares of the first numbers to lanes, eight at a time, and returns how many it did. It rounds as
// squares does.
func squareEights(x []float32, lanes *[8]float32) int {
	if !archsimd.X86.AVX2() {
		return 0
	}
	n := len(x) &^ 7
	sum := archsimd.LoadFloat32x8(lanes)
	for ; len(x) >= 8; x = x[8:] {
		v := archsimd.LoadFloat32x8Slice(x)
		sum = sum.Add(v.Mul(v))
	}
	sum.Store(lanes)
	archsimd.ClearAVXUpperBits()
	return n
}

// addEights does add's work for the first numbers and returns how many it did.
func addEights(x, y []float32) int {
	if !archsimd.X86.AVX2() {
		return 0
	}
	n := len(x) &^ 7
	for ; len(x) >= 8; x, y = x[8:], y[8:] {
		archsimd.LoadFloat32x8Slice(x).Add(archsimd.LoadFloat32x8Slice(y)).StoreSlice(x)
	}
	archsimd.ClearAVXUpperBits()
	return n
}
