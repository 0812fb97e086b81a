package safetensors

import (
	"math"
	"testing"
)

// Every half-precision number survives the way to float32 and back, and what lies between two goes to the nearer one.
func TestHalf(t *testing.T) {
	for h := range 1 << 16 {
		v := fromHalf(uint16(h))
		if math.IsNaN(float64(v)) {
			if !math.IsNaN(float64(fromHalf(toHalf(v)))) {
				t.Fatalf("%#x: NaN became %v", h, fromHalf(toHalf(v)))
			}
			continue
		}
		if got := toHalf(v); got != uint16(h) {
			t.Fatalf("%#x is %v, which became %#x", h, v, got)
		}
	}
	for h := range 0x7bff {
		low, high := fromHalf(uint16(h)), fromHalf(uint16(h+1))
		middle := (low + high) / 2
		want := uint16(h) // ties go to the even one
		if h%2 == 1 {
			want++
		}
		if got := toHalf(middle); got != want {
			t.Fatalf("between %v and %v: %v became %#x, want %#x", low, high, middle, got, want)
		}
		if got := toHalf(math.Nextafter32(middle, high)); got != uint16(h+1) {
			t.Fatalf("just above the middle of %v and %v: %#x", low, high, got)
		}
	}
	for v, want := range map[float32]uint16{65504: 0x7bff, 65519: 0x7bff, 65520: 0x7c00, -1e30: 0xfc00, 1: 0x3c00, -2: 0xc000, 1e-10: 0} {
		if got := toHalf(v); got != want {
			t.Errorf("%v became %#x, want %#x", v, got, want)
		}
	}
	values := []float32{1, -0.5, 1.0 / 3}
	got, err := FromFloat16(values, 3).AsFloat32()
	if err != nil || got[0] != 1 || got[1] != -0.5 || math.Abs(float64(got[2]-values[2])) > 1e-4 {
		t.Errorf("%v, %v", got, err)
	}
	bf := Tensor{DType: BF16, Shape: []int{1}, Bytes: []byte{0x80, 0x3f}}
	if got, err := bf.AsFloat32(); err != nil || got[0] != 1 {
		t.Errorf("bfloat16 1 is %v, %v", got, err)
	}
	if _, err := FromInt64([]int64{1}, 1).AsFloat32(); err == nil {
		t.Error("whole numbers were read as float32")
	}
}
