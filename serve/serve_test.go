package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	goopenai "github.com/sashabaranov/go-openai"

	"github.com/budgetmem/budgetmem/tiers/llm"

	"github.com/budgetmem/budgetmem/serve/api"
)

func TestChat(t *testing.T) {
	s := start(t, Config{})
	seed := 11
	req := say("hello out there")
	req.Messages = slices.Insert(req.Messages, 0, goopenai.ChatCompletionMessage{Role: "developer", MultiContent: []goopenai.ChatMessagePart{
		{Type: goopenai.ChatMessagePartTypeText, Text: "Be "}, {Type: goopenai.ChatMessagePartTypeText, Text: "brief."}}})
	//lint:ignore SA1019 many clients send the older name
	req.MaxTokens = 9
	req.Temperature, req.Seed, req.Stop = 0.5, &seed, []string{"END"}
	r, err := s.client("").CreateChatCompletion(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if c := r.Choices[0]; c.Message.Content != "hello out there" || c.Message.Role != "assistant" || c.FinishReason != "stop" || r.Model != "fake" || r.Object != "chat.completion" || r.ID == "" {
		t.Errorf("%+v", r)
	}
	if u := r.Usage; u.PromptTokens != 7 || u.CompletionTokens != 3 || u.TotalTokens != 10 || u.PromptTokensDetails.CachedTokens != 5 {
		t.Errorf("usage %+v", u)
	}
	want := llm.Request{MaxTokens: 9, Temperature: 0.5, Seed: 11, Stop: []string{"END"}, Messages: []llm.Message{{Role: llm.System, Content: "Be brief."}, {Role: llm.User, Content: "hello out there"}}}
	if got := s.model.last(); !reflect.DeepEqual(got, want) {
		t.Errorf("the model was asked %+v, want %+v", got, want)
	}

	req = say("x")
	req.ResponseFormat = &goopenai.ChatCompletionResponseFormat{Type: goopenai.ChatCompletionResponseFormatTypeJSONObject}
	req.MaxCompletionTokens = 4
	r, err = s.client("").CreateChatCompletion(t.Context(), req)
	if err != nil || r.Choices[0].Message.Content != `{"said": "x"}` {
		t.Errorf("%+v, %v", r, err)
	}
	if got := s.model.last(); !got.JSON || got.MaxTokens != 4 || got.Temperature != 0 {
		t.Errorf("the model was asked %+v", got)
	}
}

// Pieces arrive while the reply is still being made.
func TestStream(t *testing.T) {
	s := start(t, Config{})
	req := say("wait for it")
	req.StreamOptions = &goopenai.StreamOptions{IncludeUsage: true}
	stream, err := s.client("").CreateChatCompletionStream(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var text string
	var finish goopenai.FinishReason
	var usage *goopenai.Usage
	for {
		c, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if c.Usage != nil {
			usage = c.Usage
		}
		for _, choice := range c.Choices {
			text += choice.Delta.Content
			if choice.FinishReason != "" {
				finish = choice.FinishReason
			}
		}
		if text == "wait for " {
			s.model.let <- struct{}{} // blocks for ever if the pieces before came too late
		}
	}
	if text != "wait for it" || finish != "stop" || usage == nil || usage.TotalTokens != 10 || usage.PromptTokensDetails.CachedTokens != 5 {
		t.Errorf("%q, %s, %+v", text, finish, usage)
	}
	// An empty reply is a reply too, and a failure after the first piece is an event.
	status, header, body := s.post(t, "/v1/chat/completions", `{"model": "fake", "stream": true, "messages": [{"role": "user", "content": ""}]}`)
	if status != 200 || header.Get("Content-Type") != "text/event-stream" || !strings.HasSuffix(body, "data: [DONE]\n\n") || !strings.Contains(body, `"finish_reason":"stop"`) {
		t.Errorf("%d %s", status, body)
	}
	stream, err = s.client("").CreateChatCompletionStream(t.Context(), say("break here"))
	for err == nil {
		_, err = stream.Recv()
	}
	if !strings.Contains(err.Error(), "broken") {
		t.Errorf("a broken stream ends with %v", err)
	}
}

func TestEmbeddings(t *testing.T) {
	s := start(t, Config{})
	texts := make([]string, 300) // more than a batch
	for i := range texts {
		texts[i] = strings.Repeat(string(rune('a'+i%26)), 1+i/26) + " text"
	}
	want, err := s.config.Embedder.Embed(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []goopenai.EmbeddingEncodingFormat{"", goopenai.EmbeddingEncodingFormatFloat, goopenai.EmbeddingEncodingFormatBase64} {
		r, err := s.client("").CreateEmbeddings(t.Context(), goopenai.EmbeddingRequest{Model: "fake-embedder", Input: texts, EncodingFormat: format})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Data) != len(texts) || r.Usage.PromptTokens != 2*len(texts) || r.Usage.TotalTokens != 2*len(texts) {
			t.Fatalf("%d vectors, usage %+v", len(r.Data), r.Usage)
		}
		for i, e := range r.Data {
			if e.Index != i || !slices.Equal(e.Embedding, want[i]) {
				t.Fatalf("format %q: vector %d differs", format, i)
			}
		}
	}
	r, err := s.client("").CreateEmbeddings(t.Context(), goopenai.EmbeddingRequest{Model: "fake-embedder", Input: texts[3]})
	if err != nil || !slices.Equal(r.Data[0].Embedding, want[3]) {
		t.Errorf("a single text: %v, %v", r, err)
	}
}

// Many ask at once, and each gets what is its own.
func TestConcurrentEmbeddings(t *testing.T) {
	s := start(t, Config{})
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			texts := make([]string, 1+i*9)
			for j := range texts {
				texts[j] = fmt.Sprintf("%s of %s", strings.Repeat("x", i+1), strings.Repeat("y", j+1))
			}
			want, err := s.config.Embedder.Embed(t.Context(), texts)
			if err != nil {
				t.Error(err)
				return
			}
			r, err := s.client("").CreateEmbeddings(t.Context(), goopenai.EmbeddingRequest{Model: "fake-embedder", Input: texts})
			if err != nil {
				t.Error(err)
				return
			}
			for j := range texts {
				if !slices.Equal(r.Data[j].Embedding, want[j]) {
					t.Errorf("request %d, text %d: another vector", i, j)
				}
			}
		})
	}
	wg.Wait()
}

func TestModels(t *testing.T) {
	s := start(t, Config{})
	list, err := s.client("").ListModels(t.Context())
	if err != nil || len(list.Models) != 2 || list.Models[0].ID != "fake" || list.Models[1].ID != "fake-embedder" {
		t.Errorf("%+v, %v", list, err)
	}
	if m, err := s.client("").GetModel(t.Context(), "fake"); err != nil || m.ID != "fake" || m.Object != "model" {
		t.Errorf("%+v, %v", m, err)
	}
	_, err = s.client("").GetModel(t.Context(), "gpt-4o")
	var refused *goopenai.APIError
	if !errors.As(err, &refused) || refused.HTTPStatusCode != 404 || refused.Code != "model_not_found" {
		t.Errorf("%v", err)
	}
	h, err := api.GetHealth(t.Context(), s.addr, "")
	if err != nil || h.Status != "ok" || len(h.Models) != 2 || h.Models[0].ID != "fake:1" || h.Models[1].Kind != "embedding" || h.Queue.Limit != DefaultMaxQueue || h.Queue.Served < 2 || h.Memory.GoHeap == 0 {
		t.Errorf("health %+v, %v", h, err)
	}
}

func TestErrors(t *testing.T) {
	s := start(t, Config{MaxBody: 1000})
	const hi = `"messages": [{"role": "user", "content": "hi"}]`
	chat := func(rest string) string { return `{"model": "fake", ` + rest + `}` }
	for _, c := range []struct {
		path, body  string
		status      int
		param, code string
		says        string
	}{
		{"/v1/chat/completions", `{`, 400, "", "", "no JSON"},
		{"/v1/chat/completions", `[]`, 400, "", "", "array"},
		{"/v1/chat/completions", `{"model": "gpt", ` + hi + `}`, 404, "model", "model_not_found", "there is fake"},
		{"/v1/chat/completions", `{"model": "fake-embedder", ` + hi + `}`, 404, "model", "model_not_found", "fake"},
		{"/v1/chat/completions", chat(`"messages": []`), 400, "messages", "", "at least one"},
		{"/v1/chat/completions", chat(`"messages": "hi"`), 400, "messages", "", "string"},
		{"/v1/chat/completions", chat(`"messages": [{"role": "tool", "content": "hi"}]`), 400, "messages", "", `"tool"`},
		{"/v1/chat/completions", chat(`"messages": [{"role": "user", "content": [{"type": "image_url"}]}]`), 400, "messages", "", "image_url"},
		{"/v1/chat/completions", chat(`"messages": [{"role": "user", "content": 3}]`), 400, "messages", "", "content"},
		{"/v1/chat/completions", chat(hi + `, "max_tokens": 0`), 400, "max_tokens", "", "1 to 1048576"},
		{"/v1/chat/completions", chat(hi + `, "max_tokens": "many"`), 400, "max_tokens", "", "string"},
		{"/v1/chat/completions", chat(hi + `, "temperature": 3`), 400, "temperature", "", "0 to 2"},
		{"/v1/chat/completions", chat(hi + `, "stop": 5`), 400, "stop", "", "stop"},
		{"/v1/chat/completions", chat(hi + `, "stop": [""]`), 400, "stop", "", "empty"},
		{"/v1/chat/completions", chat(hi + `, "n": 17`), 400, "n", "", "1 to 16"},
		{"/v1/chat/completions", chat(hi + `, "n": 16, "max_tokens": 1152921504606846976`), 400, "max_tokens", "", "1 to 1048576"},
		{"/v1/chat/completions", chat(hi + `, "n": 16, "max_completion_tokens": 576460752303423488`), 400, "max_completion_tokens", "", "1 to 1048576"},
		{"/v1/chat/completions", chat(hi + `, "n": 2, "stream": true`), 400, "n", "", "one choice"},
		{"/v1/chat/completions", chat(hi + `, "top_p": 0.5`), 400, "top_p", "", "temperature"},
		{"/v1/chat/completions", chat(hi + `, "frequency_penalty": 1`), 400, "frequency_penalty", "", "not supported"},
		{"/v1/chat/completions", chat(hi + `, "presence_penalty": 1`), 400, "presence_penalty", "", "not supported"},
		{"/v1/chat/completions", chat(hi + `, "logprobs": true, "stream": true`), 400, "logprobs", "", "stream"},
		{"/v1/chat/completions", chat(hi + `, "logprobs": true, "top_logprobs": 3`), 400, "top_logprobs", "", "0 to 2"},
		{"/v1/chat/completions", chat(hi + `, "top_logprobs": 1`), 400, "top_logprobs", "", "needs logprobs"},
		{"/v1/chat/completions", chat(hi + `, "logit_bias": {"3": 1}`), 400, "logit_bias", "", "not supported"},
		{"/v1/chat/completions", chat(hi + `, "tools": [{}]`), 400, "tools", "", "not supported"},
		{"/v1/chat/completions", chat(hi + `, "functions": [{}]`), 400, "functions", "", "not supported"},
		{"/v1/chat/completions", chat(hi + `, "modalities": ["audio"]`), 400, "modalities", "", "text"},
		{"/v1/chat/completions", chat(hi + `, "response_format": {"type": "json_schema"}`), 400, "response_format", "", "json_object"},
		{"/v1/chat/completions", chat(`"messages": [{"role": "user", "content": "long"}]`), 400, "messages", "context_length_exceeded", "5000 tokens"},
		{"/v1/chat/completions", chat(`"stream": true, "messages": [{"role": "user", "content": "long"}]`), 400, "messages", "context_length_exceeded", "5000 tokens"},
		{"/v1/chat/completions", chat(`"messages": [{"role": "user", "content": "fail"}]`), 500, "", "", "cannot"},
		{"/v1/chat/completions", chat(`"messages": [{"role": "user", "content": "panic"}]`), 500, "", "", "log"},
		{"/v1/chat/completions", chat(hi + strings.Repeat(" ", 1000)), 413, "", "request_too_large", "1000 bytes"},
		{"/v1/embeddings", `{"model": "fake", "input": "x"}`, 404, "model", "model_not_found", "fake-embedder"},
		{"/v1/embeddings", `{"model": "fake-embedder"}`, 400, "input", "", "input"},
		{"/v1/embeddings", `{"model": "fake-embedder", "input": []}`, 400, "input", "", "0 texts"},
		{"/v1/embeddings", `{"model": "fake-embedder", "input": ["a", ""]}`, 400, "input", "", "text 1"},
		{"/v1/embeddings", `{"model": "fake-embedder", "input": [[1, 2]]}`, 400, "input", "", "token ids"},
		{"/v1/embeddings", `{"model": "fake-embedder", "input": "x", "dimensions": 3}`, 400, "dimensions", "", "64"},
		{"/v1/embeddings", `{"model": "fake-embedder", "input": "x", "encoding_format": "hex"}`, 400, "encoding_format", "", "base64"},
		{"/v1/completions", `{}`, 404, "", "unknown_url", "/v1/completions"},
		{"/v1/models", `{}`, 405, "", "", "POST"},
	} {
		status, _, body := s.post(t, c.path, c.body)
		e := apiErrorOf(t, body)
		if status != c.status || e.Param != c.param || e.Code != c.code || !strings.Contains(e.Message, c.says) {
			t.Errorf("%s %s: %d %+v", c.path, c.body, status, e)
		}
	}
	if _, err := s.client("").CreateChatCompletion(t.Context(), say("fine")); err != nil {
		t.Errorf("after all these errors: %v", err)
	}
	if n := s.depth(); n != 0 {
		t.Errorf("%d requests are left in the queue", n)
	}
}

func TestNewRefuses(t *testing.T) {
	one := []ChatModel{newFake()}
	for name, c := range map[string]Config{
		"no model": {}, "twice": {Chats: []ChatModel{newFake(), newFake()}}, "token": {Chats: one, Token: "a b"}, "limit": {Chats: one, MaxQueue: -1},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Whatever is sent to parse, the server answers with an error or a success and not with a failure of its own.
func FuzzChatRequest(f *testing.F) {
	for _, s := range []string{
		`{"model": "fake", "messages": [{"role": "user", "content": "hi"}]}`,
		`{"model": "fake", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "stop": "x", "stream": true, "stream_options": {"include_usage": true}}`,
		`{"model": "fake", "messages": [{"content": null}], "stop": null, "max_tokens": 1e3, "response_format": {"type": "json_object"}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var r chatRequest
		if json.Unmarshal([]byte(s), &r) != nil {
			return
		}
		if err := r.check(); err != nil {
			var refused *apiError
			if !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
				t.Errorf("%s: %v", s, err)
			}
			return
		}
		if req := r.request(); len(req.Messages) == 0 || req.Temperature < 0 || req.MaxTokens < 0 {
			t.Errorf("%s became %+v", s, req)
		}
	})
}
