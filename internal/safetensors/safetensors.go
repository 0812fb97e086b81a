// Package safetensors reads and writes tensors in the safetensors format: the header's length in 8 bytes, little endian;
// the header, a JSON object of name → {dtype, shape, data_offsets} with strings under __metadata__; the tensors' bytes,
// row by row, little endian. It depends on the standard library alone.
package safetensors

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// DType is the type of a tensor's elements, as the format names it.
type DType string

// The types that this package converts; a file may hold others, which Parse keeps as bytes.
const (
	F16  DType = "F16"
	BF16 DType = "BF16"
	F32  DType = "F32"
	F64  DType = "F64"
	I64  DType = "I64"
)

// Tensor is one tensor: its bytes are little endian, row by row.
type Tensor struct {
	DType DType
	Shape []int
	Bytes []byte
}

// File is the content of a file.
type File struct {
	// Metadata are the strings that go with the tensors.
	Metadata map[string]string
	// Tensors by name.
	Tensors map[string]Tensor
}

// maxHeader bounds the header, which lists names, shapes and metadata only.
const maxHeader = 100 << 20

const metadataKey = "__metadata__"

// checksumKey is the metadata that Seal adds: a version of the form, and a SHA-256.
const (
	checksumKey  = "checksum"
	checksumForm = "v1-"
)

// ErrDamaged is wrapped by Parse's error for a file that does not agree with the checksum in it.
var ErrDamaged = errors.New("the file is damaged")

// Seal adds a checksum of everything else to the metadata. Parse compares it.
func (f *File) Seal() {
	if f.Metadata == nil {
		f.Metadata = map[string]string{}
	}
	f.Metadata[checksumKey] = f.checksum()
}

// verify compares the content with the checksum, if there is one.
func (f File) verify() error {
	got, ok := f.Metadata[checksumKey]
	switch {
	case !ok || got == f.checksum():
		return nil
	case !strings.HasPrefix(got, checksumForm):
		return fmt.Errorf("%w, or of a newer version of the program: its checksum is of the form %.3q", ErrDamaged, got)
	}
	return fmt.Errorf("%w, or was changed by a program that left its checksum as it was: metadata %q does not fit the content", ErrDamaged, checksumKey)
}

// checksum is over the metadata and tensors by name, each part with its length.
func (f File) checksum() string {
	h := sha256.New()
	number := func(n int) { h.Write(binary.LittleEndian.AppendUint64(nil, uint64(n))) }
	part := func(b []byte) { number(len(b)); h.Write(b) }
	for _, key := range slices.Sorted(maps.Keys(f.Metadata)) {
		if key != checksumKey {
			part([]byte(key))
			part([]byte(f.Metadata[key]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Tensors)) {
		t := f.Tensors[name]
		part([]byte(name))
		part([]byte(t.DType))
		number(len(t.Shape))
		for _, d := range t.Shape {
			number(d)
		}
		part(t.Bytes)
	}
	return checksumForm + hex.EncodeToString(h.Sum(nil))
}

type entry struct {
	DType   DType    `json:"dtype"`
	Shape   []int    `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

// Parse reads a file. The tensors share its memory. A file that is cut, whose tensors overlap, leave gaps, or do not have
// the size of their shape, is refused, and one that does not agree with its checksum, if it has one, with ErrDamaged.
func Parse(file []byte) (File, error) {
	if len(file) < 8 {
		return File{}, fmt.Errorf("%d bytes are fewer than the 8 of the header's length", len(file))
	}
	size := binary.LittleEndian.Uint64(file)
	if size > maxHeader || size > uint64(len(file)-8) {
		return File{}, fmt.Errorf("a header of %d bytes does not fit in a file of %d: this is no safetensors file, or it was cut", size, len(file))
	}
	var header map[string]json.RawMessage
	if err := json.Unmarshal(file[8:8+size], &header); err != nil {
		return File{}, fmt.Errorf("header: %w", err)
	}
	data := file[8+size:]
	f := File{Tensors: make(map[string]Tensor, len(header))}
	var spans [][2]int64
	for name, raw := range header {
		if name == metadataKey {
			if err := json.Unmarshal(raw, &f.Metadata); err != nil {
				return File{}, fmt.Errorf("header, %s: %w", metadataKey, err)
			}
			continue
		}
		var e entry
		if err := json.Unmarshal(raw, &e); err != nil {
			return File{}, fmt.Errorf("header, tensor %q: %w", name, err)
		}
		from, to := e.Offsets[0], e.Offsets[1]
		if from < 0 || to < from || to > int64(len(data)) {
			return File{}, fmt.Errorf("tensor %q takes bytes %d to %d of %d: the file was cut or is damaged", name, from, to, len(data))
		}
		n, err := e.DType.bytes(e.Shape)
		if err != nil {
			return File{}, fmt.Errorf("tensor %q: %w", name, err)
		}
		if n >= 0 && to-from != n {
			return File{}, fmt.Errorf("tensor %q, %s of shape %v, has %d bytes instead of %d", name, e.DType, e.Shape, to-from, n)
		}
		spans = append(spans, e.Offsets)
		f.Tensors[name] = Tensor{DType: e.DType, Shape: e.Shape, Bytes: data[from:to]}
	}
	slices.SortFunc(spans, func(a, b [2]int64) int { return slices.Compare(a[:], b[:]) })
	var end int64
	for _, s := range spans {
		if s[0] != end {
			return File{}, fmt.Errorf("tensors leave a gap or overlap at byte %d of the data", min(s[0], end))
		}
		end = s[1]
	}
	if end != int64(len(data)) {
		return File{}, fmt.Errorf("%d bytes follow the last tensor", int64(len(data))-end)
	}
	return f, f.verify()
}

// bytes returns how many bytes a tensor of a shape takes, -1 for a type that is not known here.
func (t DType) bytes(shape []int) (int64, error) {
	var size int64
	switch t {
	case F16, BF16:
		size = 2
	case F32:
		size = 4
	case F64, I64:
		size = 8
	default:
		return -1, nil
	}
	for _, d := range shape {
		if d < 0 || d > 0 && size > math.MaxInt64/2/int64(d) {
			return 0, fmt.Errorf("impossible shape %v", shape)
		}
		size *= int64(d)
	}
	return size, nil
}

// Marshal returns the file's bytes. Equal content gives equal bytes: tensors lie in the order of their names, and the
// data starts at a multiple of 8 bytes.
func (f File) Marshal() ([]byte, error) {
	header := make(map[string]any, len(f.Tensors)+1)
	if len(f.Metadata) > 0 {
		header[metadataKey] = f.Metadata
	}
	names := slices.Sorted(maps.Keys(f.Tensors))
	var end int64
	for _, name := range names {
		t := f.Tensors[name]
		if n, err := t.DType.bytes(t.Shape); err != nil || n >= 0 && n != int64(len(t.Bytes)) {
			return nil, errors.Join(fmt.Errorf("tensor %q, %s of shape %v, has %d bytes", name, t.DType, t.Shape, len(t.Bytes)), err)
		}
		next := end + int64(len(t.Bytes))
		header[name] = entry{t.DType, append([]int{}, t.Shape...), [2]int64{end, next}}
		end = next
	}
	h, err := json.Marshal(header)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	h = append(h, bytes.Repeat([]byte{' '}, (8-len(h)%8)%8)...)
	out := make([]byte, 0, 8+int64(len(h))+end)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(h)))
	out = append(out, h...)
	for _, name := range names {
		out = append(out, f.Tensors[name].Bytes...)
	}
	return out, nil
}

// FromFloat32 makes a tensor of values, row by row.
func FromFloat32(values []float32, shape ...int) Tensor {
	b := make([]byte, 0, 4*len(values))
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return Tensor{F32, shape, b}
}

// FromFloat64 makes a tensor of values, row by row.
func FromFloat64(values []float64, shape ...int) Tensor {
	b := make([]byte, 0, 8*len(values))
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return Tensor{F64, shape, b}
}

// FromInt64 makes a tensor of values, row by row.
func FromInt64(values []int64, shape ...int) Tensor {
	b := make([]byte, 0, 8*len(values))
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return Tensor{I64, shape, b}
}

// Float32 returns the tensor's values, row by row.
func (t Tensor) Float32() ([]float32, error) {
	if t.DType != F32 {
		return nil, fmt.Errorf("elements are %q instead of %s", t.DType, F32)
	}
	out := make([]float32, len(t.Bytes)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Bytes[4*i:]))
	}
	return out, nil
}

// Float64 returns the tensor's values, row by row.
func (t Tensor) Float64() ([]float64, error) {
	if t.DType != F64 {
		return nil, fmt.Errorf("elements are %q instead of %s", t.DType, F64)
	}
	out := make([]float64, len(t.Bytes)/8)
	for i := range out {
		out[i] = math.Float64frombits(binary.LittleEndian.Uint64(t.Bytes[8*i:]))
	}
	return out, nil
}

// Int64 returns the tensor's values, row by row.
func (t Tensor) Int64() ([]int64, error) {
	if t.DType != I64 {
		return nil, fmt.Errorf("elements are %q instead of %s", t.DType, I64)
	}
	out := make([]int64, len(t.Bytes)/8)
	for i := range out {
		out[i] = int64(binary.LittleEndian.Uint64(t.Bytes[8*i:]))
	}
	return out, nil
}
