//go:build goexperiment.simd && amd64

package portable

import (
	"simd/archsimd"
	"unsafe"
)

// vectors says whether the processor has what addVectors needs.
var vectors = archsimd.X86.AVX2() && archsimd.X86.FMA()

// block is how many columns addVectors keeps in registers while it goes down the rows.
const block = 64

// addVectors computes add for as many of the first columns as it can and returns how many. rows lists the rows of W to use,
// each below len(x); W has at least len(x) rows of len(y).
func addVectors(y, x, w []float32, rows []int32) int {
	if !vectors {
		return 0
	}
	n := len(y)
	px, pw := unsafe.Pointer(unsafe.SliceData(x)), unsafe.Pointer(unsafe.SliceData(w))
	j := 0
	for ; j+block <= n; j += block {
		py := unsafe.Add(unsafe.Pointer(unsafe.SliceData(y)), 4*j)
		s0, s1, s2, s3 := load(py, 0), load(py, 8), load(py, 16), load(py, 24)
		s4, s5, s6, s7 := load(py, 32), load(py, 40), load(py, 48), load(py, 56)
		for _, i := range rows {
			v := archsimd.BroadcastFloat32x8(*(*float32)(unsafe.Add(px, 4*int(i))))
			p := unsafe.Add(pw, 4*(int(i)*n+j))
			s0 = v.MulAdd(load(p, 0), s0)
			s1 = v.MulAdd(load(p, 8), s1)
			s2 = v.MulAdd(load(p, 16), s2)
			s3 = v.MulAdd(load(p, 24), s3)
			s4 = v.MulAdd(load(p, 32), s4)
			s5 = v.MulAdd(load(p, 40), s5)
			s6 = v.MulAdd(load(p, 48), s6)
			s7 = v.MulAdd(load(p, 56), s7)
		}
		store(s0, py, 0)
		store(s1, py, 8)
		store(s2, py, 16)
		store(s3, py, 24)
		store(s4, py, 32)
		store(s5, py, 40)
		store(s6, py, 48)
		store(s7, py, 56)
	}
	// Without this, all that follows would wait for the upper halves of the registers.
	archsimd.ClearAVXUpperBits()
	return j
}

// load reads the eight numbers from p[i] on, which the caller knows to be there.
func load(p unsafe.Pointer, i int) archsimd.Float32x8 {
	return archsimd.LoadFloat32x8((*[8]float32)(unsafe.Add(p, 4*i)))
}

func store(v archsimd.Float32x8, p unsafe.Pointer, i int) {
	v.Store((*[8]float32)(unsafe.Add(p, 4*i)))
}
