package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	goopenai "github.com/sashabaranov/go-openai"

	"github.com/budgetmem/budgetmem/bmem/embed/embedtest"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
)

// fake is a model that says a message's words back, one piece each. What it is asked to do by that message:
// "wait" has it wait for a value from let (or for the end of its context), "panic" and "fail" do that, "long" does not fit,
// and "break" fails after the first piece.
type fake struct {
	let   chan struct{}
	ended chan error // gets the error of a context that ended a wait

	mu    sync.Mutex
	asked []llm.Request
}

func newFake() *fake { return &fake{let: make(chan struct{}), ended: make(chan error, 64)} }

func (f *fake) Model() string { return "fake" }
func (f *fake) ID() string    { return "fake:1" }

func (f *fake) Chat(ctx context.Context, req llm.Request) (llm.Response, error) {
	return f.Stream(ctx, req, func(string) error { return nil })
}

func (f *fake) Stream(ctx context.Context, req llm.Request, emit func(string) error) (llm.Response, error) {
	f.mu.Lock()
	f.asked = append(f.asked, req)
	f.mu.Unlock()
	text := req.Messages[len(req.Messages)-1].Content
	switch text {
	case "panic":
		panic("asked to")
	case "fail":
		return llm.Response{}, errors.New("cannot")
	case "long":
		return llm.Response{}, &local.ContextError{Prompt: 5000, Context: 4096}
	}
	if req.JSON {
		text = `{"said": "` + text + `"}`
	}
	words := strings.SplitAfter(text, " ")
	for i, word := range words {
		if i == len(words)-1 && strings.HasPrefix(text, "wait") {
			select {
			case <-f.let:
			case <-ctx.Done():
				f.ended <- ctx.Err()
				return llm.Response{}, ctx.Err()
			}
		}
		if i == 1 && words[0] == "break " {
			return llm.Response{}, errors.New("broken")
		}
		if err := emit(word); err != nil {
			return llm.Response{}, err
		}
	}
	return llm.Response{Text: text, Finish: "stop", Usage: llm.Usage{Calls: 1, In: 7, Out: len(words)}, Reused: 5}, nil
}

func (f *fake) last() llm.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[len(f.asked)-1]
}

// running is a server of a fake model on a free port.
type running struct {
	*Server
	model *fake
	addr  string
	stop  func() error // ends it and returns what Serve returned
	fails bool         // whether stopping is expected to fail
}

var quiet = slog.New(slog.DiscardHandler)

func start(t *testing.T, config Config) *running {
	t.Helper()
	model := newFake()
	if config.Chats == nil {
		config.Chats = []ChatModel{model}
	}
	if config.Embedder == nil {
		words := &embedtest.Words{}
		config.Embedder = &Embedder{Name: "fake-embedder", Embedder: words, Tokenizer: words}
	}
	config.Log = quiet
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := Listen("127.0.0.1:0", s.tokenRequired())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- s.Serve(ctx, ln) }()
	end := sync.OnceValue(func() error { cancel(); return <-result })
	r := &running{Server: s, model: model, addr: ln.Addr().String(), stop: end}
	t.Cleanup(func() {
		if err := end(); (err != nil) != r.fails {
			t.Errorf("stopping the server: %v", err)
		}
	})
	return r
}

// depth is how many requests run or wait.
func (r *running) depth() int { n, _ := r.queue.counts(); return n }

// client is the official-style Go client for the server.
func (r *running) client(key string) *goopenai.Client {
	c := goopenai.DefaultConfig(key)
	c.BaseURL = "http://" + r.addr + "/v1"
	return goopenai.NewClientWithConfig(c)
}

// post sends a body and returns status, header and the answer.
func (r *running) post(t *testing.T, path, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	return do(t, req)
}

func do(t *testing.T, req *http.Request) (int, http.Header, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// apiErrorOf reads an error in the form of OpenAI's API.
func apiErrorOf(t *testing.T, body string) (e struct{ Message, Type, Param, Code string }) {
	t.Helper()
	var all struct {
		Error *struct{ Message, Type, Param, Code string }
	}
	dec := json.NewDecoder(bytes.NewBufferString(body))
	if err := dec.Decode(&all); err != nil || all.Error == nil || all.Error.Message == "" || all.Error.Type == "" {
		t.Fatalf("no API error: %s", body)
	}
	return *all.Error
}

func say(text string) goopenai.ChatCompletionRequest {
	return goopenai.ChatCompletionRequest{Model: "fake", Messages: []goopenai.ChatCompletionMessage{{Role: "user", Content: text}}}
}

// eventually waits for ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}
