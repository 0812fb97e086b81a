// Package child has what programs need that are run by this one.
package child

import (
	"bytes"
	"strings"
	"sync"
)

// Tail keeps the end of a program's output, which says why it failed. Safe for concurrent use.
type Tail struct {
	// Bytes is how much is kept; 0 keeps nothing.
	Bytes int

	mu   sync.Mutex
	text []byte
}

// Write takes all of p and never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-t.Bytes):]
	return len(p), nil
}

// String returns what is kept, without space around it.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}

// Lines returns the last n lines that are kept, on one line.
func (t *Tail) Lines(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := bytes.Split(bytes.TrimSpace(t.text), []byte("\n"))
	return strings.TrimSpace(string(bytes.Join(lines[max(0, len(lines)-n):], []byte("; "))))
}
