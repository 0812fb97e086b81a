package main

import (
	"io"
	"strings"
	"unicode/utf8"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// terminal is where text goes that people look at: whatever a file, a data set or a reply holds, it commands no terminal. Files and pipes get
// the bytes as they are.
type terminal struct {
	w    io.Writer
	rest []byte // the beginning of a character that is not complete yet
}

// Write implements io.Writer.
func (t *terminal) Write(p []byte) (int, error) {
	text := append(t.rest, p...)
	end := len(text)
	for i := max(0, end-utf8.UTFMax+1); i < end; i++ {
		if utf8.RuneStart(text[i]) && !utf8.FullRune(text[i:]) {
			end = i
			break
		}
	}
	t.rest = append([]byte(nil), text[end:]...)
	if _, err := io.WriteString(t.w, chunk.Plain(strings.ToValidUTF8(string(text[:end]), "\uFFFD"))); err != nil {
		return 0, err
	}
	return len(p), nil
}
