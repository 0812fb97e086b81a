package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
)

// FromFloat16 makes a tensor of half-precision numbers from values, row by row, each rounded to the nearest, ties to even.
// A value too large for the type becomes infinite.
func FromFloat16(values []float32, shape ...int) Tensor {
	b := make([]byte, 0, 2*len(values))
	for _, v := range values {
		b = binary.LittleEndian.AppendUint16(b, toHalf(v))
	}
	return Tensor{F16, shape, b}
}

// AsFloat32 returns the values of an F32, F16 or BF16 tensor, row by row. All numbers of these types are float32 numbers.
func (t Tensor) AsFloat32() ([]float32, error) {
	switch t.DType {
	case F32:
		return t.Float32()
	case F16, BF16:
	default:
		return nil, fmt.Errorf("elements are %q instead of %s, %s or %s", t.DType, F32, F16, BF16)
	}
	out := make([]float32, len(t.Bytes)/2)
	for i := range out {
		h := binary.LittleEndian.Uint16(t.Bytes[2*i:])
		if t.DType == BF16 {
			out[i] = math.Float32frombits(uint32(h) << 16)
		} else {
			out[i] = fromHalf(h)
		}
	}
	return out, nil
}

// Half precision (IEEE 754 binary16): 1 bit sign, 5 bits exponent with bias 15, 10 bits mantissa.

func toHalf(v float32) uint16 {
	bits := math.Float32bits(v)
	sign := uint16(bits >> 16 & 0x8000)
	abs := math.Abs(float64(v))
	switch {
	case math.IsNaN(abs):
		return sign | 0x7e00
	case abs >= 65520: // rounds beyond the largest, 65504
		return sign | 0x7c00
	case abs < 1.0/(1<<14): // subnormal: a multiple of 2^-24, which may round up to the smallest normal number
		return sign | uint16(math.RoundToEven(abs*(1<<24)))
	}
	fraction, exponent := math.Frexp(abs) // in [0.5, 1)
	// A mantissa that rounds up to 2 carries into the exponent, as the bits are laid out.
	return sign | (uint16((exponent+13)<<10) + uint16(math.RoundToEven(fraction*2048)))
}

func fromHalf(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent, mantissa := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0:
		v := math.Ldexp(float64(mantissa), -24)
		return math.Float32frombits(sign | math.Float32bits(float32(v)))
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | mantissa<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | mantissa<<13)
}
