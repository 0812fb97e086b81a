package postgres

import (
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/internal/f32"
)

// vectorType are the types of pgvector's vector and of arrays of it in one database; 0 where vectors are bytes.
type vectorType struct{ array, element uint32 }

// register lets a connection read and write arrays of vectors.
func (v vectorType) register(m *pgtype.Map) {
	m.RegisterType(&pgtype.Type{Name: "_vector", OID: v.array, Codec: vectorCodec{v.element}})
}

// vectorCodec reads and writes store.Vectors as an array of vectors in the binary form: PostgreSQL's of an array, and in it pgvector's of
// a vector (src/vector.c, vector_recv): the dimensions and a reserved number of two bytes each, then float32, the highest byte first.
type vectorCodec struct{ element uint32 }

const arrayHeader = 20 // dimensions, whether there are NULLs, type of the elements, length, lower bound

// FormatSupported implements pgtype.Codec.
func (vectorCodec) FormatSupported(format int16) bool { return format == pgx.BinaryFormatCode }

// PreferredFormat implements pgtype.Codec.
func (vectorCodec) PreferredFormat() int16 { return pgx.BinaryFormatCode }

// PlanEncode implements pgtype.Codec.
func (c vectorCodec) PlanEncode(_ *pgtype.Map, _ uint32, _ int16, value any) pgtype.EncodePlan {
	if _, ok := value.(store.Vectors); ok {
		return c
	}
	return nil
}

// Encode implements pgtype.EncodePlan.
func (c vectorCodec) Encode(value any, b []byte) ([]byte, error) {
	v := value.(store.Vectors)
	if v.Dim < 1 || len(v.Numbers)%v.Dim != 0 {
		return nil, fmt.Errorf("%d numbers are no vectors of width %d", len(v.Numbers), v.Dim)
	}
	big := binary.BigEndian
	for _, n := range []uint32{1, 0, c.element, uint32(len(v.Numbers) / v.Dim), 1} {
		b = big.AppendUint32(b, n)
	}
	for i, x := range v.Numbers {
		if i%v.Dim == 0 {
			b = big.AppendUint32(b, uint32(4+4*v.Dim))
			b = big.AppendUint32(b, uint32(v.Dim)<<16)
		}
		b = big.AppendUint32(b, math.Float32bits(x))
	}
	return b, nil
}

// PlanScan implements pgtype.Codec.
func (c vectorCodec) PlanScan(_ *pgtype.Map, _ uint32, _ int16, target any) pgtype.ScanPlan {
	if _, ok := target.(*store.Vectors); ok {
		return c
	}
	return nil
}

var errVectors = fmt.Errorf("%w: a column of vectors holds something else", store.ErrCorrupt)

// Scan implements pgtype.ScanPlan.
func (vectorCodec) Scan(b []byte, target any) error {
	to := target.(*store.Vectors)
	if b == nil {
		return to.Scan(nil)
	}
	big := binary.BigEndian
	var numbers []float32
	if len(b) >= 4 && big.Uint32(b) == 0 { // no dimension is an empty array
		return to.Scan([]byte{})
	}
	if len(b) < arrayHeader || big.Uint32(b) != 1 {
		return errVectors
	}
	n := int(big.Uint32(b[12:]))
	for b = b[arrayHeader:]; n > 0; n-- {
		if len(b) < 8 {
			return errVectors
		}
		size, dim := int(int32(big.Uint32(b))), int(big.Uint16(b[4:]))
		if size != 4+4*dim || len(b) < 4+size {
			return errVectors
		}
		for x := b[8 : 4+size]; len(x) > 0; x = x[4:] {
			numbers = append(numbers, math.Float32frombits(big.Uint32(x)))
		}
		b = b[4+size:]
	}
	return to.Scan(f32.Bytes(numbers))
}

// DecodeDatabaseSQLValue implements pgtype.Codec; nothing here reads vectors that way.
func (vectorCodec) DecodeDatabaseSQLValue(*pgtype.Map, uint32, int16, []byte) (driver.Value, error) {
	return nil, errVectors
}

// DecodeValue implements pgtype.Codec; nothing here reads vectors that way.
func (vectorCodec) DecodeValue(*pgtype.Map, uint32, int16, []byte) (any, error) {
	return nil, errVectors
}
