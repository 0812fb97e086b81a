package conversation

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

func TestReadTurns(t *testing.T) {
	in := "\ufeff" + `{"session":"a","time":"3 May 2024","speaker":"Ann","text":"I moved to Bern."}

{"session":"a","speaker":"Bob","text":" Nice ☺ "}
{"text":"on its own","time":null}
{"session":"b","id":"x7","text":"named"}`
	got, err := Read(strings.NewReader(in), "talk.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	want := []chunk.Turn{
		{ID: "a:1", Session: "a", Time: "3 May 2024", Speaker: "Ann", Text: "I moved to Bern."},
		{ID: "a:2", Session: "a", Speaker: "Bob", Text: "Nice ☺"},
		{ID: "1:1", Session: "1", Text: "on its own"},
		{ID: "x7", Session: "b", Text: "named"},
	}
	if !reflect.DeepEqual(got.Turns, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestReadNamesTheFault(t *testing.T) {
	good := `{"text":"fine"}` + "\n"
	for _, tt := range []struct{ in, want string }{
		{good + `{"text": 3}`, `talk.jsonl:2: field "text": want a string, got 3; put it in quotes`},
		{good + `{"session":"1"}`, `talk.jsonl:2: field "text": missing or empty`},
		{`{"txet":"a","text":"b"}`, `talk.jsonl:1: field "txet": no such field; a turn has id, session, time, speaker, text`},
		{good + "\n" + `["a"]`, `talk.jsonl:3: not a JSON object`},
		{`null`, `talk.jsonl:1: not a JSON object`},
		{`{"text":"a"`, `talk.jsonl:1: not a JSON object`},
		{`{"id":"a","text":"x"}` + "\n" + `{"id":"a","text":"y"}`, `talk.jsonl:2: field "id": "a" is the id of line 1 already`},
		{"[\n" + `{"text":"a"},` + "\n" + `{"txet":"b"}]`, `talk.jsonl:3: field "txet": no such field`},
		{"[\n" + `{"text":"a"},` + "\n" + `{"text":"b"`, `talk.jsonl:3: not a JSON object`},
		{`[{"role":"user","content":"a"},{"role":"user","stuff":1}]`, `talk.jsonl:1: message 1: no content, text, value or parts in it; its fields are role, stuff`},
		{`{"mapping": 3}`, `talk.jsonl:1: field "mapping": want the messages`},
		{`{"messages": 3}`, `talk.jsonl:1: field "messages": want a list of messages`},
		{"Ann: hello\nBob: hi", `talk.jsonl:1: not a JSON object; write one object a line (byte 1: invalid character 'A' looking for beginning of value); exports are read too: ChatGPT`},
		{"{\"text\":\"\xff\"}", `talk.jsonl:1: not UTF-8`},
	} {
		_, err := Read(strings.NewReader(tt.in), "talk.jsonl")
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want %q", tt.in, err, tt.want)
		}
		var line *LineError
		if !errors.As(err, &line) {
			t.Errorf("%q: error of type %T", tt.in, err)
		}
	}
	if _, err := Read(strings.NewReader("\n \n"), "x"); !errors.Is(err, ErrNoTurns) {
		t.Errorf("an empty file: %v, want ErrNoTurns", err)
	}
}

// FuzzRead checks that any input gives turns with text and ids of their own, which written out read back the same,
// or an error.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"session":"a","time":"t","speaker":"s","text":"x"}` + "\n" + `{"text":"y"}`))
	f.Add([]byte("\ufeff{\"text\":\"x\",\"id\":null}\r\n\r\n"))
	f.Add([]byte(`{"text":"\ud800"}`))
	f.Add([]byte(`[1]`))
	f.Add([]byte("# Title\n\n- item\n  more\n\n```\ncode\n\n```\nA\n=\n![x](y)\n"))
	f.Add([]byte("3/3/25, 7:02 PM - Rita: Hi.\nmore\n3/3/25, 7:03 PM - Omar: <Media omitted>\n"))
	f.Add([]byte(`{"name":"R","type":"personal_chat","messages":[{"date":"2025-03-03T10:04:00","from":"Rita","text":["a",{"text":"b"}]}],"x":1}`))
	f.Add([]byte(`{"chats":{"about":"","list":[{"name":"R","type":"x","messages":[]}]}}` + "\n{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Read(strings.NewReader(string(data)), "f")
		turns := got.Turns
		if err != nil {
			if turns != nil {
				t.Fatal("turns beside an error")
			}
			return
		}
		var again strings.Builder
		seen := map[string]bool{}
		for _, turn := range turns {
			if turn.Text == "" || turn.ID == "" || turn.Session == "" || seen[turn.ID] {
				t.Fatalf("bad turn %+v", turn)
			}
			seen[turn.ID] = true
			b, err := json.Marshal(turn)
			if err != nil {
				t.Fatal(err)
			}
			again.Write(b)
			again.WriteByte('\n')
		}
		back, err := Read(strings.NewReader(again.String()), "f")
		if err != nil || !reflect.DeepEqual(back.Turns, turns) {
			t.Fatalf("read back %+v (%v), want %+v", back, err, turns)
		}
	})
}
