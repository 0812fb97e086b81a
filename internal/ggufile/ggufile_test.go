package ggufile

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/gomlx/go-huggingface/models/gguf"
)

func bytesOf(data string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, data); return err }
}

// A reader of GGUF files finds every type of metadata and the tensors as they were written.
func TestWrite(t *testing.T) {
	pairs := []Pair{
		{"a", uint8(1)}, {"b", int8(-1)}, {"c", uint16(2)}, {"d", int16(-2)}, {"e", uint32(3)}, {"f", int32(-3)}, {"g", float32(0.5)},
		{"h", true}, {"i", "text"}, {"j", uint64(4)}, {"k", int64(-4)}, {"l", 0.25},
		{"m", []uint8{1, 2}}, {"n", []int32{-1}}, {"o", []string{"x", "", "zz"}}, {"p", []bool{true, false}}, {"q", []float64{}}, {"r", []float32{1}},
		{gguf.KeyGeneralAlignment, uint32(64)},
	}
	tensors := []Tensor{
		{Name: "one", Shape: []uint64{3}, Type: gguf.TensorTypeF32, Size: 12, Write: bytesOf("abcdefghijkl")},
		{Name: "two", Shape: []uint64{2, 1}, Type: gguf.TensorTypeF16, Size: 4, Write: bytesOf("mnop")},
	}
	var b bytes.Buffer
	if err := Write(&b, pairs, tensors); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range pairs {
		if kv := f.KeyValues[i]; kv.Key != p.Key || !reflect.DeepEqual(kv.Raw(), p.Value) {
			t.Errorf("%s is %T %v, want %T %v", kv.Key, kv.Raw(), kv.Raw(), p.Value, p.Value)
		}
	}
	if f.Alignment != 64 || f.DataOffset()%64 != 0 || b.Len()%64 != 0 {
		t.Errorf("alignment %d, data from byte %d of %d", f.Alignment, f.DataOffset(), b.Len())
	}
	r, err := gguf.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i, want := range []string{"abcdefghijkl", "mnop"} {
		data, info, err := r.ReadTensorRaw(tensors[i].Name)
		if err != nil || string(data) != want || !reflect.DeepEqual(info.Shape, tensors[i].Shape) || info.Type != tensors[i].Type {
			t.Errorf("%s: %q %+v, %v", tensors[i].Name, data, info, err)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		pairs   []Pair
		tensors []Tensor
	}{
		"no value":    {[]Pair{{"a", nil}}, nil},
		"a map":       {[]Pair{{"a", map[string]int{}}}, nil},
		"an int":      {[]Pair{{"a", 1}}, nil},
		"too short":   {nil, []Tensor{{Name: "x", Size: 4, Write: bytesOf("abc")}}},
		"too long":    {nil, []Tensor{{Name: "x", Size: 2, Write: bytesOf("abc")}}},
		"write fails": {nil, []Tensor{{Name: "x", Size: 2, Write: func(io.Writer) error { return broken }}}},
	} {
		err := Write(io.Discard, c.pairs, c.tensors)
		if err == nil || name == "write fails" && !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
