package f32

import (
	"bytes"
	"slices"
	"testing"
)

func TestBytes(t *testing.T) {
	v := []float32{1, -2, 0}
	want := []byte{0, 0, 128, 63, 0, 0, 0, 192, 0, 0, 0, 0} // IEEE 754, the lowest byte first
	if got := Bytes(v); !bytes.Equal(got, want) {
		t.Errorf("bytes %v, want %v", got, want)
	}
	if got := FromBytes(append(want, 1, 2, 3)); !slices.Equal(got, v) {
		t.Errorf("numbers %v, want %v", got, v)
	}
}
