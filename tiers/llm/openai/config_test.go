package openai

import (
	"strings"
	"testing"
)

// A base URL is read as it is likely meant, or refused with that.
func TestBaseURL(t *testing.T) {
	for text, want := range map[string]string{
		"http://h/v1": "http://h/v1/chat/completions", "http://h/v1/": "http://h/v1/chat/completions", " http://h/v1// ": "http://h/v1/chat/completions",
		"http://h/v1/chat/completions": "http://h/v1/chat/completions", "http://h/v1/chat/completions/?x=1": "http://h/v1/chat/completions?x=1",
		"http://h/v1#frag": "http://h/v1/chat/completions", "http://h/v1/models": "http://h/v1/chat/completions", "http://h/v1/responses": "http://h/v1/chat/completions",
		"http://h/v1/embeddings": "http://h/v1/chat/completions", "http://h/v1/chat": "http://h/v1/chat/completions", "http://[::1]:8000/v1": "http://[::1]:8000/v1/chat/completions",
		"https://h/openai/deployments/d?api-version=2024&x=1": "https://h/openai/deployments/d/chat/completions?api-version=2024&x=1",
		"http://h/a%2Fb/v1": "http://h/a%2Fb/v1/chat/completions", "http://h": "http://h/chat/completions",
		"https://h/models": "https://h/models/chat/completions",
		// Refused.
		"localhost:8000/v1": "as in http://localhost:8000/v1", "127.0.0.1:8000": "as in http://127.0.0.1:8000", "h.example/v1": "as in http://h.example/v1",
		"http://h/v1,http://g/v1": "one URL each", `"http://h/v1"`: "quotation marks", "http://u:p@h/v1": "no user or password", "ftp://h/v1": "must look like",
		"http:///v1": "must look like", "http//h/v1": "must look like", "": "must look like", "https://h:99999/v1": "no port 99999", "http://h:0/v1": "no port 0",
		"http://localhost:11434/api/chat": "http://localhost:11434/v1", "http://h/api/generate": "http://h/v1",
	} {
		base, query, err := parseBase(text)
		switch {
		case err != nil && (strings.HasPrefix(want, "http://h/v1/") || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want %q", text, err, want)
		case err == nil && route{base: base, query: query}.address("chat/completions") != want:
			t.Errorf("%q is asked at %s, want %q", text, route{base: base, query: query}.address("chat/completions"), want)
		}
	}
}
