//go:build goexperiment.simd && amd64

package router

import (
	"simd/archsimd"
	"unsafe"
)

// vectors says whether the processor has what eights needs.
var vectors = archsimd.X86.AVX2() && archsimd.X86.FMA()

// eights does apply's work for the first weights, eight at a time, and returns how many it did.
func (a adamStep) eights(w, g, first, second []float32) int {
	if !vectors {
		return 0
	}
	n := len(w) &^ 7
	_, _, _ = g[:n], first[:n], second[:n]
	pw, pg := unsafe.Pointer(unsafe.SliceData(w)), unsafe.Pointer(unsafe.SliceData(g))
	pm, pv := unsafe.Pointer(unsafe.SliceData(first)), unsafe.Pointer(unsafe.SliceData(second))
	at := func(p unsafe.Pointer, i int) *[8]float32 { return (*[8]float32)(unsafe.Add(p, 4*i)) }
	all := archsimd.BroadcastFloat32x8
	scale, rate, debias, epsilon := all(a.scale), all(a.rate), all(a.debias), all(a.epsilon)
	b1, c1, b2, c2 := all(beta1), all(1-beta1), all(beta2), all(1-beta2)
	for i := 0; i < n; i += 8 {
		c := archsimd.LoadFloat32x8(at(pg, i)).Mul(scale)
		m := archsimd.LoadFloat32x8(at(pm, i)).Mul(b1).Add(c.Mul(c1))
		v := archsimd.LoadFloat32x8(at(pv, i)).Mul(b2).Add(c.Mul(c).Mul(c2))
		m.Store(at(pm, i))
		v.Store(at(pv, i))
		change := m.Mul(rate).Div(v.Sqrt().Mul(debias).Add(epsilon))
		archsimd.LoadFloat32x8(at(pw, i)).Sub(change).Store(at(pw, i))
	}
	archsimd.ClearAVXUpperBits() // or all that follows would wait for the upper halves of the registers
	return n
}
