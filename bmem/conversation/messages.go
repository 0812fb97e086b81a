package conversation

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// message is what was read of a message of an export.
type message struct {
	turn chunk.Turn
	left string // the kind of a message that is left out, "" for one with words
	tally
}

// tally counts what is no words in a message and beside it.
type tally struct{ files, previews, tools int }

// take counts what is left out of a message, and says whether it is a turn.
func (c *collector) take(m message) bool {
	if m.left == "" || m.left == leftMedia {
		for range m.files {
			c.leave(leftMedia)
		}
		for range m.previews {
			c.leave(leftPreviews)
		}
		for range m.tools {
			c.leave(leftSystem)
		}
	}
	if m.left != "" && (m.left != leftMedia || m.tally == tally{}) {
		c.leave(m.left)
	}
	return m.left == ""
}

// wordless are roles and kinds of messages that nobody says.
var wordless = []string{"system", "tool", "function", "developer", "service"}

// parseMessage reads a message of an export.
func parseMessage(m map[string]json.RawMessage) (got message, err error) {
	t := &got.turn
	body, found := json.RawMessage(nil), false
	for _, name := range []string{"content", "text", "value", "parts"} {
		if raw, has := m[name]; has {
			found = true
			if body = raw; strings.TrimSpace(words(raw, &tally{})) != "" {
				break
			}
		}
	}
	kind := firstText(m, "type")
	var data map[string]json.RawMessage // LangChain's form
	if raw, ok := m["data"]; ok && json.Unmarshal(raw, &data) == nil && data != nil {
		body, found = data["content"], true
	}
	if !found && kind != "service" {
		return got, errors.New("no content, text, value or parts in it; its fields are " + strings.Join(slices.Sorted(maps.Keys(m)), ", "))
	}
	t.Text = strings.TrimSpace(words(body, &got.tally))
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
	given := got.attached(m)
	switch {
	case isNotice(m, kind, author):
		got.left = leftNotices
	case slices.Contains(wordless, role) || slices.Contains(wordless, t.Speaker) || slices.Contains(wordless, kind) || isInner(m, body):
		got.left = leftSystem
	case t.Text != "" || given != "":
		t.Text = strings.TrimSpace(t.Text + "\n\n" + given)
	case got.files+got.previews > 0:
		got.left = leftMedia
	case got.tools > 0:
		got.left, got.tools = leftSystem, 0
	default:
		got.left = leftEmpty
	}
	return got, nil
}

// The kinds of messages that somebody says, of DiscordChatExporter, which gives a number to those it has no name for, and the
// subtypes of Slack. All others are notices.
var (
	discordSpeech = []string{"Default", "Reply", "ThreadStarterMessage", "ChatInputCommand", "ContextMenuCommand", "0", "19", "20", "21", "23"}
	slackSpeech   = []string{"", "bot_message", "me_message", "thread_broadcast", "reply_broadcast", "file_share", "file_comment", "file_mention", "slackbot_response"}
)

// isNotice tells whether the program says a message, of somebody.
func isNotice(m map[string]json.RawMessage, kind string, author map[string]json.RawMessage) bool {
	subtype := firstText(m, "subtype")
	if isSlack(m) {
		return !slices.Contains(slackSpeech, subtype)
	}
	_, timed := m["timestamp"]
	discord := timed && firstText(author, "name", "nickname") != "" && kind != "" && (unicode.IsUpper(rune(kind[0])) || unicode.IsDigit(rune(kind[0])))
	return kind == "service" || kind == "unsupported" || discord && !slices.Contains(discordSpeech, kind) ||
		strings.HasPrefix(subtype, "channel_") || strings.HasPrefix(subtype, "group_")
}

// isInner tells whether a message of ChatGPT is part of how an answer comes about: thoughts, calls of tools, and what is not shown.
func isInner(m map[string]json.RawMessage, body json.RawMessage) bool {
	var content struct {
		Type string `json:"content_type"`
	}
	var meta struct {
		Hidden bool `json:"is_visually_hidden_from_conversation"`
	}
	_ = json.Unmarshal(body, &content)       // another form has none
	_ = json.Unmarshal(m["metadata"], &meta) // as above
	to := firstText(m, "recipient")
	return meta.Hidden || to != "" && to != "all" && content.Type != "" ||
		slices.Contains([]string{"thoughts", "reasoning_recap", "user_editable_context", "model_editable_context"}, content.Type)
}

// mediaFields are the fields that hold one picture, file or place each, of Telegram, and an image of others.
var mediaFields = []string{"photo", "file", "media_type", "image_url", "sticker_emoji", "location_information", "contact_information", "poll"}

// attached counts the files that come with a message. The text of those that were read for an answer, as Claude exports it, is what
// somebody gave to it, and is returned, each behind its name.
func (got *message) attached(m map[string]json.RawMessage) (given string) {
	var texts []string
	read := map[string]bool{}
	names := map[string]bool{} // of files that another list has: an export may list them twice
	for _, field := range []string{"attachments", "files", "files_v2", "stickers"} {
		var list []map[string]json.RawMessage
		if json.Unmarshal(m[field], &list) != nil {
			if !isEmpty(m[field]) {
				got.files++
			}
			continue
		}
		if field == "attachments" && isSlack(m) { // previews of links and messages
			got.previews += len(list)
			continue
		}
		var counted []string
		for _, f := range list {
			name := firstText(f, "file_name", "fileName", "name")
			if text := firstText(f, "extracted_content"); text != "" {
				texts = append(texts, strings.TrimSpace("[attachment: "+label(name)+"]\n"+text))
				read[name] = true
				continue
			}
			if name == "" || !read[name] && !names[name] {
				got.files++
				counted = append(counted, name)
			}
		}
		for _, name := range counted {
			names[name] = true
		}
	}
	var meta struct{ Attachments []json.RawMessage } // of ChatGPT, pictures in the text among them
	_ = json.Unmarshal(m["metadata"], &meta)         // others hold anything there
	got.files = max(got.files, len(meta.Attachments))
	for _, field := range mediaFields {
		if !isEmpty(m[field]) { // several fields may say what one file is
			got.files++
			break
		}
	}
	var embeds []json.RawMessage // of Discord
	if json.Unmarshal(m["embeds"], &embeds) == nil {
		got.previews += len(embeds)
	}
	return strings.Join(texts, "\n\n")
}

// label is a file's name for a note about it.
func label(name string) string {
	if name == "" {
		return "text"
	}
	return chunk.Label(name)
}

func isEmpty(raw json.RawMessage) bool {
	return len(raw) == 0 || slices.Contains([]string{"null", "[]", "{}", `""`, "false"}, string(raw))
}

// toolParts are the kinds of parts of a message that nobody says.
var toolParts = []string{"tool_use", "tool_result", "server_tool_use", "web_search_tool_result", "thinking", "redacted_thinking", "token_budget"}

// words returns the text of a message: a string, or parts of which those that are no text are named in brackets. It counts these.
func words(raw json.RawMessage, n *tally) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) == nil {
		var b strings.Builder
		for i, p := range parts {
			w := words(p, n)
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
	kind := firstText(fields, "type", "content_type")
	if slices.Contains(toolParts, kind) {
		n.tools++
		return ""
	}
	for _, name := range []string{"text", "parts", "content", "value"} {
		if inner, ok := fields[name]; ok {
			return words(inner, n)
		}
	}
	if strings.Contains(kind, "image") {
		n.files++
		return "[image]"
	} else if strings.Contains(kind, "audio") || strings.Contains(kind, "file") {
		n.files++
		return "[" + kind + "]"
	}
	return ""
}
