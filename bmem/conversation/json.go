package conversation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// json reads lists and objects of JSON, one after the other, however they are laid out. It keeps no more than one element of a
// list, or one line, and walks into an object that holds a whole export.
func (c *collector) json(r io.Reader, head []byte) *LineError {
	in := newJSONReader(r)
	first, _, whole := bytes.Cut(bytes.TrimLeft(head, " \t\r\n"), []byte("\n"))
	byLine := (whole || len(head) < headSize) && json.Valid(first)
	for {
		var bad *LineError
		switch kind := in.dec.PeekKind(); {
		case kind == '[':
			bad = in.list(c.value)
		case kind == '{' && !byLine:
			bad = c.walk(in)
		case kind == 0: // the end, or no JSON
			if _, err := in.dec.ReadToken(); err != io.EOF {
				return in.fault(err)
			}
			return nil
		default:
			bad = in.value(c.value)
		}
		if bad != nil {
			return bad
		}
	}
}

// walk reads the fields of an object. If it is a conversation of messages, or an export of several, these are taken one by one.
func (c *collector) walk(in *jsonReader) *LineError {
	in.dec.PeekKind() // reads up to it
	line := in.line()
	fields := map[string]json.RawMessage{}
	var long *talk
	several := false
	bad := in.object(func(name string) (bad *LineError) {
		kind := in.dec.PeekKind()
		switch {
		case name == "chats" && kind == '{': // Telegram, all chats
			several = true
			return in.object(func(inner string) *LineError {
				if inner != "list" || in.dec.PeekKind() != '[' {
					return in.skip()
				}
				return in.each(func() *LineError {
					if in.dec.PeekKind() != '{' {
						return &LineError{Line: in.line(), Field: name, Msg: "want an object with a list of chats, as Telegram exports them"}
					}
					return c.walk(in)
				})
			})
		case kind == '[' && slices.Contains(messageLists, name) && long == nil:
			long, bad = c.walkMessages(in, name, fields, line)
			return bad
		}
		return in.value(func(raw []byte, _ int) *LineError {
			fields[name] = bytes.Clone(raw)
			return nil
		})
	})
	switch {
	case bad != nil:
		return bad
	case long != nil:
		return long.end()
	case several:
		return nil
	}
	if bad = c.fields(fields, line); bad != nil && bad.Line == 0 {
		bad.Line = line
	}
	return bad
}

// heldBytes is how much of a list of messages is read before what the conversation is called has to be known.
const heldBytes = 1 << 16

// walkMessages reads the messages of a conversation. A short one becomes a field, to be taken when all fields are known; of a
// longer one the messages are taken as they come, and what is called talk has to be ended.
func (c *collector) walkMessages(in *jsonReader, name string, fields map[string]json.RawMessage, line int) (long *talk, bad *LineError) {
	held := []byte("[")
	bad = in.list(func(raw []byte, at int) *LineError {
		if long == nil && len(held)+len(raw) < heldBytes {
			if len(held) > 1 {
				held = append(held, ',')
			}
			held = append(held, raw...)
			return nil
		}
		if long == nil {
			var messages []map[string]json.RawMessage
			if json.Unmarshal(append(held, ']'), &messages) != nil {
				return &LineError{Line: line, Field: name, Msg: "want a list of messages"}
			}
			c.Form = formOf(name, fields, messages)
			long = c.begin(c.name(fields))
			for _, m := range messages {
				if bad := long.message(m, line); bad != nil {
					return bad
				}
			}
			held = nil
		}
		var m map[string]json.RawMessage
		if json.Unmarshal(raw, &m) != nil || m == nil {
			return &LineError{Line: at, Field: name, Msg: "want a list of messages"}
		}
		return long.message(m, at)
	})
	if long == nil {
		fields[name] = append(held, ']')
	}
	return long, bad
}

// jsonReader reads JSON value by value and knows on which lines they begin.
type jsonReader struct {
	dec    *jsontext.Decoder
	window window
}

func newJSONReader(r io.Reader) *jsonReader {
	in := &jsonReader{window: window{r: r, line: 1}}
	in.dec = jsontext.NewDecoder(&in.window, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return in
}

// line returns the line that the next value begins on. What is before it is not needed any more.
func (in *jsonReader) line() int { return in.window.lineAt(in.dec.InputOffset()) }

// value hands on the next value, whose bytes are good until the function returns.
func (in *jsonReader) value(take func(raw []byte, line int) *LineError) *LineError {
	raw, err := in.dec.ReadValue()
	if err != nil {
		return in.fault(err)
	}
	line := in.window.lineAt(in.dec.InputOffset() - int64(len(raw)))
	if deep(raw) {
		return &LineError{Line: line, Msg: fmt.Sprintf("lists and objects in each other, more than %d deep: is this a conversation?", maxValueDepth)}
	}
	return take(raw, line)
}

// deep says whether a value is nested deeper than conversations are. What reads one level after the other takes time with the square of
// the depth.
func deep(raw []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(raw) && depth <= maxValueDepth; i++ {
		switch b := raw[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '[' || b == '{':
			depth++
		case b == ']' || b == '}':
			depth--
		}
	}
	return depth > maxValueDepth
}

// token skips a bracket.
func (in *jsonReader) token() *LineError {
	if _, err := in.dec.ReadToken(); err != nil {
		return in.fault(err)
	}
	return nil
}

// list hands on the elements of the list that comes next.
func (in *jsonReader) list(take func(raw []byte, line int) *LineError) *LineError {
	return in.each(func() *LineError { return in.value(take) })
}

// each calls do before each element of the list that comes next, for it to read that.
func (in *jsonReader) each(do func() *LineError) *LineError {
	bad := in.token()
	for bad == nil && in.dec.PeekKind() != ']' {
		bad = do()
	}
	if bad != nil {
		return bad
	}
	return in.token()
}

// object calls do before the value of each field of the object that comes next, for it to read that.
func (in *jsonReader) object(do func(name string) *LineError) *LineError {
	bad := in.token()
	for bad == nil && in.dec.PeekKind() != '}' {
		var name jsontext.Token
		var err error
		if name, err = in.dec.ReadToken(); err != nil {
			return in.fault(err)
		}
		bad = do(name.String())
	}
	if bad != nil {
		return bad
	}
	return in.token()
}

// skip reads the next value and drops it.
func (in *jsonReader) skip() *LineError {
	return in.value(func([]byte, int) *LineError { return nil })
}

// fault says what is wrong with the value that was to be read: not JSON, or cut off.
func (in *jsonReader) fault(err error) *LineError {
	line := in.line()
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return &LineError{Line: line, Msg: "not a JSON object; the file ends inside this value: is it cut off?"}
	}
	if errors.Is(err, errLongValue) {
		return &LineError{Line: line, Msg: errLongValue.Error()}
	}
	_, bad := object(in.window.kept)
	if bad == nil { // it is whole by itself
		bad = &LineError{Msg: fmt.Sprintf("not JSON (%v)", err)}
	}
	bad.Line = line
	return bad
}

// window keeps what a decoder has read but not yet made values of, to count lines.
type window struct {
	r    io.Reader
	kept []byte
	from int64 // offset of kept
	line int   // of kept
}

// Bounds of a value of JSON: an element of a list, a field of an object that holds a whole export, or a line.
const (
	maxValueBytes = 32 << 20
	maxValueDepth = 64
)

var errLongValue = fmt.Errorf("a value of more than %d MiB: is this a conversation?", maxValueBytes>>20)

func (w *window) Read(p []byte) (int, error) {
	if len(w.kept) > maxValueBytes {
		return 0, errLongValue
	}
	n, err := w.r.Read(p)
	w.kept = append(w.kept, p[:n]...)
	return n, err
}

// lineAt returns the line of the first character of a value at an offset or behind it, and lets go of what is before.
func (w *window) lineAt(offset int64) int {
	n := max(0, min(int(offset-w.from), len(w.kept)))
	n += len(w.kept[n:]) - len(bytes.TrimLeft(w.kept[n:], " \t\r\n,:"))
	w.line += bytes.Count(w.kept[:n], []byte("\n"))
	w.kept, w.from = w.kept[n:], w.from+int64(n)
	return w.line
}
