package openai

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// A key must not get out, however hard an endpoint tries: in errors, in what is printed, in replies, in the cache.
func TestKeysStayIn(t *testing.T) {
	const key = `sk-"secret/0123456789+abcdef`
	t.Setenv("SECRET_KEY", key)
	bodies := map[string]llmtest.Fault{
		"wrong key":  {Kind: llmtest.Status, Status: 401, Body: `{"error":{"message":"no such key: ` + strings.ReplaceAll(key, `"`, `\"`) + `"}}`},
		"plain text": {Kind: llmtest.Status, Status: 400, Body: "Authorization: Bearer " + key},
		"server":     {Kind: llmtest.Status, Status: 500, Body: strings.Repeat("x", 290) + key + " tail"},
		"address":    {Kind: llmtest.Status, Status: 503, Body: "/v1?key=sk-%22secret%2F0123456789%2Babcdef"},
		"no JSON":    {Kind: llmtest.Status, Status: 200, Body: "<p>" + key},
		"no choices": {Kind: llmtest.Status, Status: 200, Body: `{"error":"` + strings.ReplaceAll(key, `"`, `\"`) + `"}`},
	}
	leaks := func(text string) bool {
		return strings.Contains(text, "secret") || strings.Contains(text, "0123456789")
	}
	for name, f := range bodies {
		t.Run(name, func(t *testing.T) {
			s := start(t, llmtest.Config{Script: llmtest.Always(f)})
			cfg := at(s, "SECRET_KEY")
			cfg.Retry = quick
			c := client(t, cfg)
			_, err := c.Chat(t.Context(), hello)
			if err == nil || leaks(fmt.Sprintf("%v %+v %#v", err, err, err)) {
				t.Errorf("%v", err)
			}
			var e *llm.Error
			if !errors.As(err, &e) || leaks(fmt.Sprintf("%+v %#v", *e, *e)) {
				t.Errorf("%#v", e)
			}
			if text := fmt.Sprintf("%v %+v %#v %s", c, c, c, c); leaks(text) {
				t.Errorf("printing the client: %s", text)
			}
			_, _, err = c.Embeddings(t.Context(), []string{"a"})
			if err == nil || leaks(err.Error()) {
				t.Errorf("embeddings: %v", err)
			}
		})
	}
	t.Run("reply and cache", func(t *testing.T) {
		s := start(t, llmtest.Config{Reply: func(c llmtest.Call) string { return "you sent " + c.Key }})
		path := filepath.Join(t.TempDir(), "cache.db")
		cache, err := llm.OpenCache(path)
		if err != nil {
			t.Fatal(err)
		}
		stack, err := llm.Stack(client(t, at(s, "SECRET_KEY")), llm.StackOptions{Prices: llm.Prices{}.AllowUnpriced("test-model"), Cache: cache})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := stack.Chat(t.Context(), hello)
		if err != nil || resp.Text != "you sent [key]" {
			t.Errorf("%q %v", resp.Text, err)
		}
		cache.Close()
		data, err := os.ReadFile(path)
		if err != nil || leaks(string(data)) || !strings.Contains(string(data), "you sent [key]") {
			t.Errorf("the cache file holds the key, or not the reply (%v)", err)
		}
	})
	t.Run("no such host", func(t *testing.T) {
		c := client(t, Config{Endpoints: []Endpoint{{BaseURL: "http://127.0.0.1:1/v1", KeyEnv: []string{"SECRET_KEY"}}}})
		if _, err := c.Chat(t.Context(), hello); !errors.Is(err, llm.ErrUnavailable) || leaks(err.Error()) {
			t.Error(err)
		}
	})
}
