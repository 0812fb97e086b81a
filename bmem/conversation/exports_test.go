package conversation

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// What people have conversations in: the turns that are read from each.
func TestReadExports(t *testing.T) {
	const mill = "We meet at the old mill on Saturday."
	user := []chunk.Turn{{ID: "1:1", Session: "1", Speaker: "user", Text: mill}, {ID: "1:2", Session: "1", Speaker: "assistant", Text: "Noted."}}
	for name, c := range map[string]struct {
		in      string
		form    string
		turns   []chunk.Turn
		skipped int
	}{
		"a list of turns": {"[\n {\n  \"speaker\": \"Rita\",\n  \"text\": \"" + mill + "\"\n }\n]", "turns", []chunk.Turn{{ID: "1:1", Session: "1", Speaker: "Rita", Text: mill}}, 0},
		"turns over several lines": {"{\n \"text\": \"a\"\n}\n{\n \"text\": \"b\"\n}", "turns",
			[]chunk.Turn{{ID: "1:1", Session: "1", Text: "a"}, {ID: "1:2", Session: "1", Text: "b"}}, 0},
		"messages":         {`[{"role":"user","content":"` + mill + `"},{"role":"assistant","content":"Noted."}]`, "a list of messages", user, 0},
		"messages a line":  {`{"role":"system","content":"Be kind."}` + "\n" + `{"role":"user","content":"` + mill + `"}` + "\n" + `{"role":"assistant","content":"Noted."}`, "a list of messages", user, 1},
		"a request":        {`{"model":"x","messages":[{"role":"user","content":[{"type":"text","text":"` + mill + `"}]},{"role":"assistant","content":"Noted."}]}`, "a list of messages", user, 0},
		"a tool's message": {`[{"role":"user","content":"` + mill + `"},{"role":"assistant","content":null,"tool_calls":[{}]},{"role":"tool","content":"42"},{"role":"assistant","content":"Noted."}]`, "a list of messages", user, 2},
		"a picture": {`[{"role":"user","content":[{"type":"text","text":"Look:"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]`, "a list of messages",
			[]chunk.Turn{{ID: "1:1", Session: "1", Speaker: "user", Text: "Look: [image]"}}, 1},
		"names": {`[{"role":"user","name":"Rita","content":"Hi."}]`, "a list of messages", []chunk.Turn{{ID: "1:1", Session: "1", Speaker: "Rita", Text: "Hi."}}, 0},
		"LangChain": {`[{"type":"human","data":{"content":"` + mill + `"}},{"type":"ai","data":{"content":"Noted."}}]`, "a list of messages",
			[]chunk.Turn{{ID: "1:1", Session: "1", Speaker: "human", Text: mill}, {ID: "1:2", Session: "1", Speaker: "ai", Text: "Noted."}}, 0},
		"ShareGPT": {`[{"id":"x","conversations":[{"from":"human","value":"Hi."},{"from":"gpt","value":"Hello."}]}]`, "a list of messages",
			[]chunk.Turn{{ID: "x:1", Session: "x", Speaker: "human", Text: "Hi."}, {ID: "x:2", Session: "x", Speaker: "gpt", Text: "Hello."}}, 0},
		"Gemini": {`{"contents":[{"role":"user","parts":[{"text":"Hi."}]},{"role":"model","parts":[{"text":"Hello."}]}]}`, "a list of messages",
			[]chunk.Turn{{ID: "1:1", Session: "1", Speaker: "user", Text: "Hi."}, {ID: "1:2", Session: "1", Speaker: "model", Text: "Hello."}}, 0},
		"ChatGPT": {`[{"title":"Mill","mapping":{"r":{"parent":null,"message":null},
			"s":{"parent":"r","message":{"author":{"role":"system"},"content":{"content_type":"text","parts":[""]}}},
			"a":{"parent":"s","message":{"author":{"role":"user"},"create_time":1740996240.1,"content":{"content_type":"text","parts":["` + mill + `"]}}},
			"old":{"parent":"a","message":{"author":{"role":"assistant"},"create_time":1740996250,"content":{"content_type":"text","parts":["An answer that was replaced."]}}},
			"t":{"parent":"a","message":{"author":{"role":"tool","name":"browser"},"content":{"content_type":"text","parts":["a page"]}}},
			"b":{"parent":"t","message":{"author":{"role":"assistant"},"create_time":1740996260,"content":{"content_type":"text","parts":["Noted."]}}}},
			"current_node":"b"}]`, "a ChatGPT export", []chunk.Turn{
			{ID: "Mill:1", Session: "Mill", Time: "2025-03-03 10:04:00", Speaker: "user", Text: mill},
			{ID: "Mill:2", Session: "Mill", Time: "2025-03-03 10:04:20", Speaker: "assistant", Text: "Noted."}}, 2},
		"ChatGPT, two of one title": {`[{"title":"A","mapping":{"a":{"message":{"author":{"role":"user"},"create_time":1740996240,"content":{"parts":["x"]}}}}},
			{"title":"A","mapping":{"a":{"message":{"author":{"role":"user"},"create_time":1741996240,"content":{"parts":["y"]}}}}}]`, "a ChatGPT export", []chunk.Turn{
			{ID: "A:1", Session: "A", Time: "2025-03-03 10:04:00", Speaker: "user", Text: "x"},
			{ID: "A (2):1", Session: "A (2)", Time: "2025-03-14 23:50:40", Speaker: "user", Text: "y"}}, 0},
		"Claude": {`[{"uuid":"u","name":"x","chat_messages":[{"uuid":"m","sender":"human","created_at":"2025-03-03T10:04:00.123456Z","text":"","content":[{"type":"text","text":"Hi."}]},
			{"sender":"assistant","created_at":"2025-03-04T10:04:00Z","text":"Hello."}]}]`, "a Claude export", []chunk.Turn{
			{ID: "x, 2025-03-03:1", Session: "x, 2025-03-03", Time: "2025-03-03T10:04:00.123456Z", Speaker: "human", Text: "Hi."},
			{ID: "x, 2025-03-04:1", Session: "x, 2025-03-04", Time: "2025-03-04T10:04:00Z", Speaker: "assistant", Text: "Hello."}}, 0},
		"Telegram": {`{"name":"R","type":"personal_chat","id":7,"messages":[{"id":1,"type":"service","date":"2025-03-03T10:00:00","actor":"Rita","action":"join","text":""},
			{"id":2,"type":"message","date":"2025-03-03T10:04:00","from":"Rita","text":["We meet at ",{"type":"bold","text":"the old mill"}]},
			{"id":3,"type":"message","date":"2025-03-03T10:05:00","from":"Omar","photo":"x.jpg","text":""}]}`, "a Telegram export", []chunk.Turn{
			{ID: "R:1", Session: "R", Time: "2025-03-03T10:04:00", Speaker: "Rita", Text: "We meet at the old mill"}}, 2},
		"Telegram, all chats": {`{"chats":{"list":[{"name":"R","type":"personal_chat","messages":[{"type":"message","date":"2025-03-03T10:04:00","from":"Rita","text":"Hi."}]}]}}`, "a Telegram export", []chunk.Turn{
			{ID: "R:1", Session: "R", Time: "2025-03-03T10:04:00", Speaker: "Rita", Text: "Hi."}}, 0},
		"Slack": {`[{"type":"message","subtype":"channel_join","user":"U1","text":"<@U1> has joined","ts":"1740996200.1"},
			{"type":"message","user":"U1","user_profile":{"real_name":"Rita"},"text":"Hi.","ts":"1740996240.000100"}]`, "a Slack export", []chunk.Turn{
			{ID: "2025-03-03:1", Session: "2025-03-03", Time: "2025-03-03 10:04:00", Speaker: "Rita", Text: "Hi."}}, 1},
		"Discord": {`{"guild":{"name":"G"},"channel":{"name":"c"},"messages":[{"id":"1","type":"Default","timestamp":"2025-03-03T10:04:00+00:00","content":"Hi.","author":{"name":"rita","nickname":"Rita"}}]}`,
			"a Discord export", []chunk.Turn{{ID: "1:1", Session: "1", Time: "2025-03-03T10:04:00+00:00", Speaker: "Rita", Text: "Hi."}}, 0},
		"WhatsApp on Android": {"3/3/25, 7:01 PM - Messages are end-to-end encrypted.\n3/3/25, 7:02 PM - Rita: We meet at the old mill\nand bring bread\n3/4/25, 8:00 AM - Omar: <Media omitted>\n", "a WhatsApp export",
			[]chunk.Turn{{ID: "3/3/25:1", Session: "3/3/25", Time: "3/3/25, 7:02 PM", Speaker: "Rita", Text: "We meet at the old mill\nand bring bread"}}, 2},
		"WhatsApp on iOS": {"\u200e[03.04.25, 19:02:11] Rita: Hi.\r\n\u200e[13.04.25, 19:02:11] Omar: \u200eimage omitted\r\n[13.04.25, 19:03:11] Omar: 10:30 is fine: come.\r\n", "a WhatsApp export",
			[]chunk.Turn{{ID: "03.04.25:1", Session: "03.04.25", Time: "03.04.25, 19:02:11", Speaker: "Rita", Text: "Hi."},
				{ID: "13.04.25:1", Session: "13.04.25", Time: "13.04.25, 19:03:11", Speaker: "Omar", Text: "10:30 is fine: come."}}, 1},
	} {
		got, err := Read(strings.NewReader(c.in), "talk")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(got.Turns, c.turns) || got.Form != c.form || got.Skipped != c.skipped {
			t.Errorf("%s: %q, %d skipped, %+v\nwant %q, %d, %+v", name, got.Form, got.Skipped, got.Turns, c.form, c.skipped, c.turns)
		}
	}
}

// What nobody says is no turn, and what is left out is counted.
func TestNoticesAndFilesOfExports(t *testing.T) {
	for _, c := range []struct {
		file string
		said []string // SPEAKER: TEXT
		left map[string]int
	}{
		{"discord-notices.json", []string{"Kim: Look at the old mill.", "Kim: Yes, at noon.", "Bot: Reminder set."}, map[string]int{leftNotices: 8, leftMedia: 3, leftPreviews: 1}},
		{"whatsapp-ios.txt", []string{"Eva: We meet at the old mill", "Uwe: The contract is in the post.", "Uwe: The wheel turns", "Eva: Fine, I added bread.\nAnd left room: two places.", "Uwe: Bild weggelassen? I see none.", "Eva: look"},
			map[string]int{leftNotices: 7, leftMedia: 5}},
		{"whatsapp-android.txt", []string{"Eva: We meet at the old mill", "Uwe: At the wheel", "Eva: And the door", "Uwe: Until then"}, map[string]int{leftNotices: 6, leftMedia: 3}},
		{"claude-files.json", []string{"human: What does it say?\n\n[attachment: plan.txt]\nWe meet at the old mill.\nBring bread.", "human: [attachment: text]\nPasted words.", "assistant: It says where you meet."},
			map[string]int{leftMedia: 3, leftSystem: 2}},
		{"chatgpt-files.json", []string{"user: [image] Is this the old mill?", "assistant: It is."}, map[string]int{leftMedia: 2, leftSystem: 4}},
		{"slack-files.json", []string{"Rita Keller: We meet at the old mill.", "Calendar: Reminder: the mill"}, map[string]int{leftMedia: 3, leftPreviews: 1, leftNotices: 3}},
		{"telegram-files.json", []string{"Rita: The old mill", "Omar: Here"}, map[string]int{leftMedia: 4, leftNotices: 1}},
	} {
		got, err := ReadFile(filepath.Join("testdata", "exports", c.file))
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		var said []string
		for _, turn := range got.Turns {
			said = append(said, turn.Speaker+": "+turn.Text)
		}
		sum := 0
		for _, n := range got.LeftOut {
			sum += n
		}
		if !slices.Equal(said, c.said) || !reflect.DeepEqual(got.LeftOut, c.left) || got.Skipped != sum {
			t.Errorf("%s: %d left out, %v, want %v; said\n%q, want\n%q", c.file, got.Skipped, got.LeftOut, c.left, said, c.said)
		}
	}
}

// The small exports of testdata, as their programs write them, all say where the two meet.
func TestExportFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/exports/*")
	if err != nil || len(files) < 11 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Read(f, file)
		f.Close()
		if err != nil || !slices.ContainsFunc(c.Turns, func(t chunk.Turn) bool { return strings.Contains(t.Text, "old mill") }) {
			t.Errorf("%s: %+v, %v", file, c, err)
		}
	}
}

// An id that is made up is none of the file's.
func TestGeneratedIDsCollideWithNone(t *testing.T) {
	got, err := Read(strings.NewReader(`{"id":"1:2","text":"First we talk."}
{"text":"Second, we meet at the old mill."}
{"text":"Third."}
{"id":"1:4","text":"Fourth."}
{"text":"Fifth."}`), "talk.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, turn := range got.Turns {
		ids = append(ids, turn.ID)
	}
	if want := []string{"1:2", "1:3", "1:5", "1:4", "1:7"}; !reflect.DeepEqual(ids, want) {
		t.Errorf("ids %q, want %q", ids, want)
	}
}
