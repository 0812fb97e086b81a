package llmtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
)

// FamilyAnswer is what every model of Families answers.
const FamilyAnswer = "They meet at the old mill."

// FamilyKey is the key that endpoints of Families take.
const FamilyKey = "family-key-1234567890"

// Family is an endpoint of one kind with one of its quirks: what it refuses, and the form of its reply to a chat.
type Family struct {
	Name string
	// Base is the base URL below the server's address, with a query where the family has one.
	Base string
	// Header is where the family wants the key: "" means Authorization.
	Header string
	// Refuse are request fields that the endpoint does not take, each with the status and body of its refusal. A field of
	// temperature is refused only if it is 0.
	Refuse map[string]Refusal
	// Room is how many tokens of the limit the model spends before it answers; with less it sends Cut.
	Room int
	Cut  string
	// Status and Body are the reply; status 0 means 200.
	Status int
	Body   string
	// In and Out are the tokens that a client should count for the reply; 0 where it has to estimate.
	In, Out int
	// Paid is how many replies a client has to pay for, 1 if it is 0. Nothing is paid for a refusal.
	Paid int
	// Failure is part of the one clear error that a client should report, "" where there is an answer.
	Failure string
}

// Refusal is the answer to a request that an endpoint does not take.
type Refusal struct {
	Status int
	Body   string
}

// FamilyServer is a running Family. Safe for concurrent use.
type FamilyServer struct {
	family Family
	http   *httptest.Server

	mu       sync.Mutex
	requests int
	paid     int
}

// StartFamily starts an endpoint on a free port of the loopback interface. The caller closes it.
func StartFamily(f Family) *FamilyServer {
	s := &FamilyServer{family: f}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// URL is the base URL for clients.
func (s *FamilyServer) URL() string { return s.http.URL + s.family.Base }

// Close stops the server.
func (s *FamilyServer) Close() { s.http.Close() }

// Counts returns how many requests came, and how many replies the caller has to pay for.
func (s *FamilyServer) Counts() (requests, paid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests, s.paid
}

func (s *FamilyServer) serve(w http.ResponseWriter, r *http.Request) {
	status, body, paid := s.answer(r)
	s.mu.Lock()
	s.requests++
	s.paid += paid
	s.mu.Unlock()
	if strings.HasPrefix(body, "<") {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
	} else {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// answer returns the reply to a request, and how many replies it makes the caller pay for.
func (s *FamilyServer) answer(r *http.Request) (status int, body string, paid int) {
	f := s.family
	path, query, _ := strings.Cut(f.Base, "?")
	if r.Method != http.MethodPost || r.URL.Path != path+"/chat/completions" || r.URL.RawQuery != query {
		return http.StatusNotFound, `{"error": {"code": "404", "message": "Resource not found"}}`, 0
	}
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if f.Header != "" {
		key = r.Header.Get(f.Header)
	}
	if key != FamilyKey {
		return http.StatusUnauthorized, `{"error": {"message": "Access denied due to invalid subscription key"}}`, 0
	}
	var request map[string]any
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		return http.StatusBadRequest, fmt.Sprintf(`{"error": {"message": %q}}`, err), 0
	}
	for _, name := range slices.Sorted(keys(f.Refuse)) {
		if value, sent := request[name]; sent && (name != "temperature" || value == 0.0) {
			return f.Refuse[name].Status, f.Refuse[name].Body, 0
		}
	}
	limit, _ := request["max_tokens"].(float64)
	if newer, ok := request["max_completion_tokens"].(float64); ok {
		limit = newer
	}
	if int(limit) < f.Room {
		return http.StatusOK, f.Cut, 1
	}
	if f.Status != 0 && f.Status != http.StatusOK {
		return f.Status, f.Body, 0
	}
	return http.StatusOK, f.Body, 1
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// Families are the kinds of endpoints that the program has to get along with, each with the quirks that it is known for.
func Families() []Family {
	reply := func(message, finish, more, usage string) string {
		return `{"id": "c", "object": "chat.completion", "created": 1700000000, "model": "m"` + more +
			`, "choices": [{"index": 0, "finish_reason": "` + finish + `", "message": ` + message + `}], "usage": ` + usage + `}`
	}
	const plain = `{"role": "assistant", "content": "They meet at the old mill."}`
	const thirty = `{"prompt_tokens": 90, "completion_tokens": 30, "total_tokens": 120}`
	const cut = `{"prompt_tokens": 90, "completion_tokens": 40, "total_tokens": 130}`
	newer := map[string]Refusal{
		"max_tokens":  {400, `{"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "type": "invalid_request_error", "param": "max_tokens", "code": "unsupported_parameter"}}`},
		"temperature": {400, `{"error": {"message": "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.", "type": "invalid_request_error", "param": "temperature", "code": "unsupported_value"}}`},
	}
	return []Family{
		{Name: "OpenAI, reasoning model", Base: "/v1", Refuse: newer, In: 90, Out: 30, Room: 300,
			Body: reply(`{"role": "assistant", "content": "They meet at the old mill.", "refusal": null, "annotations": []}`, "stop", `, "service_tier": "default"`,
				`{"prompt_tokens": 90, "completion_tokens": 30, "total_tokens": 120, "completion_tokens_details": {"reasoning_tokens": 20}}`),
			Cut: reply(`{"role": "assistant", "content": "", "refusal": null}`, "length", "", cut), Paid: 2},
		{Name: "OpenAI, refusal", Base: "/v1", Failure: "I cannot help with that",
			Body: reply(`{"role": "assistant", "content": null, "refusal": "I cannot help with that."}`, "stop", "", thirty)},
		{Name: "Azure", Base: "/openai/deployments/d?api-version=2024-10-21", Header: "api-key", Refuse: newer, In: 90, Out: 30,
			Body: reply(plain, "stop", `, "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]`, thirty)},
		{Name: "Azure, content filter", Base: "/openai/deployments/d?api-version=2024-10-21", Header: "api-key", Status: 400, Failure: "content management policy",
			Body: `{"error": {"message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", "type": null, "param": "prompt", "code": "content_filter", "status": 400}}`},
		{Name: "vLLM with a reasoning parser", Base: "/v1", In: 90, Out: 30,
			Body: reply(`{"role": "assistant", "content": "\n\nThey meet at the old mill.", "reasoning_content": "A place is wanted. Rome? No.", "tool_calls": []}`, "stop", `, "prompt_logprobs": null, "kv_transfer_params": null`, thirty)},
		{Name: "vLLM, opening tag in the prompt", Base: "/v1", In: 90, Out: 30,
			Body: reply(`{"role": "assistant", "content": "A place is wanted. Rome? No.\n</think>\n\nThey meet at the old mill."}`, "stop", "", thirty)},
		{Name: "vLLM, parser left everything in the reasoning", Base: "/v1", Failure: "reasoning and no answer",
			Body: reply(`{"role": "assistant", "content": null, "reasoning_content": "They meet at the old mill."}`, "stop", "", thirty)},
		{Name: "vLLM, unknown model", Base: "/v1", Status: 404, Failure: "does not exist",
			Body: `{"object": "error", "message": "The model 'm' does not exist.", "type": "NotFoundError", "param": null, "code": 404}`},
		{Name: "llama.cpp server", Base: "/v1", In: 90, Out: 30,
			Body: `{"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "<think>\nA place is wanted. Rome? No.\n</think>\n\nThey meet at the old mill."}}], "created": 1.7e9, "usage": {"completion_tokens": 30, "prompt_tokens": 90, "total_tokens": 120}, "timings": {"predicted_per_second": NaN}}`},
		{Name: "llama.cpp server, cut in its reasoning", Base: "/v1", Failure: "reasoning_tokens", Paid: 2,
			Body: reply(`{"role": "assistant", "content": "<think>\nA place is wanted. Rome?"}`, "length", "", cut)},
		{Name: "llama.cpp server, gpt-oss without a parser", Base: "/v1", In: 90, Out: 30,
			Body: reply(`{"role": "assistant", "content": "<|channel|>analysis<|message|>A place is wanted.<|end|><|start|>assistant<|channel|>final<|message|>They meet at the old mill.<|return|>"}`, "stop", "", thirty)},
		{Name: "Ollama", Base: "/v1", In: 90, Out: 30,
			Body: `{"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000.25, "model": "m", "system_fingerprint": "fp_ollama", "choices": [{"message": {"role": "assistant", "content": "They meet at the old mill.", "reasoning": "A place is wanted."}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 90.0, "completion_tokens": "30", "total_tokens": 120}}`},
		{Name: "Ollama, model not there", Base: "/v1", Status: 404, Failure: "try pulling it first",
			Body: `{"error": {"message": "model \"m\" not found, try pulling it first", "type": "api_error", "param": null, "code": null}}`},
		{Name: "OpenRouter", Base: "/api/v1", In: 90, Out: 30,
			Body: "\n         \n\n" + reply(`{"role": "assistant", "content": "They meet at the old mill.", "refusal": null, "reasoning": "A place.", "reasoning_details": [{"type": "reasoning.text", "text": "A place."}]}`, "stop", `, "provider": "P"`, `{"prompt_tokens": 90, "completion_tokens": 30, "total_tokens": 120, "cost": 0.00012}`)},
		{Name: "OpenRouter, error under 200", Base: "/api/v1", Failure: "upstream says no",
			Body: `{"error": {"message": "Provider returned error", "code": 502, "metadata": {"raw": "upstream says no", "provider_name": "P"}}, "user_id": "u"}`},
		{Name: "OpenRouter, error in the choice", Base: "/api/v1", Failure: "Internal failure of the provider",
			Body: `{"id": "c", "choices": [{"index": 0, "finish_reason": "error", "error": {"code": 502, "message": "Internal failure of the provider"}, "message": {"role": "assistant", "content": "They"}}], "usage": ` + thirty + `}`},
		{Name: "OpenRouter, no credits", Base: "/api/v1", Status: 402, Failure: "more credits",
			Body: `{"error": {"message": "This request requires more credits, or fewer max_tokens.", "code": 402}}`},
		{Name: "Mistral, reasoning model", Base: "/v1", In: 90, Out: 30,
			Body: `{"id": "c", "created": 1700000000, "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "tool_calls": null, "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Rome? No."}], "closed": true}, {"type": "text", "text": "They meet at the old mill."}]}}], "usage": ` + thirty + `}`},
		{Name: "Mistral, newer parameter unknown", Base: "/v1", In: 90, Out: 30,
			Refuse: map[string]Refusal{"max_completion_tokens": {422, `{"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "max_completion_tokens"], "msg": "Extra inputs are not permitted"}]}, "type": "invalid_request_error", "code": null}`}},
			Body:   reply(plain, "stop", "", thirty)},
		{Name: "DeepSeek, needs room", Base: "", In: 180, Out: 70, Room: 300, Paid: 2,
			Body: reply(`{"role": "assistant", "content": "They meet at the old mill.", "reasoning_content": "A place is wanted."}`, "stop", "", thirty),
			Cut:  reply(`{"role": "assistant", "content": "", "reasoning_content": "A place is"}`, "length", "", cut)},
		{Name: "Gemini", Base: "/v1beta/openai", In: 90, Out: 38,
			Body: `{"choices": [{"finish_reason": "stop", "index": 0, "message": {"content": "They meet at the old mill.", "role": "assistant"}}], "created": 1700000000, "model": "m", "object": "chat.completion", "usage": {"completion_tokens": 30, "prompt_tokens": 90, "total_tokens": 128}}`},
		{Name: "Gemini, error in a list", Base: "/v1beta/openai", Status: 400, Failure: "API key not valid",
			Body: `[{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}}]`},
		{Name: "a page of a proxy", Base: "/v1", Failure: "a web page",
			Body: `<!DOCTYPE html><html><head><title>Sign in</title><style>p {}</style></head><body><p>Please sign in</p></body></html>`},
		{Name: "a liar", Base: "/v1", Body: reply(plain, "stop", "", `{"prompt_tokens": -1000000, "completion_tokens": -1000000, "total_tokens": 9e30}`)},
		{Name: "a stream that nobody asked for", Base: "/v1", In: 90, Out: 30,
			Body: "data: {\"choices\": [{\"delta\": {\"role\": \"assistant\", \"content\": \"They meet at \"}}]}\n\ndata: {\"choices\": [{\"delta\": {\"content\": \"the old mill.\"}, \"finish_reason\": \"stop\"}], \"usage\": " + thirty + "}\n\ndata: [DONE]\n\n"},
	}
}
