package embed

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// file puts a header and data into the safetensors format.
func file(header string, data ...byte) []byte {
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), data...)
}

func TestParseSafetensors(t *testing.T) {
	data := []byte{0, 0, 128, 63, 0, 0, 0, 192, 0, 0, 0, 0, 0, 0, 64, 64, 7, 7} // 1, -2, 0, 3 and two bytes of another type
	got, err := parseSafetensors(file(`{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},
		"h":{"dtype":"F16","shape":[1],"data_offsets":[16,18]},"s":{"dtype":"F32","shape":[],"data_offsets":[12,16]}}`, data...))
	if err != nil {
		t.Fatal(err)
	}
	if w := got["w"]; !slices.Equal(w.dims, []int{2, 2}) || !slices.Equal(w.data, []float32{1, -2, 0, 3}) {
		t.Errorf("w = %v", w)
	}
	if w := got["w"].transposed(); !slices.Equal(w.data, []float32{1, 0, -2, 3}) {
		t.Errorf("transposed: %v", w)
	}
	if w := beside(got["w"], got["w"].scaled(2)); !slices.Equal(w.dims, []int{2, 4}) || !slices.Equal(w.data, []float32{1, -2, 2, -4, 0, 3, 0, 6}) {
		t.Errorf("beside: %v", w)
	}
	if _, ok := got["h"]; ok || len(got) != 2 {
		t.Errorf("tensors %v, want w and s", got)
	}
	for name, bad := range map[string]struct {
		file []byte
		want string
	}{
		"empty":           {nil, "shorter"},
		"long header":     {binary.LittleEndian.AppendUint64(nil, 1<<40), "does not fit"},
		"no JSON":         {file("{"), "header"},
		"offsets":         {file(`{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`), `tensor "w"`},
		"negative offset": {file(`{"w":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}`, data...), `tensor "w"`},
		"size":            {file(`{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,16]}}`, data...), "has 16 bytes instead of 12"},
		"huge shape":      {file(`{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}}`, data...), "impossible shape"},
		"negative shape":  {file(`{"w":{"dtype":"F32","shape":[-2,-2],"data_offsets":[0,16]}}`, data...), "impossible shape"},
	} {
		if _, err := parseSafetensors(bad.file); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want a mention of %q", name, err, bad.want)
		}
	}
}

func FuzzParseSafetensors(f *testing.F) {
	f.Add(file(`{"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}`, 1, 2, 3, 4, 5, 6, 7, 8))
	f.Add(file(`{"__metadata__":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := parseSafetensors(data)
		if err != nil {
			return
		}
		for name, w := range all {
			n := 1
			for _, d := range w.dims {
				n *= d
			}
			if n != len(w.data) {
				t.Errorf("tensor %q of shape %v has %d elements", name, w.dims, len(w.data))
			}
		}
	})
}
