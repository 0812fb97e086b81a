package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/tiers/llm/local/localtest"
)

// memoriesProcess is a running `bmem serve --memories`.
type memoriesProcess struct {
	*testing.T
	url string // with /v1
	cmd *exec.Cmd
	mcp *sdk.ClientSession
}

// serveMemories starts one with a small model of random weights, and connects to its tools.
func serveMemories(t *testing.T) *memoriesProcess {
	t.Helper()
	modelstest.Path(t, setup.Embedder)
	prices := filepath.Join(t.TempDir(), "prices.yaml")
	if err := os.WriteFile(prices, []byte("prices:\n- {model: tiny-llama, in: 1, out: 2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &memoriesProcess{T: t, cmd: exec.CommandContext(t.Context(), os.Args[0], "serve", "--memories", "--addr", "127.0.0.1:0", "--backend", "go",
		"--model", localtest.TinyFor(t, "llama", 1, 4096), "--prices", prices, "--cache", t.TempDir(), "--json")}
	p.cmd.Env = append(os.Environ(), processEnv+"=1", api.EnvToken+"=")
	p.cmd.Stderr = t.Output()
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	var ready struct{ URL string }
	if err := json.NewDecoder(out).Decode(&ready); err != nil {
		t.Fatal(err)
	}
	p.url = ready.URL
	p.mcp, err = sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(),
		&sdk.StreamableClientTransport{Endpoint: p.url + "/mcp", DisableStandaloneSSE: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rest asks and decodes the answer into out.
func (p *memoriesProcess) rest(method, path, body string, out any) {
	p.Helper()
	req, err := http.NewRequestWithContext(p.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		p.Fatalf("%s %s: %d, %v, %s", method, path, res.StatusCode, err, b)
	}
	if err := json.Unmarshal(b, out); err != nil {
		p.Fatalf("%s %s: %v in %s", method, path, err, b)
	}
}

// tool calls a tool and decodes its result into out.
func (p *memoriesProcess) tool(name string, args map[string]any, out any) {
	p.Helper()
	r, err := p.mcp.CallTool(p.Context(), &sdk.CallToolParams{Name: name, Arguments: args})
	if err != nil {
		p.Fatalf("%s: %v", name, err)
	}
	b, err := json.Marshal(r.StructuredContent)
	if err != nil || r.IsError {
		p.Fatalf("%s: %v, %s", name, err, r.Content[0].(*sdk.TextContent).Text)
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(out); err != nil {
		p.Fatalf("%s: %v in %s", name, err, b)
	}
}

// A whole server with memories: what REST adds MCP finds, and the other way round; SIGTERM ends it at once.
func TestServeMemoriesProcess(t *testing.T) {
	p := serveMemories(t)
	var added memory.AddResult
	p.rest("POST", "/memories/chat/turns", `{"turns":[{"id":"a","session":"1","speaker":"Rita","text":"We meet at the old mill."}]}`, &added)
	if added.New != 1 {
		t.Errorf("%+v", added)
	}
	p.tool("add_memory", map[string]any{"memory": "chat", "turns": []any{map[string]any{"id": "b", "session": "1", "speaker": "Omar", "text": "I bring bread."}}}, &added)
	if added.New != 1 {
		t.Errorf("%+v", added)
	}

	var list memory.ListResult
	for _, get := range []func(){func() { p.rest("GET", "/memories", "", &list) }, func() { p.tool("list_memories", nil, &list) }} {
		list = memory.ListResult{}
		if get(); len(list.Memories) != 1 || list.Memories[0].Name != "chat" || list.Memories[0].Turns != 2 {
			t.Errorf("%+v", list)
		}
	}
	var found memory.SearchResult
	if p.rest("POST", "/memories/chat/search", `{"query":"What does Omar bring?","limit":1}`, &found); len(found.Turns) != 1 || found.Turns[0].ID != "b" {
		t.Errorf("%+v", found)
	}
	if p.tool("search_memories", map[string]any{"memory": "chat", "query": "Where is the mill?", "limit": 1}, &found); len(found.Turns) != 1 || found.Turns[0].ID != "a" {
		t.Errorf("%+v", found)
	}
	var first, second memory.AskResult
	p.rest("POST", "/memories/chat/ask", `{"question":"Where do they meet?","budget":"low"}`, &first)
	p.tool("ask_memory", map[string]any{"memory": "chat", "question": "What does Omar bring?", "budget": "low"}, &second)
	for _, answer := range []memory.AskResult{first, second} { // the model's words mean nothing
		if len(answer.Evidence) == 0 || answer.TokensIn == 0 || answer.Dollars <= 0 || answer.Tiers["entity"] != "low" || answer.Milliseconds <= 0 {
			t.Errorf("%+v", answer)
		}
	}

	var gone memory.DeleteResult
	if p.rest("DELETE", "/memories/chat/turns/b", "", &gone); gone.Turns != 1 {
		t.Errorf("%+v", gone)
	}
	if p.tool("delete_memory", map[string]any{"memory": "chat"}, &gone); gone.Turns != 1 || gone.Memories != 1 {
		t.Errorf("%+v", gone)
	}
	if p.rest("GET", "/memories", "", &list); len(list.Memories) != 0 {
		t.Errorf("left: %+v", list)
	}

	start := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil || time.Since(start) > time.Second {
		t.Errorf("it ended after %v with %v", time.Since(start), err)
	}
}
