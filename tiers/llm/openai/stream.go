package openai

import (
	"bytes"
	"encoding/json"
	"slices"
)

var byteOrderMark = []byte("\xef\xbb\xbf")

// eventFields begin the lines of a stream of events; a colon alone begins a comment, which keeps the connection alive.
var eventFields = [][]byte{[]byte("data:"), []byte("event:"), []byte("id:"), []byte("retry:"), []byte(":")}

// unwrapped returns the body of a reply without the comments before it, or the data of its events if it is a stream: of
// server-sent events, or of JSON objects as Ollama streams them.
func unwrapped(body []byte) (reply []byte, events [][]byte) {
	body = bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(body), byteOrderMark))
	for rest := body; ; {
		line, more, _ := bytes.Cut(rest, []byte("\n"))
		line = bytes.TrimSpace(line)
		isField := slices.ContainsFunc(eventFields, func(f []byte) bool { return bytes.HasPrefix(line, f) })
		data, isData := bytes.CutPrefix(line, eventFields[0])
		switch {
		case isData:
			events = append(events, bytes.TrimSpace(data))
		case len(line) > 0 && !isField && events == nil:
			return rest, objectsOf(rest)
		}
		if rest = more; len(rest) == 0 {
			return body, events
		}
	}
}

// objectsOf returns the objects of a body that is a stream of them; nil if it is none.
func objectsOf(body []byte) (all [][]byte) {
	d := json.NewDecoder(bytes.NewReader(body))
	for {
		var raw json.RawMessage
		if d.Decode(&raw) != nil {
			if len(all) < 2 {
				return nil
			}
			return all
		}
		if all == nil {
			var o object
			if json.Unmarshal(raw, &o) != nil || !isPiece(o) {
				return nil
			}
		}
		all = append(all, raw)
	}
}

// isPiece tells a piece of a streamed reply from a whole one.
func isPiece(o object) bool {
	choices := o.list("choices")
	return bytes.Equal(o["done"], []byte("false")) || len(choices) > 0 && choices[0].get("delta") != nil && choices[0].get("message") == nil
}

// readStream puts the pieces of a streamed reply together.
func readStream(events [][]byte) (chatReply, error) {
	var r chatReply
	for _, data := range events {
		if bytes.Equal(data, []byte("[DONE]")) {
			return r, nil
		}
		o, err := readObject(data)
		if err != nil {
			return r, err
		}
		r.readUsage(o)
		if o.says("error") {
			r.said, r.inChoice = errorOf(o), r.found // what came before is billed
			return r, nil
		}
		choices := o.list("choices")
		if len(choices) == 0 && (o.set("message") || o.set("response")) {
			choices = []object{o}
		}
		for _, choice := range choices {
			if choice.count("index") > 0 { // a reply after the first
				continue
			}
			if r.text == "" || o["choices"] == nil {
				r.readChoice(choice, "delta", "message")
			} else { // a message after pieces is all of them again
				r.readChoice(choice, "delta")
			}
		}
	}
	if r.finish == "" && r.usage.in == 0 {
		return r, errCut
	}
	return r, nil
}
