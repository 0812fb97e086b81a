package openai

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

func TestCall(t *testing.T) {
	t.Setenv("CALL_TEST_KEY", "secret-key")
	status, reply := http.StatusOK, `{"answer": 42}`
	var path, key, body string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		path, key, body = r.URL.Path, r.Header.Get("Authorization"), string(b)
		w.WriteHeader(status)
		io.WriteString(w, reply)
	}))
	defer s.Close()
	c := client(t, Config{Endpoints: []Endpoint{{BaseURL: s.URL + "/v1/", KeyEnv: []string{"CALL_TEST_KEY"}}}})
	var out struct{ Answer int }
	if err := c.Call(t.Context(), "score", map[string]string{"a": "b"}, &out); err != nil || out.Answer != 42 {
		t.Errorf("%+v, %v", out, err)
	}
	if path != "/v1/score" || key != "Bearer secret-key" || body != `{"a":"b"}` {
		t.Errorf("asked %s with %q as %s", path, body, key)
	}
	for _, tt := range []struct {
		status int
		reply  string
		want   error
		says   string
	}{
		{http.StatusNotFound, `{"error": {"message": "no model; secret-key"}}`, llm.ErrBadRequest, "no model"},
		{http.StatusInternalServerError, "oh", llm.ErrUnavailable, "oh"},
		{http.StatusOK, "no JSON", llm.ErrUnavailable, "no JSON"},
	} {
		status, reply = tt.status, tt.reply
		err := c.Call(t.Context(), "score", nil, &out)
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "secret-key") {
			t.Errorf("%d %q: %v, want %v that says %q", tt.status, tt.reply, err, tt.want, tt.says)
		}
	}
	if err := c.Call(t.Context(), "score", json.RawMessage("{"), &out); !errors.Is(err, llm.ErrBadRequest) {
		t.Errorf("what cannot be sent: %v", err)
	}
}

// At its own server the project takes an empty reply for one.
func TestExactTakesEmptyReplies(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"choices": [{"message": {"content": ""}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 0}}`)
	}))
	defer s.Close()
	config := Config{Endpoints: []Endpoint{{BaseURL: s.URL}}}
	if _, err := client(t, config).Chat(t.Context(), hello); !errors.Is(err, llm.ErrEmpty) {
		t.Errorf("elsewhere: %v", err)
	}
	config.Exact = true
	if r, err := client(t, config).Chat(t.Context(), hello); err != nil || r.Text != "" || r.Usage.In != 3 {
		t.Errorf("%+v, %v", r, err)
	}
}
