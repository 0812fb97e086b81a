package embed

import (
	"fmt"

	"github.com/budgetmem/budgetmem/internal/safetensors"
)

// tensor is one float32 tensor of a weights file, row by row.
type tensor struct {
	dims []int
	data []float32
}

// parseWeights reads the float32 tensors of a safetensors file. Tensors of other types are left out.
func parseWeights(file []byte) (map[string]tensor, error) {
	f, err := safetensors.Parse(file)
	if err != nil {
		return nil, err
	}
	all := make(map[string]tensor, len(f.Tensors))
	for name, t := range f.Tensors {
		if t.DType != safetensors.F32 {
			continue
		}
		data, err := t.Float32()
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		all[name] = tensor{dims: t.Shape, data: data}
	}
	return all, nil
}

// transposed returns the transpose of a matrix.
func (t tensor) transposed() tensor {
	rows, cols := t.dims[0], t.dims[1]
	out := tensor{dims: []int{cols, rows}, data: make([]float32, len(t.data))}
	for r := range rows {
		for c := range cols {
			out.data[c*rows+r] = t.data[r*cols+c]
		}
	}
	return out
}

// scaled returns t times a factor.
func (t tensor) scaled(by float32) tensor {
	out := tensor{dims: t.dims, data: make([]float32, len(t.data))}
	for i, v := range t.data {
		out.data[i] = v * by
	}
	return out
}

// beside joins tensors of equal shape along their last axis.
func beside(ts ...tensor) tensor {
	last := len(ts[0].dims) - 1
	width := ts[0].dims[last]
	out := tensor{dims: append([]int(nil), ts[0].dims...)}
	out.dims[last] = width * len(ts)
	for row := 0; row < len(ts[0].data); row += width {
		for _, t := range ts {
			out.data = append(out.data, t.data[row:row+width]...)
		}
	}
	return out
}
