package store

import (
	"database/sql"
	"fmt"
	"hash/crc32"

	"github.com/budgetmem/budgetmem/internal/f32"
)

// Rows carry a CRC-32C of what they hold, which is compared whenever they are read: it takes no time that shows, and finds every
// flipped bit. Rows of schema 3 and before have NULL.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumOf is the checksum of the parts of a row, with an end behind each.
func sumOf(parts ...string) int64 {
	var sum uint32
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, []byte(p))
		sum = crc32.Update(sum, castagnoli, []byte{0})
	}
	return int64(sum)
}

// sumOfBytes is that of a blob.
func sumOfBytes(b []byte) int64 { return int64(crc32.Checksum(b, castagnoli)) }

// fits compares a checksum with the stored one.
func fits(stored sql.NullInt64, sum int64, what string, args ...any) error {
	if !stored.Valid || stored.Int64 == sum {
		return nil
	}
	return fmt.Errorf("%w: the checksum of %s is wrong", ErrCorrupt, fmt.Sprintf(what, args...))
}

// sealedBody is the JSON of a chunk with its checksum, as two columns of a row.
type sealedBody struct {
	text string
	sum  sql.NullInt64
}

// open decodes it.
func (b sealedBody) open(to *stored) error {
	if err := fits(b.sum, sumOf(b.text), "a chunk"); err != nil {
		return err
	}
	return unmarshal(b.text, to)
}

// sealed are the columns of what has a checksum since schema 4.
const sealed = `ALTER TABLE turn ADD COLUMN sum INTEGER; ALTER TABLE chunk ADD COLUMN sum INTEGER;
	ALTER TABLE embedded ADD COLUMN sum INTEGER; ALTER TABLE vector ADD COLUMN sum INTEGER;`

// pack puts vectors side by side, each of width dim.
func pack(numbers []float32, dim int) Vectors {
	b := f32.Bytes(numbers)
	return Vectors{Numbers: numbers, Dim: dim, sum: sumOfBytes(b), size: len(b)}
}

// checkVectors compares all vectors with their checksums.
func checkVectors(tx Tx) error {
	for what, query := range map[string]string{"the vectors of a chunk": "SELECT vectors, sum FROM embedded", "a vector": "SELECT value, sum FROM vector"} {
		err := each(tx, func(rows Rows) error {
			var v Vectors
			var sum sql.NullInt64
			if err := rows.Scan(&v, &sum); err != nil {
				return err
			}
			return fits(sum, v.sum, "%s", what)
		}, query)
		if err != nil {
			return err
		}
	}
	return nil
}
