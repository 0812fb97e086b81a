package local

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestJSONText(t *testing.T) {
	for text, want := range map[string]string{
		`{}`: "done", `{"a": [1, -0.5e+3, "x\n\u00e9", true, null, {}], "b": ""}`: "done", "{\n  \"a\": 1\n}": "done", `{"a":1}` + "\n": "done",
		`{"a": 0`: "open", `{"ü`: "open", `{`: "open", ``: "open", `{"a": tr`: "open",
		` {}`: "wrong", `[1]`: "wrong", `"x"`: "wrong", `{}{`: "wrong", `{"a"}`: "wrong", `{"a": 01}`: "wrong", `{"a": 1.}`: "wrong", `{"a": [1}`: "wrong",
		`{"a": 1,}`: "wrong", `{"a": [1,]}`: "wrong", `{"a": "` + "\n": "wrong", `{"\x`: "wrong", `{"a": +1`: "wrong", `{a`: "wrong", "```": "wrong",
		`{` + strings.Repeat(" ", maxSpaces+1): "wrong", `{"a":` + strings.Repeat("[", maxDepth): "wrong",
	} {
		got := "wrong"
		if j := (jsonText{}); j.extend([]byte(text)) {
			if got = "open"; j.done() {
				got = "done"
			}
		}
		if got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

// What is let through to its end is JSON, and all JSON objects within the bounds are let through.
func FuzzJSONText(f *testing.F) {
	for _, s := range []string{`{}`, `{"a": [1, -0.5e+3, "x\n\u00e9", true, false, null, {"b": {}}]}`, `{"a": 0}{`, `{"a" : -1 , "b":1E5}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var j jsonText
		ok := j.extend([]byte(s)) && j.done()
		if ok && !json.Valid([]byte(s)) {
			t.Errorf("%q was let through", s)
		}
		if bounded := len(s) < maxDepth; bounded && strings.HasPrefix(s, "{") && json.Valid([]byte(s)) && !ok {
			t.Errorf("%q was not let through", s)
		}
	})
}
