// Package sealed puts checksums into lines of JSON, so that damage to a file of them is noticed and has a line number. Each
// object gets a last member, "sum", with the version of the form and the start of the SHA-256 of the object without it. Any
// reader of JSON Lines can read the result.
package sealed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrDamaged is wrapped by the error for a line that is not as it was written.
var ErrDamaged = errors.New("the line is damaged")

const (
	prefix  = `,"sum":"`
	version = "v1-"
	suffix  = `"}`
	digits  = 16
	length  = len(prefix) + len(version) + digits + len(suffix)
)

// Seal returns a JSON object, which has at least one member, with its checksum.
func Seal(object []byte) []byte {
	out := make([]byte, 0, len(object)-1+length)
	out = append(out, object[:len(object)-1]...)
	out = append(out, prefix+version...)
	out = append(out, checksum(object)...)
	return append(out, suffix...)
}

func checksum(object []byte) string {
	h := sha256.Sum256(object)
	return hex.EncodeToString(h[:])[:digits]
}

// Reader takes checksums out of lines, given one after the other. Lines without one are read as they are, as earlier versions
// wrote them, but only before the first with one.
type Reader struct{ sealed bool }

// Open returns a line without its checksum. The error wraps ErrDamaged.
func (r *Reader) Open(line []byte) ([]byte, error) {
	at := len(line) - length
	if at < 1 || !bytes.HasPrefix(line[at:], []byte(prefix)) || !bytes.HasSuffix(line, []byte(suffix)) {
		if r.sealed {
			return nil, fmt.Errorf("%w: it has no checksum, and lines before it have", ErrDamaged)
		}
		return line, nil
	}
	r.sealed = true
	sum := line[at+len(prefix) : len(line)-len(suffix)]
	if !bytes.HasPrefix(sum, []byte(version)) {
		return nil, fmt.Errorf("%w, or of a newer version of the program: its checksum is of the form %.3q", ErrDamaged, sum)
	}
	object := append(bytes.Clone(line[:at]), '}')
	if string(sum[len(version):]) != checksum(object) {
		return nil, fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	return object, nil
}
