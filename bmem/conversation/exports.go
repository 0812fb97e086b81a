package conversation

import (
	"cmp"
	"encoding/json"
	"fmt"
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
		c.Form = "a ChatGPT export"
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
		c.Form = formOf(name, fields, messages)
		return c.messages(c.name(fields), messages, line)
	}
	c.Form = "a list of messages"
	if isSlack(fields) {
		c.Form = slackForm
	}
	return c.messages("", []map[string]json.RawMessage{fields}, line)
}

func formOf(list string, fields map[string]json.RawMessage, messages []map[string]json.RawMessage) string {
	_, guild := fields["guild"]
	_, kind := fields["type"]
	switch {
	case list == "chat_messages":
		return "a Claude export"
	case guild:
		return "a Discord export"
	case list == "messages" && len(messages) > 0 && isSlack(messages[0]):
		return slackForm
	case list == "messages" && kind:
		return "a Telegram export"
	}
	return "a list of messages"
}

// name returns what a conversation of an export is called, another than the ones before it.
func (c *collector) name(fields map[string]json.RawMessage) string {
	title := firstText(fields, "title", "name", "id", "uuid")
	if title == "" {
		title = strconv.Itoa(len(c.named) + 1)
	}
	name := title
	for n := c.named[title] + 1; c.named[name] > 0; n++ {
		c.named[title], name = n, fmt.Sprintf("%s (%d)", title, n)
	}
	c.named[name] = 1
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

// messages takes the messages of one conversation.
func (c *collector) messages(conversation string, list []map[string]json.RawMessage, line int) *LineError {
	t := c.begin(conversation)
	for _, m := range list {
		if bad := t.message(m, line); bad != nil {
			return bad
		}
	}
	return t.end()
}

// talk is a conversation whose messages are taken one by one. Each day of it is a session; a conversation of one day is
// one by its name alone, so that its turns wait for the second day.
type talk struct {
	c     *collector
	name  string
	n     int // messages
	days  map[string]bool
	held  []chunk.Turn
	lines []int
}

func (c *collector) begin(name string) *talk { return &talk{c: c, name: name, days: map[string]bool{}} }

// message takes the next message.
func (t *talk) message(m map[string]json.RawMessage, line int) *LineError {
	t.n++
	got, err := parseMessage(m)
	if err != nil {
		return &LineError{Line: line, Msg: fmt.Sprintf("message %d: %v", t.n, err)}
	}
	if !t.c.take(got) {
		return nil
	}
	turn := got.turn
	if isSlack(m) {
		turn.Text = slackText(turn.Text, t.c.users)
		turn.Speaker = cmp.Or(t.c.users[turn.Speaker], turn.Speaker)
	}
	turn.Session = dayOf(turn.Time)
	t.days[turn.Session] = true
	if t.name != "" && len(t.days) == 1 {
		t.held, t.lines = append(t.held, turn), append(t.lines, line)
		return nil
	}
	if bad := t.release(); bad != nil {
		return bad
	}
	return t.give(turn, line)
}

// dayOf returns the day of a time, "" if it is not known.
func dayOf(s string) string {
	for _, layout := range []string{time.DateTime, "2006-01-02T15:04:05", time.RFC3339} { // what exports have; ParseTime takes longer
		if at, err := time.Parse(layout, s); err == nil {
			return at.Format(time.DateOnly)
		}
	}
	if at, ok := text.ParseTime(s); ok {
		return at.Format(time.DateOnly)
	}
	return ""
}

// end ends the conversation.
func (t *talk) end() *LineError { return t.release() }

// release hands on the turns that waited.
func (t *talk) release() *LineError {
	held := t.held
	t.held = nil
	for i, turn := range held {
		if bad := t.give(turn, t.lines[i]); bad != nil {
			return bad
		}
	}
	t.lines = nil
	return nil
}

func (t *talk) give(turn chunk.Turn, line int) *LineError {
	switch {
	case turn.Session == "" || t.name != "" && len(t.days) == 1:
		turn.Session = t.name
	case t.name != "":
		turn.Session = t.name + ", " + turn.Session
	}
	return t.c.add(turn, line)
}

// firstText returns the first of the fields that is text, or an object that names somebody.
func firstText(fields map[string]json.RawMessage, names ...string) string {
	for _, name := range names {
		raw, ok := fields[name]
		if !ok {
			continue
		}
		var s string
		if json.Unmarshal(raw, &s) == nil && strings.TrimSpace(s) != "" {
			return strings.TrimSpace(s)
		}
		var n json.Number
		if name == "id" && json.Unmarshal(raw, &n) == nil && n != "" {
			return n.String()
		}
		var who map[string]json.RawMessage
		if json.Unmarshal(raw, &who) == nil && who != nil {
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
		raw, ok := fields[name]
		if !ok {
			continue
		}
		var s string
		if json.Unmarshal(raw, &s) != nil {
			s = string(raw)
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
