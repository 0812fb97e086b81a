// Package sealed puts checksums into JSON, so that damage is noticed: into the lines of a file, where it has a line number, and
// into files of one object. Each object gets a last member, "sum", with the version of the form and the start of the SHA-256 of
// the object without it. Any reader of JSON can read the result.
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

// Seal and open files of one object, which is indented by two spaces and has at least one member.
const (
	fileMember = ",\n  \"sum\": \""
	fileEnd    = "\"\n}"
	fileLength = len(fileMember) + len(version) + digits + len(fileEnd)
)

// SealFile returns an indented JSON object with its checksum, and with a newline behind it.
func SealFile(object []byte) []byte {
	object = bytes.TrimSpace(object)
	out := bytes.Clone(bytes.TrimSuffix(object, []byte("\n}")))
	out = append(out, fileMember+version...)
	out = append(out, checksum(object)...)
	return append(out, fileEnd+"\n"...)
}

// OpenFile returns the object of a file without its checksum and without white space around it. One without a checksum, as earlier
// versions wrote it, is returned as it is. The error wraps ErrFileDamaged.
func OpenFile(data []byte) ([]byte, error) {
	data = bytes.TrimSpace(data)
	at := len(data) - fileLength
	if at < 1 || !bytes.HasPrefix(data[at:], []byte(fileMember)) || !bytes.HasSuffix(data, []byte(fileEnd)) {
		return data, nil
	}
	sum := data[at+len(fileMember) : len(data)-len(fileEnd)]
	object := append(bytes.Clone(data[:at]), "\n}"...)
	switch {
	case !bytes.HasPrefix(sum, []byte(version)):
		return nil, fmt.Errorf("%w, or of a newer version of the program: its checksum is of the form %.3q", ErrFileDamaged, sum)
	case string(sum[len(version):]) != checksum(object):
		return nil, fmt.Errorf("%w or was edited: its checksum is wrong; restore it, or undo the change", ErrFileDamaged)
	}
	return object, nil
}

// ErrFileDamaged is wrapped by the error for a file that is not as it was written.
var ErrFileDamaged = errors.New("the file is damaged")
