package bert

import (
	"fmt"

	"github.com/budgetmem/budgetmem/internal/safetensors"
)

// Tensor is one float32 tensor of a weights file, row by row.
type Tensor struct {
	Dims []int
	Data []float32
}

// ParseWeights reads the float32 tensors of a safetensors file. Tensors of other types are left out.
func ParseWeights(file []byte) (map[string]Tensor, error) {
	f, err := safetensors.Parse(file)
	if err != nil {
		return nil, err
	}
	all := make(map[string]Tensor, len(f.Tensors))
	for name, t := range f.Tensors {
		if t.DType != safetensors.F32 {
			continue
		}
		data, err := t.Float32()
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		all[name] = Tensor{Dims: t.Shape, Data: data}
	}
	return all, nil
}

// Transposed returns the transpose of a matrix.
func (t Tensor) Transposed() Tensor {
	rows, cols := t.Dims[0], t.Dims[1]
	out := Tensor{Dims: []int{cols, rows}, Data: make([]float32, len(t.Data))}
	for r := range rows {
		for c := range cols {
			out.Data[c*rows+r] = t.Data[r*cols+c]
		}
	}
	return out
}

// Scaled returns t times a factor.
func (t Tensor) Scaled(by float32) Tensor {
	out := Tensor{Dims: t.Dims, Data: make([]float32, len(t.Data))}
	for i, v := range t.Data {
		out.Data[i] = v * by
	}
	return out
}

// beside joins tensors of equal shape along their last axis.
func beside(ts ...Tensor) Tensor {
	last := len(ts[0].Dims) - 1
	width := ts[0].Dims[last]
	out := Tensor{Dims: append([]int(nil), ts[0].Dims...)}
	out.Dims[last] = width * len(ts)
	for row := 0; row < len(ts[0].Data); row += width {
		for _, t := range ts {
			out.Data = append(out.Data, t.Data[row:row+width]...)
		}
	}
	return out
}

// columns returns n columns of a matrix, or n values of a vector, from one on.
func (t Tensor) columns(from, n int) Tensor {
	width := t.Dims[len(t.Dims)-1]
	out := Tensor{Dims: append([]int(nil), t.Dims...)}
	out.Dims[len(t.Dims)-1] = n
	for row := 0; row < len(t.Data); row += width {
		out.Data = append(out.Data, t.Data[row+from:row+from+n]...)
	}
	return out
}
