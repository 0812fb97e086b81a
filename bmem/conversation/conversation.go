// Package conversation reads conversations from files in the forms that people have them in.
package conversation

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
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

// What names begin with: NamePrefix those by Name, FilePrefix those by NameOf.
const (
	NamePrefix = "conversation "
	FilePrefix = "file "
)

// Name names a conversation by what it says.
func Name(turns []chunk.Turn) string {
	data, err := json.Marshal(turns)
	if err != nil {
		panic(err) // turns are nothing but strings
	}
	return NamePrefix + fmt.Sprintf("%.8x", sha256.Sum256(data))
}

// NameOf names a conversation by the path of the file that it is in.
func NameOf(path string) string {
	return FilePrefix + fmt.Sprintf("%s %.4x", filepath.Base(path), sha256.Sum256([]byte(path)))
}

// Conversation is what a file holds.
type Conversation struct {
	Turns []chunk.Turn
	Seen
}

// Seen says what was seen in a file.
type Seen struct {
	// Form names the form of the file: "turns", or what exports it.
	Form string
	// Skipped is how much of an export was left out: messages that nobody says, and what is no words in or beside a message, such as
	// pictures.
	Skipped int
	// LeftOut says what this was, and how much of each kind.
	LeftOut map[string]int
}

// The kinds of what is left out.
const (
	leftMedia    = "pictures and files"
	leftPreviews = "link previews"
	leftNotices  = "notices"
	leftSystem   = "system and tool messages"
	leftEmpty    = "empty messages"
	leftMarks    = "pictures and marks without words" // of documents
)

// LeftOutText writes what was left out for people: "2 notices, 1 pictures and files", or "nothing".
func (s Seen) LeftOutText() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(s.LeftOut)) {
		parts = append(parts, fmt.Sprintf("%d %s", s.LeftOut[kind], kind))
	}
	return cmp.Or(strings.Join(parts, ", "), "nothing")
}

// ReadFile reads a conversation from a file, or from the folder or zip file of an export. See Read; Open reads with little memory.
func ReadFile(path string) (Conversation, error) {
	return gather(path, func(c *collector) error { return c.path(path, path) })
}

// Read reads a conversation: one JSON object a line, or a list of such objects,
//
//	{"session": "2024-05-03", "time": "3 May 2024", "speaker": "Ann", "text": "I moved to Bern."}
//
// or as people have them: an export of ChatGPT, Claude, Telegram, Slack, Discord or WhatsApp, messages with a role and
// content as OpenAI, LangChain and mem0 write them, or a document in Markdown or plain text. In an export each conversation, and
// each day of it, is a session; in a document each section is, and each paragraph a turn. Of a turn only text is required. A
// session left out is "1"; an id left out is SESSION:N, N counting the session's turns from 1, or the next number whose id no
// other turn has. Empty lines are skipped. Pictures and files inside a text are replaced by a note; see WithoutAttachments. The
// first fault ends the reading with a *LineError; name is what it calls the file, and a name that ends in .json or .jsonl is of no
// document. ErrNoTurns if nothing is in it.
func Read(r io.Reader, name string) (Conversation, error) {
	return gather(name, func(c *collector) error { return c.file(r, name) })
}

// gather collects all turns that scan finds.
func gather(name string, scan func(c *collector) error) (Conversation, error) {
	var talk Conversation
	var lines []int
	ids := numbers{}
	c := newCollector(func(t chunk.Turn, line int) *LineError {
		talk.Turns, lines = append(talk.Turns, t), append(lines, line)
		return ids.take(t.ID, line)
	})
	if err := scan(c); err != nil {
		return Conversation{}, err
	}
	if len(talk.Turns) == 0 {
		return Conversation{}, noTurns(name)
	}
	for i := range talk.Turns {
		ids.number(&talk.Turns[i])
	}
	talk.Seen = c.Seen
	return talk, nil
}

func noTurns(name string) error {
	return fmt.Errorf("%s: %w; write one a line, such as {\"speaker\": \"Ann\", \"text\": \"I moved to Bern.\"}", name, ErrNoTurns)
}

// collector hands the turns of a file on as it finds them.
type collector struct {
	Seen
	emit  func(t chunk.Turn, line int) *LineError
	named map[string]int // sessions of exports, with the highest number behind each
	users map[string]string
	// How the reading is watched; nil for not at all.
	ctx      context.Context
	progress func(done, total int64)
}

func newCollector(emit func(t chunk.Turn, line int) *LineError) *collector {
	return &collector{Seen: Seen{Form: "turns", LeftOut: map[string]int{}}, emit: emit, named: map[string]int{}}
}

// add hands on a turn.
func (c *collector) add(t chunk.Turn, line int) *LineError {
	t.Text = noteAttachments(t.Text)
	return c.emit(t, line)
}

// leave counts something that is left out.
func (c *collector) leave(kind string) {
	c.Skipped++
	c.LeftOut[kind]++
}

// headSize is how much of a file is looked at to know its form.
const headSize = 1 << 16

// file reads one file.
func (c *collector) file(r io.Reader, name string) error {
	in := bufio.NewReaderSize(r, headSize)
	head, err := in.Peek(headSize)
	if err != nil && err != io.EOF {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if mark := []byte("\ufeff"); bytes.HasPrefix(head, mark) { // some editors put it first
		if _, err := in.Discard(len(mark)); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		head = head[len(mark):]
	}
	source := &failing{r: in}
	var bad *LineError
	switch kind := formOfHead(head, name); kind {
	case aChatLog:
		bad = c.chatLog(source)
	case aDocument:
		bad = c.document(source, name, head)
	default:
		bad = c.json(source, head)
	}
	if source.err != nil {
		return fmt.Errorf("read %s: %w", name, source.err)
	}
	if bad != nil {
		if bad.File == "" {
			bad.File = name
		}
		return bad
	}
	return nil
}

// failing remembers why reading failed.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

const (
	aJSON = iota
	aChatLog
	aDocument
)

// formOfHead tells the form of a file by what it begins with.
func formOfHead(head []byte, name string) int {
	start := bytes.TrimLeft(head, " \t\r\n")
	ext := strings.ToLower(filepath.Ext(name))
	switch {
	case ext == ".json" || ext == ".jsonl" || ext == ".ndjson" || len(start) == 0:
		return aJSON
	case isChatLog(head):
		return aChatLog
	case start[0] == '{' || start[0] == '[':
		next := bytes.TrimLeft(start[1:], " \t\r\n")
		if len(next) == 0 || strings.IndexByte("{}[]\"", next[0]) >= 0 {
			return aJSON
		}
	}
	return aDocument
}

// value takes one JSON value: a turn, a message, or a whole conversation of an export.
func (c *collector) value(raw []byte, line int) *LineError {
	fields, bad := object(raw)
	if bad == nil {
		bad = c.fields(fields, line)
	}
	if bad != nil && bad.Line == 0 {
		bad.Line = line
	}
	return bad
}

// fields takes the fields of a turn, a message or a conversation.
func (c *collector) fields(fields map[string]json.RawMessage, line int) *LineError {
	if isExport(fields) {
		return c.export(fields, line)
	}
	t, bad := parseTurn(fields)
	if bad != nil {
		return bad
	}
	return c.add(t, line)
}

// numbers gives sessions and ids to the turns that have none.
type numbers struct {
	given     map[string]int // line of each id that the file gives
	inSession map[string]int // turns so far
}

// take notes an id that the file gives, and refuses one that occurs twice.
func (n *numbers) take(id string, line int) *LineError {
	if id == "" {
		return nil
	}
	if n.given == nil {
		n.given = map[string]int{}
	}
	if at, ok := n.given[id]; ok {
		return &LineError{Line: line, Field: "id", Msg: fmt.Sprintf("%q is the id of line %d already; give each turn its own, or none", id, at)}
	}
	n.given[id] = line
	return nil
}

// number numbers the next turn. All ids that the file gives were taken before the first.
func (n *numbers) number(t *chunk.Turn) {
	if n.inSession == nil {
		n.inSession = map[string]int{}
	}
	t.Session = cmp.Or(t.Session, "1")
	n.inSession[t.Session]++
	for i := n.inSession[t.Session]; t.ID == ""; i++ {
		id := fmt.Sprintf("%s:%d", t.Session, i)
		if _, ok := n.given[id]; !ok {
			t.ID, n.inSession[t.Session] = id, i
		}
	}
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
