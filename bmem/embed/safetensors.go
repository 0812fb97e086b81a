package embed

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// tensor is one float32 tensor of a weights file, row by row.
type tensor struct {
	dims []int
	data []float32
}

// maxHeader bounds the header of a weights file, which lists names and shapes only.
const maxHeader = 100 << 20

// parseSafetensors reads the float32 tensors of a file in the safetensors format: the header's length in 8 bytes, little
// endian; the header, a JSON object of name → {dtype, shape, data_offsets}; the raw little-endian data. Tensors of other
// types are left out.
func parseSafetensors(file []byte) (map[string]tensor, error) {
	if len(file) < 8 {
		return nil, errors.New("shorter than the 8 bytes of the header's length")
	}
	size := binary.LittleEndian.Uint64(file)
	if size > maxHeader || size > uint64(len(file)-8) {
		return nil, fmt.Errorf("a header of %d bytes does not fit in a file of %d", size, len(file))
	}
	var header map[string]json.RawMessage
	if err := json.Unmarshal(file[8:8+size], &header); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	data := file[8+size:]
	tensors := make(map[string]tensor, len(header))
	for name, raw := range header {
		if name == "__metadata__" {
			continue
		}
		var entry struct {
			DType   string `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}
		if err := json.Unmarshal(raw, &entry); err != nil {
			return nil, fmt.Errorf("header, tensor %q: %w", name, err)
		}
		from, to := entry.Offsets[0], entry.Offsets[1]
		if from < 0 || to < from || to > len(data) {
			return nil, fmt.Errorf("tensor %q: bytes %d to %d of %d", name, from, to, len(data))
		}
		if entry.DType != "F32" {
			continue
		}
		elements := 1
		for _, d := range entry.Shape {
			if d < 0 || d > 0 && elements > math.MaxInt32/d {
				return nil, fmt.Errorf("tensor %q: impossible shape %v", name, entry.Shape)
			}
			elements *= d
		}
		if to-from != 4*elements {
			return nil, fmt.Errorf("tensor %q of shape %v has %d bytes instead of %d", name, entry.Shape, to-from, 4*elements)
		}
		values := make([]float32, elements)
		for i := range values {
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[from+4*i:]))
		}
		tensors[name] = tensor{dims: entry.Shape, data: values}
	}
	return tensors, nil
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
