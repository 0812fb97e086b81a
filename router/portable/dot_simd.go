//go:build goexperiment.simd && amd64

package portable

import (
	"simd/archsimd"
	"unsafe"
)

// The instruction sets of this processor.
var (
	avx2   = archsimd.X86.AVX2() && archsimd.X86.FMA()
	avx512 = avx2 && archsimd.X86.AVX512()
)

// addVectors computes add for as many leading columns as fill whole blocks and returns their number. The given rows of W are
// below len(x); W has at least len(x) rows of len(y). The eight accumulators of a block of columns stay in registers while
// it goes down the rows.
func addVectors(y, x, w []float32, rows []int32) int {
	if !avx2 {
		return 0
	}
	j := 0
	if avx512 {
		j = addAVX512(y, x, w, rows, j)
	}
	j = addAVX2(y, x, w, rows, j)
	// Otherwise later SSE instructions would wait for the upper halves of the registers.
	archsimd.ClearAVXUpperBits()
	return j
}

// addAVX512 computes blocks of 128 columns from column j on and returns the first column that it did not compute.
func addAVX512(y, x, w []float32, rows []int32, j int) int {
	n := len(y)
	px, pw := unsafe.Pointer(unsafe.SliceData(x)), unsafe.Pointer(unsafe.SliceData(w))
	for ; j+8*16 <= n; j += 8 * 16 {
		py := unsafe.Add(unsafe.Pointer(unsafe.SliceData(y)), 4*j)
		s0, s1, s2, s3 := load16(py, 0), load16(py, 1), load16(py, 2), load16(py, 3)
		s4, s5, s6, s7 := load16(py, 4), load16(py, 5), load16(py, 6), load16(py, 7)
		for _, i := range rows {
			v := archsimd.BroadcastFloat32x16(*(*float32)(unsafe.Add(px, 4*int(i))))
			p := unsafe.Add(pw, 4*(int(i)*n+j))
			s0 = v.MulAdd(load16(p, 0), s0)
			s1 = v.MulAdd(load16(p, 1), s1)
			s2 = v.MulAdd(load16(p, 2), s2)
			s3 = v.MulAdd(load16(p, 3), s3)
			s4 = v.MulAdd(load16(p, 4), s4)
			s5 = v.MulAdd(load16(p, 5), s5)
			s6 = v.MulAdd(load16(p, 6), s6)
			s7 = v.MulAdd(load16(p, 7), s7)
		}
		for k, s := range [...]archsimd.Float32x16{s0, s1, s2, s3, s4, s5, s6, s7} {
			s.Store((*[16]float32)(unsafe.Add(py, 4*16*k)))
		}
	}
	return j
}

// load16 reads the k-th group of sixteen numbers behind p, which the caller has checked to exist.
func load16(p unsafe.Pointer, k int) archsimd.Float32x16 {
	return archsimd.LoadFloat32x16((*[16]float32)(unsafe.Add(p, 4*16*k)))
}

// addAVX2 computes blocks of 64 columns in the same way.
func addAVX2(y, x, w []float32, rows []int32, j int) int {
	n := len(y)
	px, pw := unsafe.Pointer(unsafe.SliceData(x)), unsafe.Pointer(unsafe.SliceData(w))
	for ; j+8*8 <= n; j += 8 * 8 {
		py := unsafe.Add(unsafe.Pointer(unsafe.SliceData(y)), 4*j)
		s0, s1, s2, s3 := load8(py, 0), load8(py, 1), load8(py, 2), load8(py, 3)
		s4, s5, s6, s7 := load8(py, 4), load8(py, 5), load8(py, 6), load8(py, 7)
		for _, i := range rows {
			v := archsimd.BroadcastFloat32x8(*(*float32)(unsafe.Add(px, 4*int(i))))
			p := unsafe.Add(pw, 4*(int(i)*n+j))
			s0 = v.MulAdd(load8(p, 0), s0)
			s1 = v.MulAdd(load8(p, 1), s1)
			s2 = v.MulAdd(load8(p, 2), s2)
			s3 = v.MulAdd(load8(p, 3), s3)
			s4 = v.MulAdd(load8(p, 4), s4)
			s5 = v.MulAdd(load8(p, 5), s5)
			s6 = v.MulAdd(load8(p, 6), s6)
			s7 = v.MulAdd(load8(p, 7), s7)
		}
		for k, s := range [...]archsimd.Float32x8{s0, s1, s2, s3, s4, s5, s6, s7} {
			s.Store((*[8]float32)(unsafe.Add(py, 4*8*k)))
		}
	}
	return j
}

// load8 reads the k-th group of eight numbers behind p, which the caller has checked to exist.
func load8(p unsafe.Pointer, k int) archsimd.Float32x8 {
	return archsimd.LoadFloat32x8((*[8]float32)(unsafe.Add(p, 4*8*k)))
}
