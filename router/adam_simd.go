//go:build goexperiment.simd && amd64

package router

import (
	"simd/archsimd"
	"unsafe"
)

// inEights is x as arrays of eight, without what is left over. A loop over them checks no bounds and cuts no slices, which take
// longer than the arithmetic; nor does one that calls archsimd's functions by their names, as a variable makes them calls.
func inEights(x []float32) [][8]float32 {
	if len(x) < 8 {
		return nil // there is no array that a pointer could be to
	}
	return unsafe.Slice((*[8]float32)(unsafe.Pointer(unsafe.SliceData(x))), len(x)/8)
}

// eights does apply's work for the first weights, eight at a time, and returns how many it did. It rounds as apply does.
func (a adamStep) eights(w, g, first, second []float32) int {
	if !archsimd.X86.AVX2() {
		return 0
	}
	all := archsimd.BroadcastFloat32x8
	scale, rate, debias, epsilon := all(a.scale), all(a.rate), all(a.debias), all(a.epsilon)
	b1, c1, b2, c2 := all(beta1), all(1-beta1), all(beta2), all(1-beta2)
	ws := inEights(w)
	gs, firsts, seconds := inEights(g)[:len(ws)], inEights(first)[:len(ws)], inEights(second)[:len(ws)]
	for i := range ws {
		c := archsimd.LoadFloat32x8(&gs[i]).Mul(scale)
		m := archsimd.LoadFloat32x8(&firsts[i]).Mul(b1).Add(c.Mul(c1))
		v := archsimd.LoadFloat32x8(&seconds[i]).Mul(b2).Add(c.Mul(c).Mul(c2))
		m.Store(&firsts[i])
		v.Store(&seconds[i])
		archsimd.LoadFloat32x8(&ws[i]).Sub(m.Mul(rate).Div(v.Sqrt().Mul(debias).Add(epsilon))).Store(&ws[i])
	}
	archsimd.ClearAVXUpperBits() // or all that follows would wait for the upper halves of the registers
	return 8 * len(ws)
}

// squareEights adds the squares of the first numbers to lanes, eight at a time, and returns how many it did. It rounds as
// squares does.
func squareEights(x []float32, lanes *[8]float32) int {
	if !archsimd.X86.AVX2() {
		return 0
	}
	xs := inEights(x)
	sum := archsimd.LoadFloat32x8(lanes)
	for i := range xs {
		v := archsimd.LoadFloat32x8(&xs[i])
		sum = sum.Add(v.Mul(v))
	}
	sum.Store(lanes)
	archsimd.ClearAVXUpperBits()
	return 8 * len(xs)
}

// addEights does add's work for the first numbers and returns how many it did.
func addEights(x, y []float32) int {
	if !archsimd.X86.AVX2() {
		return 0
	}
	xs := inEights(x)
	ys := inEights(y)[:len(xs)]
	for i := range xs {
		archsimd.LoadFloat32x8(&xs[i]).Add(archsimd.LoadFloat32x8(&ys[i])).Store(&xs[i])
	}
	archsimd.ClearAVXUpperBits()
	return 8 * len(xs)
}
