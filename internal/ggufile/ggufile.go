// Package ggufile writes model files in the GGUF format, version 3, as the GGUF specification of ggml describes it.
package ggufile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/gomlx/go-huggingface/models/gguf"
)

// Pair is an entry of the metadata. Value is a number, a bool, a string, or a slice of one of these.
type Pair struct {
	Key   string
	Value any
}

// Tensor describes a tensor and writes its data.
type Tensor struct {
	Name string
	// Shape has the fastest-moving dimension first.
	Shape []uint64
	Type  gguf.TensorType
	// Write writes Size bytes.
	Size  int64
	Write func(io.Writer) error
}

// alignment of the data of tensors, in bytes, where the metadata names none.
const alignment = 32

// Write writes a file. The data of tensors is written one after the other, as their Write functions give it. A value of another type,
// a tensor whose Write gives another number of bytes, and errors of w and of these functions are errors.
func Write(w io.Writer, pairs []Pair, tensors []Tensor) error {
	var head bytes.Buffer
	align := int64(alignment)
	head.WriteString("GGUF")
	put(&head, uint32(3))
	put(&head, uint64(len(tensors)))
	put(&head, uint64(len(pairs)))
	for _, p := range pairs {
		text(&head, p.Key)
		if err := value(&head, p.Value); err != nil {
			return fmt.Errorf("metadata %s: %w", p.Key, err)
		}
		if n, ok := p.Value.(uint32); ok && p.Key == gguf.KeyGeneralAlignment && n > 0 {
			align = int64(n)
		}
	}
	offset := int64(0)
	for _, t := range tensors {
		text(&head, t.Name)
		put(&head, uint32(len(t.Shape)))
		put(&head, t.Shape)
		put(&head, uint32(t.Type))
		put(&head, uint64(offset))
		offset += padded(t.Size, align)
	}
	head.Write(make([]byte, padded(int64(head.Len()), align)-int64(head.Len())))
	if _, err := w.Write(head.Bytes()); err != nil {
		return err
	}
	for _, t := range tensors {
		c := &counter{w: w}
		if err := t.Write(c); err != nil {
			return fmt.Errorf("tensor %s: %w", t.Name, err)
		}
		if c.n != t.Size {
			return fmt.Errorf("tensor %s: %d bytes were written, want %d", t.Name, c.n, t.Size)
		}
		if _, err := w.Write(make([]byte, padded(t.Size, align)-t.Size)); err != nil {
			return err
		}
	}
	return nil
}

func padded(n, align int64) int64 { return (n + align - 1) / align * align }

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// The numbers of the types of metadata: kinds has those of single values, by their Go types.
const (
	kindString = 8
	kindArray  = 9
)

var kinds = map[reflect.Kind]uint32{
	reflect.Uint8: 0, reflect.Int8: 1, reflect.Uint16: 2, reflect.Int16: 3, reflect.Uint32: 4, reflect.Int32: 5, reflect.Float32: 6,
	reflect.Bool: 7, reflect.String: kindString, reflect.Uint64: 10, reflect.Int64: 11, reflect.Float64: 12,
}

// value writes the number of its type, and a value.
func value(b *bytes.Buffer, v any) error {
	t := reflect.TypeOf(v)
	list := t != nil && t.Kind() == reflect.Slice
	if list {
		put(b, uint32(kindArray))
		t = t.Elem()
	}
	if t == nil {
		return errors.New("there is no value")
	}
	kind, ok := kinds[t.Kind()]
	if !ok {
		return fmt.Errorf("values of type %T cannot be written", v)
	}
	put(b, kind)
	if list {
		put(b, uint64(reflect.ValueOf(v).Len()))
	}
	switch v := v.(type) {
	case string:
		text(b, v)
	case []string:
		for _, s := range v {
			text(b, s)
		}
	default:
		put(b, v)
	}
	return nil
}

func text(b *bytes.Buffer, s string) {
	put(b, uint64(len(s)))
	b.WriteString(s)
}

// put writes numbers, which cannot fail.
func put(b *bytes.Buffer, v any) {
	if err := binary.Write(b, binary.LittleEndian, v); err != nil {
		panic(err)
	}
}
