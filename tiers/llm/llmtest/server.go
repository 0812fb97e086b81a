// Package llmtest is an OpenAI-compatible endpoint for tests: scripted replies, scripted faults, and a record of every
// call. No test needs a network or a key. For tests that need no HTTP there is Client.
package llmtest

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Call is one request as the server saw it.
type Call struct {
	N        int           // 1 for the first call the server got
	Repeat   int           // how often the same body had come before: 0 for the first time
	Path     string        // "/v1/chat/completions", "/v1/embeddings" or "/v1/models"
	Key      string        // the bearer token, "" if none
	Model    string        // model asked for
	Messages []llm.Message // of a chat
	Texts    []string      // of an embedding call
	Body     string        // the request's JSON as sent
	Fault    Fault         // chosen by the script
	In, Out  int           // tokens billed; 0 for a fault that costs nothing
}

// Config says how the server behaves. The zero value answers "ok" to every chat.
type Config struct {
	// Reply is the text for a chat; nil means "ok".
	Reply func(Call) string
	// Script picks the fault of each call; nil means none.
	Script Script
	// Latency is waited before every answer.
	Latency time.Duration
	// Keys are the bearer tokens let in; none lets every call in.
	Keys []string
	// Models are listed by /v1/models; nil means {"test-model"}.
	Models []string
	// Dim is the width of embeddings; 0 means 8.
	Dim int
	// Tokens counts a text's tokens; nil counts white-space separated words.
	Tokens func(string) int
	// NoUsage leaves the token counts out of replies, as some endpoints do.
	NoUsage bool
}

// Server is a running endpoint. Safe for concurrent use.
type Server struct {
	config Config
	http   *httptest.Server

	mu    sync.Mutex
	calls []Call
	seen  map[string]int
	busy  int // calls being answered
	peak  int
}

// New starts a server on a free port of the loopback interface. The caller closes it.
func New(c Config) *Server {
	if c.Reply == nil {
		c.Reply = func(Call) string { return "ok" }
	}
	if c.Script == nil {
		c.Script = Sequence()
	}
	if c.Models == nil {
		c.Models = []string{"test-model"}
	}
	if c.Dim == 0 {
		c.Dim = 8
	}
	if c.Tokens == nil {
		c.Tokens = func(s string) int { return len(strings.Fields(s)) }
	}
	s := &Server{config: c, seen: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", s.serve(s.chat))
	mux.HandleFunc("POST /v1/embeddings", s.serve(s.embed))
	mux.HandleFunc("GET /v1/models", s.serve(s.models))
	s.http = httptest.NewServer(mux)
	return s
}

// URL is the base URL for clients, ending in /v1.
func (s *Server) URL() string { return s.http.URL + "/v1" }

// Close stops the server and breaks off calls that still hang.
func (s *Server) Close() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// Calls returns every call so far in order of arrival.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call(nil), s.calls...)
}

// Count is the number of calls so far.
func (s *Server) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// Billed is the number of tokens that callers have to pay for.
func (s *Server) Billed() (in, out int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		in += c.In
		out += c.Out
	}
	return in, out
}

// Peak is the largest number of calls that were in progress at the same time.
func (s *Server) Peak() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peak
}

// request is what the server reads of a body, of either kind.
type request struct {
	Model    string        `json:"model"`
	Messages []llm.Message `json:"messages"`
	Input    []string      `json:"input"`
	Stream   bool          `json:"stream"`
	Max      int           `json:"max_tokens"`
	MaxNew   int           `json:"max_completion_tokens"`
}

// serve records a call and injects its fault. answer returns the object to send for a good reply.
func (s *Server) serve(answer func(*Call, request) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the caller went away
		}
		var req request
		if len(body) > 0 {
			if err := json.Unmarshal(body, &req); err != nil {
				fail(w, http.StatusBadRequest, "request body: "+err.Error())
				return
			}
		}
		if req.Stream {
			fail(w, http.StatusBadRequest, "this test server does not stream")
			return
		}
		call := Call{Path: r.URL.Path, Model: req.Model, Messages: req.Messages, Texts: req.Input, Body: string(body),
			Key: strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")}
		reply := s.record(&call, req, answer)
		defer s.done()

		if s.config.Latency > 0 {
			select {
			case <-time.After(s.config.Latency):
			case <-r.Context().Done():
				return
			}
		}
		if !s.allowed(call.Key) {
			fail(w, http.StatusUnauthorized, "wrong key: "+call.Key) // echoes the key, as careless endpoints do
			return
		}
		s.send(w, r, call.Fault, reply)
	}
}

// record keeps the call with its fault and its bill, and returns the good reply to it.
func (s *Server) record(call *Call, req request, answer func(*Call, request) any) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	call.N = len(s.calls) + 1
	call.Repeat = s.seen[call.Path+call.Body]
	s.seen[call.Path+call.Body]++
	if s.allowed(call.Key) {
		call.Fault = s.config.Script(*call)
	} else {
		call.Fault = Fault{Kind: Status, Status: http.StatusUnauthorized}
	}
	reply := answer(call, req)
	if !call.Fault.billed() {
		call.In, call.Out = 0, 0
	}
	s.calls = append(s.calls, *call)
	s.busy++
	s.peak = max(s.peak, s.busy)
	return reply
}

func (s *Server) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
}

func (s *Server) allowed(key string) bool {
	for _, k := range s.config.Keys {
		if k == key {
			return true
		}
	}
	return len(s.config.Keys) == 0
}

// send writes the reply, or what the fault makes of it.
func (s *Server) send(w http.ResponseWriter, r *http.Request, f Fault, reply any) {
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	switch f.Kind {
	case Status:
		status := f.Status
		if status == 0 {
			status = http.StatusInternalServerError
		}
		if f.Body != "" {
			w.WriteHeader(status)
			io.WriteString(w, f.Body)
			return
		}
		fail(w, status, "scripted fault")
	case Hang:
		var end <-chan time.Time
		if f.For > 0 {
			end = time.After(f.For)
		}
		select {
		case <-r.Context().Done():
		case <-end:
			fail(w, http.StatusGatewayTimeout, "scripted hang")
		}
	case Reset:
		panic(http.ErrAbortHandler) // closes the connection without an answer and without a log line
	case Cut:
		b, _ := json.Marshal(reply)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Write(b[:len(b)/2])
		if fl, ok := w.(http.Flusher); ok {
			fl.Flush()
		}
		panic(http.ErrAbortHandler)
	case Garbage:
		w.Header().Set("Content-Type", "text/html")
		if f.Status != 0 {
			w.WriteHeader(f.Status)
		}
		io.WriteString(w, "<html><body>We are doing some maintenance.</body></html>")
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(reply)
	}
}

// fail writes an error in OpenAI's form.
func fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": message, "type": "test", "code": nil}})
}

// chat answers a chat completion and bills it.
func (s *Server) chat(c *Call, req request) any {
	text := s.config.Reply(*c)
	switch c.Fault.Kind {
	case Prose:
		text = "Sure! I would be happy to help. Here is what I think about it."
	case Empty:
		text = ""
	}
	for _, m := range c.Messages {
		c.In += s.config.Tokens(m.Content)
	}
	c.Out = s.config.Tokens(text)
	finish := "stop"
	if limit := max(req.Max, req.MaxNew); limit > 0 && c.Out > limit {
		words := strings.Fields(text)
		text, c.Out, finish = strings.Join(words[:min(limit, len(words))], " "), limit, "length"
	}
	out := map[string]any{
		"id": fmt.Sprintf("call-%d", c.N), "object": "chat.completion", "created": 1, "model": c.Model,
		"choices": []any{map[string]any{"index": 0, "finish_reason": finish, "message": map[string]any{"role": "assistant", "content": text}}},
	}
	s.addUsage(out, c)
	return out
}

// embed answers with vectors that depend on the text alone. They are not of unit length, as some endpoints' are not,
// and listed in reverse, which the index field allows.
func (s *Server) embed(c *Call, _ request) any {
	data := make([]any, len(c.Texts))
	for i, text := range c.Texts {
		c.In += s.config.Tokens(text)
		data[len(data)-1-i] = map[string]any{"object": "embedding", "index": i, "embedding": Vector(text, s.config.Dim)}
	}
	out := map[string]any{"object": "list", "model": c.Model, "data": data}
	s.addUsage(out, c)
	return out
}

// Vector is what the server embeds a text as: [dim] float32, a function of the text alone.
func Vector(text string, dim int) []float32 {
	v := make([]float32, dim)
	for i := range v {
		h := fnv.New32a()
		fmt.Fprintf(h, "%d %s", i, text)
		v[i] = float32(math.Sin(float64(h.Sum32())))
	}
	return v
}

func (s *Server) addUsage(out map[string]any, c *Call) {
	if !s.config.NoUsage {
		out["usage"] = map[string]any{"prompt_tokens": c.In, "completion_tokens": c.Out, "total_tokens": c.In + c.Out}
	}
}

func (s *Server) models(*Call, request) any {
	data := make([]any, len(s.config.Models))
	for i, m := range s.config.Models {
		data[i] = map[string]any{"id": m, "object": "model"}
	}
	return map[string]any{"object": "list", "data": data}
}
