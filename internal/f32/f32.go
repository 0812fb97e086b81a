// Package f32 writes vectors as bytes, little-endian float32, as files, databases and endpoints take them.
package f32

import (
	"encoding/binary"
	"math"
)

// Bytes returns the numbers' bytes, 4 each.
func Bytes(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

// FromBytes returns the numbers of bytes; up to 3 left over at the end are dropped.
func FromBytes(b []byte) []float32 {
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}
