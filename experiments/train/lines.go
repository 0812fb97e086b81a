package train

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/sealed"
)

// writeLines replaces a file of JSON lines, and gives each a checksum.
func writeLines(path string, lines []json.RawMessage) error {
	var b bytes.Buffer
	for _, l := range lines {
		b.Write(sealed.Seal(l))
		b.WriteByte('\n')
	}
	return atomicfile.WriteFile(path, b.Bytes(), 0o644)
}

// readLines reads a file of JSON lines; none if there is no file.
func readLines(path string) ([]json.RawMessage, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []json.RawMessage
	var lines sealed.Reader
	for n, line := range bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		line, err := lines.Open(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w; restore the file, or remove it to have it made again", path, n+1, err)
		}
		if !json.Valid(line) {
			return nil, fmt.Errorf("%s:%d: not JSON", path, n+1)
		}
		out = append(out, line)
	}
	return out, nil
}

func hashOf(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}
