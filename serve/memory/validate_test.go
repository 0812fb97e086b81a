package memory_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/serve/memory"
)

// refusal asks and returns the status and the message of a refusal.
func (c client) refusal(method, path, body string) (int, string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	var e struct{ Error struct{ Message string } }
	if err := json.Unmarshal(text, &e); err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, e.Error.Message
}

// A number out of its limits is refused with them.
func TestLimitsAreSaid(t *testing.T) {
	c := open(t, nil)
	for body, want := range map[string]string{`{"query":"x","limit":0}`: "limit: 0: want 1 to ", `{"question":"x","max_dollars":0}`: "max_dollars: 0: want more than 0", `{"question":"x","min_confidence":2}`: "min_confidence: 2: want 0 to 1"} {
		path := "/v1/memories/chat/ask"
		if strings.Contains(body, "query") {
			path = "/v1/memories/chat/search"
		}
		if s, message := c.refusal("POST", path, body); s != 400 || !strings.Contains(message, want) {
			t.Errorf("%s: %d, %s", body, s, message)
		}
	}
}

// Every field of every body is refused in a form that the description does not give it, by its name; so are unknown fields, at
// every level.
func TestBodiesHaveTheirForm(t *testing.T) {
	c := open(t, nil)
	if s := c.do("POST", "/v1/memories/chat/turns", `{"turns":[{"id":"a","session":"1","text":"We meet at the old mill."}]}`, nil); s != 200 {
		t.Fatal(s)
	}
	n := 0
	for _, r := range []struct{ method, path, body string }{
		{"POST", "/v1/memories/chat/turns", `{"expires":"30d","turns":[{"text":"I bring bread.","id":"b","session":"1","speaker":"Omar","time":"3 March 2025"}]}`},
		{"PUT", "/v1/memories/chat/turns/a", `{"text":"We meet at the new mill.","speaker":"Rita","time":"3 March 2025"}`},
		{"POST", "/v1/memories/chat/search", `{"query":"Where is the mill?","limit":1,"before":"2999-01-01","after":"2001-01-01T10:04:00+01:00"}`},
		{"POST", "/v1/memories/chat/ask", `{"question":"Where?","steps":true,"budget":"low","max_dollars":1,"before":"2999-01-01","after":"2001-01-01"}`},
	} {
		if s, message := c.refusal(r.method, r.path, r.body); s != 200 {
			t.Fatalf("%s %s: %d, %s", r.method, r.path, s, message)
		}
		var valid any
		if err := json.Unmarshal([]byte(r.body), &valid); err != nil {
			t.Fatal(err)
		}
		refused := func(field, body string) {
			n++
			if s, message := c.refusal(r.method, r.path, body); s != 400 || !strings.Contains(message, field) || len(message) > 400 {
				t.Errorf("%s %s %.100s: %d, %q, want 400 that names %q", r.method, r.path, body, s, message, field)
			}
		}
		eachObject(valid, "", func(object map[string]any, path string) {
			for _, field := range slices.Sorted(maps.Keys(object)) {
				was := object[field]
				name := strings.TrimPrefix(path+"."+field, ".")
				for _, wrong := range wrongFor(field) {
					object[field] = wrong
					refused(name, marshal(t, valid))
				}
				delete(object, field)
				for _, other := range []string{strings.ToUpper(field), field + "s", field + " ", ""} {
					object[other] = was
					refused(other, marshal(t, valid))
					delete(object, other)
				}
				object[field] = was
				// In another case it is no second way to give it.
				object[strings.ToUpper(field)] = was
				refused(strings.ToUpper(field), marshal(t, valid))
				delete(object, strings.ToUpper(field))
			}
			object["memory"] = "chat"
			refused("memory", marshal(t, valid))
			delete(object, "memory")
		})
	}
	if n < 150 {
		t.Errorf("only %d bodies", n)
	}
}

// wrongFor are values that a field may not have.
func wrongFor(field string) []any {
	wrong := []any{nil, true, map[string]any{}, map[string]any{"text": "x"}, []any{"x"}, []any{nil}}
	switch field {
	case "steps":
		return append(slices.DeleteFunc(wrong, func(v any) bool { return v == true }), "true", 1)
	case "limit":
		return append(wrong, "1", 0, -1, 1.5, 101, 1e300)
	case "max_dollars":
		return append(wrong, "1", 0, -1)
	}
	wrong = append(wrong, 1, 0.5)
	switch field {
	case "before", "after":
		wrong = append(wrong, "", " ", "soon", "2025-02-30", "2025-3-3", "2025-03-03 10:04", "2025-03-03T25:00:00Z", "2025-03-03\n")
	case "expires":
		wrong = append(wrong, "", " ", "soon", "2025-02-30", "0d", "-1d", "d", "never ")
	case "budget":
		wrong = append(wrong, "", "huge", "LOW", "low ")
	case "query", "question", "text":
		wrong = append(wrong, "", " ", "\n")
	case "turns":
		wrong = append(wrong, "", []any{}, []any{[]any{}})
	}
	return wrong
}

// eachObject calls f with every object in v and its path.
func eachObject(v any, path string, f func(object map[string]any, path string)) {
	switch v := v.(type) {
	case map[string]any:
		f(v, path)
		for name, child := range v {
			eachObject(child, strings.TrimPrefix(path+"."+name, "."), f)
		}
	case []any:
		for i, child := range v {
			eachObject(child, fmt.Sprintf("%s[%d]", path, i), f)
		}
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Parameters in the query are held to the description too, in every operation.
func TestQueriesHaveTheirForm(t *testing.T) {
	c := open(t, nil)
	c.do("POST", "/v1/memories/chat/turns", `{"turns":[{"id":"a","session":"1","text":"We meet at the old mill."}]}`, nil)
	for _, query := range []string{"limit=", "limit=+1", "limit=%2B1", "limit=01", "limit=1.0", "limit=0", "limit=-1", "limit=1001", "limit=1&limit=1", "Limit=1", "memory=chat", "limit=%zz", "limit=1;session=1"} {
		if s, message := c.refusal("GET", "/v1/memories/chat/turns?"+query, ""); s != 400 || message == "" {
			t.Errorf("%s: %d", query, s)
		}
	}
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/v1/memories", ""}, {"GET", "/v1/memories/chat", ""}, {"GET", "/v1/memories/chat/turns/a", ""}, {"POST", "/v1/memories/chat/search", `{"query":"mill"}`},
		{"DELETE", "/v1/memories/chat", ""},
	} {
		if s, message := c.refusal(r.method, r.path+"?session=2", r.body); s != 400 || !strings.Contains(message, "session") {
			t.Errorf("%s %s?session=2: %d, %s", r.method, r.path, s, message)
		}
		if s := c.do(r.method, r.path, r.body, nil); s != 200 {
			t.Errorf("%s %s: %d", r.method, r.path, s)
		}
	}
}

// A field that is given twice is what it was checked as.
func TestFieldGivenTwice(t *testing.T) {
	c := open(t, nil)
	if s := c.do("POST", "/v1/memories/chat/turns", `{"turns":[{"id":"a","text":"One.","speaker":"Rita"}],"turns":[{"id":"b","text":"Two."}]}`, nil); s != 200 {
		t.Fatal(s)
	}
	var turn memory.Turn
	if s := c.do("GET", "/v1/memories/chat/turns/b", "", &turn); s != 200 || turn.Text != "Two." || turn.Speaker != "" {
		t.Errorf("%d %+v", s, turn)
	}
}
