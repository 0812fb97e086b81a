package conversation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// exportForms names the exports that are read, for errors and help.
const exportForms = "ChatGPT, Claude, Telegram, Slack, Discord, WhatsApp, and messages with role and content"

// jsonValue is a value of a file with its line.
type jsonValue struct {
	raw  json.RawMessage
	line int
}

// document reads a file that is one JSON list or a run of JSON objects, however they are laid out; ok is false if it is
// neither. What follows damage is left out, as the value before it then fails by itself.
func document(data []byte) (values []jsonValue, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(data))
	list := bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("["))
	if list {
		if _, err := dec.Token(); err != nil {
			return nil, false
		}
	}
	line, counted := 1, 0
	for !list || dec.More() {
		at := int(dec.InputOffset())
		at += len(data[at:]) - len(bytes.TrimLeft(data[at:], " \t\r\n,"))
		line += bytes.Count(data[counted:at], []byte("\n"))
		counted = at
		var raw json.RawMessage
		err := dec.Decode(&raw)
		switch {
		case err == io.EOF && !list:
			return values, true
		case err != nil && len(values) == 0:
			return nil, false
		case err != nil:
			return append(values, jsonValue{data[at:], line}), true // to be reported with its line
		}
		values = append(values, jsonValue{raw, line})
	}
	end := int(dec.InputOffset())
	if _, err := dec.Token(); err != nil { // the list is cut off
		line += bytes.Count(data[counted:], []byte("\n"))
		return append(values, jsonValue{data[end:], line}), true
	}
	return values, true
}

// The fields that hold a list of messages, and those that only a message of an export has.
var (
	messageLists  = []string{"messages", "chat_messages", "conversations", "contents"}
	messageFields = []string{"role", "content", "author", "sender", "from", "value", "parts", "data", "user", "ts", "mapping", "chats"}
)

// isExport tells a message or conversation of an export from a turn.
func isExport(fields map[string]json.RawMessage) bool {
	for _, name := range slices.Concat(messageLists, messageFields) {
		if _, ok := fields[name]; ok {
			return true
		}
	}
	return false
}

// export takes a conversation or a message of an export.
func (c *collector) export(fields map[string]json.RawMessage, line int) *LineError {
	if raw, ok := fields["chats"]; ok { // Telegram, all chats
		var all struct{ List []map[string]json.RawMessage }
		if err := json.Unmarshal(raw, &all); err != nil {
			return &LineError{Field: "chats", Msg: "want an object with a list of chats, as Telegram exports them"}
		}
		for _, chat := range all.List {
			if bad := c.export(chat, line); bad != nil {
				return bad
			}
		}
		return nil
	}
	if raw, ok := fields["mapping"]; ok {
		messages, bad := chatGPT(raw, fields["current_node"])
		if bad != nil {
			return bad
		}
		c.form = "a ChatGPT export"
		return c.messages(c.name(fields), messages, line)
	}
	for _, name := range messageLists {
		raw, ok := fields[name]
		if !ok {
			continue
		}
		var messages []map[string]json.RawMessage
		if err := json.Unmarshal(raw, &messages); err != nil {
			return &LineError{Field: name, Msg: "want a list of messages"}
		}
		c.form = formOf(name, fields)
		return c.messages(c.name(fields), messages, line)
	}
	c.form = "a list of messages"
	return c.messages("", []map[string]json.RawMessage{fields}, line)
}

func formOf(list string, fields map[string]json.RawMessage) string {
	_, guild := fields["guild"]
	_, kind := fields["type"]
	switch {
	case list == "chat_messages":
		return "a Claude export"
	case guild:
		return "a Discord export"
	case list == "messages" && kind:
		return "a Telegram export"
	}
	return "a list of messages"
}

// name returns what a conversation of an export is called, another than the ones before it.
func (c *collector) name(fields map[string]json.RawMessage) string {
	title := firstText(fields, "title", "name", "id", "uuid")
	if c.named == nil {
		c.named = map[string]bool{}
	}
	if title == "" {
		title = strconv.Itoa(len(c.named) + 1)
	}
	name := title
	for n := 2; c.named[name]; n++ {
		name = fmt.Sprintf("%s (%d)", title, n)
	}
	c.named[name] = true
	return name
}

// chatGPT returns the messages on the way from the root of a ChatGPT conversation to the one shown last. Answers that were
// replaced lie on other ways.
func chatGPT(raw, current json.RawMessage) ([]map[string]json.RawMessage, *LineError) {
	var nodes map[string]struct {
		Parent  string
		Message map[string]json.RawMessage
	}
	if err := json.Unmarshal(raw, &nodes); err != nil {
		return nil, &LineError{Field: "mapping", Msg: "want the messages by their ids, as ChatGPT exports them"}
	}
	var id string
	_ = json.Unmarshal(current, &id) // "" if it is missing: then the last one by time is taken
	if _, ok := nodes[id]; !ok {
		latest := math.Inf(-1)
		for _, key := range slices.Sorted(maps.Keys(nodes)) {
			var at float64
			if json.Unmarshal(nodes[key].Message["create_time"], &at) == nil && at > latest {
				id, latest = key, at
			}
		}
	}
	var out []map[string]json.RawMessage
	for seen := map[string]bool{}; id != "" && !seen[id]; id = nodes[id].Parent {
		seen[id] = true
		if m := nodes[id].Message; m != nil {
			out = append(out, m)
		}
	}
	slices.Reverse(out)
	return out, nil
}

// messages takes the messages of one conversation, each day as a session.
func (c *collector) messages(conversation string, list []map[string]json.RawMessage, line int) *LineError {
	var turns []chunk.Turn
	days := map[string]bool{}
	for i, m := range list {
		t, ok, err := parseMessage(m)
		if err != nil {
			return &LineError{Msg: fmt.Sprintf("message %d: %v", i+1, err)}
		}
		if !ok {
			c.skipped++
			continue
		}
		if day, ok := text.ParseTime(t.Time); ok {
			t.Session = day.Format(time.DateOnly)
		}
		days[t.Session] = true
		turns = append(turns, t)
	}
	for _, t := range turns {
		switch {
		case t.Session == "" || conversation != "" && len(days) == 1:
			t.Session = conversation
		case conversation != "":
			t.Session = conversation + ", " + t.Session
		}
		c.add(t, line)
	}
	return nil
}

// wordless are roles and kinds of messages that nobody says.
var wordless = []string{"system", "tool", "function", "developer", "service"}

// parseMessage reads a message of an export; ok is false for one without words.
func parseMessage(m map[string]json.RawMessage) (t chunk.Turn, ok bool, err error) {
	body, found := json.RawMessage(nil), false
	for _, name := range []string{"content", "text", "value", "parts"} {
		if raw, has := m[name]; has {
			found = true
			if body = raw; strings.TrimSpace(words(raw)) != "" {
				break
			}
		}
	}
	kind := firstText(m, "type")
	var data map[string]json.RawMessage // LangChain's form
	if json.Unmarshal(m["data"], &data) == nil && data != nil {
		body, found = data["content"], true
	}
	if !found && kind != "service" {
		return t, false, errors.New("no content, text, value or parts in it; its fields are " + strings.Join(slices.Sorted(maps.Keys(m)), ", "))
	}
	t.Text = strings.TrimSpace(words(body))
	role := firstText(m, "role")
	var author map[string]json.RawMessage
	if json.Unmarshal(m["author"], &author) == nil && role == "" {
		role = firstText(author, "role")
	}
	t.Speaker = firstText(m, "sender", "from", "author", "user_profile", "username", "user", "name", "actor", "from_id")
	if t.Speaker == "" {
		t.Speaker = role
	}
	if t.Speaker == "" && kind != "message" {
		t.Speaker = kind
	}
	t.Time = timeText(m, "date", "timestamp", "create_time", "created_at", "time", "ts")
	subtype := firstText(m, "subtype")
	if slices.Contains(wordless, role) || slices.Contains(wordless, t.Speaker) || slices.Contains(wordless, kind) || subtype != "" && strings.HasPrefix(subtype, "channel_") {
		return t, false, nil
	}
	return t, t.Text != "", nil
}

// words returns the text of a message: a string, or parts of which those that are no text are named in brackets.
func words(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) == nil {
		var b strings.Builder
		for i, p := range parts {
			w := words(p)
			if i > 0 && w != "" && w[0] == '[' {
				b.WriteByte(' ')
			}
			b.WriteString(w)
		}
		return b.String()
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil || fields == nil {
		return ""
	}
	for _, name := range []string{"text", "parts", "content", "value"} {
		if inner, ok := fields[name]; ok {
			return words(inner)
		}
	}
	if kind := firstText(fields, "type", "content_type"); strings.Contains(kind, "image") {
		return "[image]"
	} else if strings.Contains(kind, "audio") || strings.Contains(kind, "file") {
		return "[" + kind + "]"
	}
	return ""
}

// firstText returns the first of the fields that is text, or an object that names somebody.
func firstText(fields map[string]json.RawMessage, names ...string) string {
	for _, name := range names {
		var s string
		if json.Unmarshal(fields[name], &s) == nil && strings.TrimSpace(s) != "" {
			return strings.TrimSpace(s)
		}
		var n json.Number
		if name == "id" && json.Unmarshal(fields[name], &n) == nil && n != "" {
			return n.String()
		}
		var who map[string]json.RawMessage
		if json.Unmarshal(fields[name], &who) == nil && who != nil {
			if s := firstText(who, "nickname", "real_name", "display_name", "name", "username", "role"); s != "" {
				return s
			}
		}
	}
	return ""
}

// timeText returns the first of the fields that is a time; a Unix time is written out, in UTC.
func timeText(fields map[string]json.RawMessage, names ...string) string {
	for _, name := range names {
		var s string
		if json.Unmarshal(fields[name], &s) != nil {
			s = string(fields[name])
		}
		if s = strings.TrimSpace(s); s == "" || s == "null" {
			continue
		}
		if unix, err := strconv.ParseFloat(s, 64); err == nil && unix > 1e8 && unix < 1e14 {
			if unix > 1e11 { // milliseconds
				unix /= 1000
			}
			return time.Unix(int64(unix), 0).UTC().Format(time.DateTime)
		}
		return s
	}
	return ""
}
