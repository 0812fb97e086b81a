package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

// file puts a file together by hand.
func file(header string, data ...byte) []byte {
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), data...)
}

func sample() File {
	return File{
		Metadata: map[string]string{"format": "x", "note": "ä \"quoted\""},
		Tensors: map[string]Tensor{
			"b":     FromFloat32([]float32{1, -2, float32(math.Inf(1)), math.SmallestNonzeroFloat32}, 2, 2),
			"a":     FromFloat64([]float64{math.Pi}, 1),
			"step":  FromInt64([]int64{-7}),
			"empty": FromFloat32(nil, 0, 3),
		},
	}
}

func TestRoundTrip(t *testing.T) {
	want := sample()
	first, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, _ := sample().Marshal()
	if !bytes.Equal(first, again) {
		t.Error("equal content gave two different files")
	}
	got, err := Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Metadata, want.Metadata) {
		t.Errorf("metadata %v, want %v", got.Metadata, want.Metadata)
	}
	b, err := got.Tensors["b"].Float32()
	if err != nil || b[1] != -2 || !math.IsInf(float64(b[2]), 1) || b[3] != math.SmallestNonzeroFloat32 {
		t.Errorf("b = %v, %v", b, err)
	}
	if a, err := got.Tensors["a"].Float64(); err != nil || a[0] != math.Pi {
		t.Errorf("a = %v, %v", a, err)
	}
	if s, err := got.Tensors["step"].Int64(); err != nil || s[0] != -7 {
		t.Errorf("step = %v, %v", s, err)
	}
	if _, err := got.Tensors["b"].Float64(); err == nil {
		t.Error("a float32 tensor was read as float64")
	}
}

// Every file that is shorter than it should be is refused.
func TestParseRefusesCutFiles(t *testing.T) {
	whole, err := sample().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if _, err := Parse(whole[:n]); err == nil {
			t.Fatalf("%d of %d bytes were read without an error", n, len(whole))
		}
	}
}

// Every changed byte of a sealed file is refused, but for those whose change changes nothing that is read.
func TestParseRefusesDamage(t *testing.T) {
	f := sample()
	f.Seal()
	whole, err := f.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	want, err := Parse(whole)
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for i := range whole {
		for bit := range 8 {
			whole[i] ^= 1 << bit
			got, err := Parse(whole)
			whole[i] ^= 1 << bit
			if errors.Is(err, ErrDamaged) {
				damaged++
			}
			_, sealed := got.Metadata[checksumKey]
			if err == nil && sealed && fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("byte %d, bit %d: the change was not noticed", i, bit)
			}
		}
	}
	if damaged < 8*(len(whole)-400) {
		t.Errorf("%d changes of %d were found by the checksum", damaged, 8*len(whole))
	}
	f.Metadata[checksumKey] = "v2-00"
	if whole, err = f.Marshal(); err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(whole); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("a checksum of another form: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":            {nil, "8"},
		"header too long":  {file("{}")[:9], "does not fit"},
		"not JSON":         {file("nonsense"), "header"},
		"bad metadata":     {file(`{"__metadata__":{"a":1}}`), "__metadata__"},
		"bad entry":        {file(`{"a":3}`), `"a"`},
		"beyond the end":   {file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 1, 2), "bytes 0 to 4 of 2"},
		"wrong size":       {file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 1, 2, 3, 4), "instead of 8"},
		"negative shape":   {file(`{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}`), "impossible shape"},
		"shape overflows":  {file(`{"a":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,0]}}`), "impossible shape"},
		"overlap":          {file(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 1, 2, 3), "overlap"},
		"bytes at the end": {file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, 2), "follow the last"},
	} {
		if _, err := Parse(c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
	bad := File{Tensors: map[string]Tensor{"a": {F32, []int{3}, make([]byte, 4)}}}
	if _, err := bad.Marshal(); err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("a tensor with the wrong size was written: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	whole, err := sample().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		parsed, err := Parse(b)
		if err != nil {
			return
		}
		out, err := parsed.Marshal()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		for name, want := range parsed.Tensors {
			if got := again.Tensors[name]; got.DType != want.DType || !bytes.Equal(got.Bytes, want.Bytes) {
				t.Fatalf("tensor %q changed", name)
			}
		}
	})
}
