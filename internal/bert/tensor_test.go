package bert

import (
	"slices"
	"testing"

	"github.com/budgetmem/budgetmem/internal/safetensors"
)

func TestParseWeights(t *testing.T) {
	file, err := safetensors.File{Tensors: map[string]safetensors.Tensor{
		"w": safetensors.FromFloat32([]float32{1, -2, 0, 3}, 2, 2),
		"s": safetensors.FromFloat32([]float32{3}),
		"i": safetensors.FromInt64([]int64{7}, 1),
	}}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseWeights(file)
	if err != nil {
		t.Fatal(err)
	}
	if w := got["w"]; !slices.Equal(w.Dims, []int{2, 2}) || !slices.Equal(w.Data, []float32{1, -2, 0, 3}) {
		t.Errorf("w = %v", w)
	}
	if w := got["w"].Transposed(); !slices.Equal(w.Data, []float32{1, 0, -2, 3}) {
		t.Errorf("transposed: %v", w)
	}
	if w := beside(got["w"], got["w"].Scaled(2)); !slices.Equal(w.Dims, []int{2, 4}) || !slices.Equal(w.Data, []float32{1, -2, 2, -4, 0, 3, 0, 6}) {
		t.Errorf("beside: %v", w)
	}
	if _, ok := got["i"]; ok || len(got) != 2 {
		t.Errorf("tensors %v, want w and s", got)
	}
	if _, err := ParseWeights(file[:len(file)-1]); err == nil {
		t.Error("no error for a file that was cut")
	}
}
