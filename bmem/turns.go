package bmem

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// turnFields are the fields of a line of turns.
var turnFields = []string{"id", "session", "time", "speaker", "text"}

// LineError says what is wrong with a line of a file of turns, and what to do about it.
type LineError struct {
	File  string
	Line  int    // counted from 1
	Field string // "" if the line as a whole is wrong
	Msg   string
}

// Error gives file:line, the field and the message.
func (e *LineError) Error() string {
	where := fmt.Sprintf("%s:%d", e.File, e.Line)
	if e.Field != "" {
		where += fmt.Sprintf(": field %q", e.Field)
	}
	return where + ": " + e.Msg
}

// ReadTurnsFile reads the turns of a conversation from a file. See ReadTurns.
func ReadTurnsFile(path string) ([]chunk.Turn, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read a conversation: %w", err)
	}
	defer f.Close()
	return ReadTurns(f, path)
}

// ContentName names a conversation by what it says, so that an edited one is another memory. Vectors are shared.
func ContentName(turns []chunk.Turn) string {
	data, err := json.Marshal(turns)
	if err != nil {
		panic(err) // turns are nothing but strings
	}
	return fmt.Sprintf("conversation %.8x", sha256.Sum256(data))
}

// ReadTurns reads a conversation, one JSON object a line:
//
//	{"session": "2024-05-03", "time": "3 May 2024", "speaker": "Ann", "text": "I moved to Bern."}
//
// Only text is required. A session left out is "1"; an id left out is SESSION:N, N counting the session's turns from 1.
// Empty lines are skipped. The first bad line ends the reading with a *LineError; name is what it calls the file.
func ReadTurns(r io.Reader, name string) ([]chunk.Turn, error) {
	var turns []chunk.Turn
	lines := map[string]int{}     // id → line
	inSession := map[string]int{} // turns so far
	in := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read %s, line %d: %w", name, n, err)
		}
		last := err != nil
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff")) // the mark some editors put first
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			t, bad := parseTurn(line)
			if bad == nil {
				if t.Session == "" {
					t.Session = "1"
				}
				inSession[t.Session]++
				if t.ID == "" {
					t.ID = fmt.Sprintf("%s:%d", t.Session, inSession[t.Session])
				}
				if at, taken := lines[t.ID]; taken {
					bad = &LineError{Field: "id", Msg: fmt.Sprintf("%q is the id of line %d already; give each turn its own, or none", t.ID, at)}
				}
				lines[t.ID] = n
			}
			if bad != nil {
				bad.File, bad.Line = name, n
				return nil, bad
			}
			turns = append(turns, t)
		}
		if last {
			break
		}
	}
	if len(turns) == 0 {
		return nil, fmt.Errorf("%s: %w; write one a line, such as {\"speaker\": \"Ann\", \"text\": \"I moved to Bern.\"}", name, ErrNoTurns)
	}
	return turns, nil
}

// parseTurn reads one line; the error lacks file and line.
func parseTurn(line []byte) (chunk.Turn, *LineError) {
	if !utf8.Valid(line) {
		return chunk.Turn{}, &LineError{Msg: "not UTF-8; save the file in that encoding"}
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil || fields == nil {
		msg := "not a JSON object; write one object a line"
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			msg += fmt.Sprintf(" (byte %d: %v)", syntax.Offset, syntax)
		}
		return chunk.Turn{}, &LineError{Msg: msg}
	}
	var t chunk.Turn
	to := map[string]*string{"id": &t.ID, "session": &t.Session, "time": &t.Time, "speaker": &t.Speaker, "text": &t.Text}
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names) // so that a line with two faults always names the same one
	for _, name := range names {
		dst, ok := to[name]
		if !ok {
			return chunk.Turn{}, &LineError{Field: name, Msg: "no such field; a turn has " + strings.Join(turnFields, ", ")}
		}
		var s *string
		if err := json.Unmarshal(fields[name], &s); err != nil {
			return chunk.Turn{}, &LineError{Field: name, Msg: fmt.Sprintf("want a string, got %s; put it in quotes", abbreviate(string(fields[name]), 40))}
		}
		if s != nil { // null is as good as absent
			*dst = strings.TrimSpace(*s)
		}
	}
	if t.Text == "" {
		return chunk.Turn{}, &LineError{Field: "text", Msg: "missing or empty; say what was said, or remove the line"}
	}
	return t, nil
}

// abbreviate cuts s to at most n runes.
func abbreviate(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}
