// Package conversation reads conversations from files in the forms that people have them in.
package conversation

import (
	"bytes"
	"cmp"
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

// ErrNoTurns says that no turn with text was given.
var ErrNoTurns = errors.New("no turns")

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

// NamePrefix begins every Name.
const NamePrefix = "conversation "

// Name names a conversation by what it says.
func Name(turns []chunk.Turn) string {
	data, err := json.Marshal(turns)
	if err != nil {
		panic(err) // turns are nothing but strings
	}
	return NamePrefix + fmt.Sprintf("%.8x", sha256.Sum256(data))
}

// Conversation is what a file holds.
type Conversation struct {
	Turns []chunk.Turn
	// Form names the form of the file: "turns", or what exports it.
	Form string
	// Skipped is how many messages of an export were left out because they hold no words: pictures, joins and the like.
	Skipped int
}

// ReadFile reads a conversation from a file. See Read.
func ReadFile(path string) (Conversation, error) {
	f, err := os.Open(path)
	if err != nil {
		return Conversation{}, fmt.Errorf("read a conversation: %w", err)
	}
	defer f.Close()
	return Read(f, path)
}

// Read reads a conversation: one JSON object a line, or a list of such objects,
//
//	{"session": "2024-05-03", "time": "3 May 2024", "speaker": "Ann", "text": "I moved to Bern."}
//
// or as people have them: an export of ChatGPT, Claude, Telegram, Slack, Discord or WhatsApp, or messages with a role and
// content as OpenAI, LangChain and mem0 write them. In an export each conversation, and each day of it, is a session. Of a turn
// only text is required. A session left out is "1"; an id left out is SESSION:N, N counting the session's turns from 1, or the
// next number whose id no other turn has. Empty lines are skipped. Pictures and files inside a text are replaced by a note; see
// WithoutAttachments. The first bad line ends the reading with a *LineError; name is what it calls the file. ErrNoTurns if
// nothing is in it.
func Read(r io.Reader, name string) (Conversation, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return Conversation{}, fmt.Errorf("read %s: %w", name, err)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // the mark some editors put first
	c := collector{form: "turns"}
	if bad := c.read(data); bad != nil {
		bad.File = name
		return Conversation{}, bad
	}
	if bad := c.number(); bad != nil {
		bad.File = name
		return Conversation{}, bad
	}
	if len(c.turns) == 0 {
		return Conversation{}, fmt.Errorf("%s: %w; write one a line, such as {\"speaker\": \"Ann\", \"text\": \"I moved to Bern.\"}", name, ErrNoTurns)
	}
	return Conversation{WithoutAttachments(c.turns), c.form, c.skipped}, nil
}

// collector gathers the turns of a file.
type collector struct {
	form    string
	turns   []chunk.Turn
	lines   []int // of the turns
	skipped int
	named   map[string]bool // sessions of exports
}

func (c *collector) read(data []byte) *LineError {
	if chat, ok := parseChatLog(data); ok {
		c.form, c.skipped = chat.form, chat.skipped
		for i, t := range chat.turns {
			c.add(t, chat.lines[i])
		}
		return nil
	}
	if start := bytes.TrimLeft(data, " \t\r\n"); len(start) > 0 && (start[0] == '[' || !json.Valid(firstLine(start))) {
		if values, ok := document(data); ok {
			for _, v := range values {
				if bad := c.value(v.raw, v.line); bad != nil {
					return bad
				}
			}
			return nil
		}
	}
	for n, line := range bytes.Split(data, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if bad := c.value(line, n+1); bad != nil {
				return bad
			}
		}
	}
	return nil
}

func firstLine(s []byte) []byte {
	line, _, _ := bytes.Cut(s, []byte("\n"))
	return line
}

// value takes one JSON value: a turn, a message, or a whole conversation of an export.
func (c *collector) value(raw []byte, line int) *LineError {
	fields, bad := object(raw)
	if bad == nil && isExport(fields) {
		bad = c.export(fields, line)
	} else if bad == nil {
		var t chunk.Turn
		if t, bad = parseTurn(fields); bad == nil {
			c.add(t, line)
		}
	}
	if bad != nil && bad.Line == 0 {
		bad.Line = line
	}
	return bad
}

func (c *collector) add(t chunk.Turn, line int) {
	c.turns, c.lines = append(c.turns, t), append(c.lines, line)
}

// number gives sessions and ids to the turns that have none, and refuses an id that occurs twice.
func (c *collector) number() *LineError {
	taken := map[string]int{} // id → line
	for i, t := range c.turns {
		if at, ok := taken[t.ID]; ok && t.ID != "" {
			return &LineError{Line: c.lines[i], Field: "id", Msg: fmt.Sprintf("%q is the id of line %d already; give each turn its own, or none", t.ID, at)}
		}
		taken[t.ID] = c.lines[i]
	}
	inSession := map[string]int{} // turns so far
	for i := range c.turns {
		t := &c.turns[i]
		t.Session = cmp.Or(t.Session, "1")
		inSession[t.Session]++
		for n := inSession[t.Session]; t.ID == ""; n++ {
			id := fmt.Sprintf("%s:%d", t.Session, n)
			if _, ok := taken[id]; !ok {
				t.ID, taken[id], inSession[t.Session] = id, c.lines[i], n
			}
		}
	}
	return nil
}

// object reads the fields of a JSON object; the error lacks file and line.
func object(raw []byte) (map[string]json.RawMessage, *LineError) {
	if !utf8.Valid(raw) {
		return nil, &LineError{Msg: "not UTF-8; save the file in that encoding"}
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		msg := "not a JSON object; write one object a line"
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			msg += fmt.Sprintf(" (byte %d: %v)", syntax.Offset, syntax)
		}
		return nil, &LineError{Msg: msg + "; exports are read too: " + exportForms}
	}
	return fields, nil
}

// parseTurn reads the fields of a turn; the error lacks file and line.
func parseTurn(fields map[string]json.RawMessage) (chunk.Turn, *LineError) {
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
