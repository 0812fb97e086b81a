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

// memoriesProcess is a running `bmem serve --memories` with a tenant.
type memoriesProcess struct {
	*testing.T
	url   string // with /v1
	token string
	cache string // its folder
	log   *bytes.Buffer
	cmd   *exec.Cmd
	mcp   *sdk.ClientSession
}

// RoundTrip sends a request with the tenant's token.
func (p *memoriesProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+p.token)
	return http.DefaultTransport.RoundTrip(r)
}

// newTenant runs `bmem serve token` and writes a file of one tenant.
func newTenant(t *testing.T, file string) (token string) {
	t.Helper()
	out, err := runVerb(t, "", "serve", "token", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ Token, Hash string }
	if err := json.Unmarshal([]byte(out), &made); err != nil || made.Token == "" {
		t.Fatalf("%v in %s", err, out)
	}
	text := "tenants:\n- {name: rita, tokens: [" + made.Hash + "], dollars: {question: 0.1, hour: 1, day: 2}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return made.Token
}

// serveMemories starts one with a small model of random weights, and connects to its tools.
func serveMemories(t *testing.T) *memoriesProcess {
	t.Helper()
	modelstest.Path(t, setup.Embedder)
	prices := filepath.Join(t.TempDir(), "prices.yaml")
	if err := os.WriteFile(prices, []byte("prices:\n- {model: tiny-llama, in: 1, out: 2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tenants := filepath.Join(t.TempDir(), "tenants.yaml")
	p := &memoriesProcess{T: t, token: newTenant(t, tenants), cache: t.TempDir(), log: &bytes.Buffer{}}
	p.cmd = exec.CommandContext(t.Context(), os.Args[0], "serve", "--memories", "--tenants", tenants, "--addr", "127.0.0.1:0", "--backend", "go",
		"--model", localtest.TinyFor(t, "llama", 1, 4096), "--prices", prices, "--cache", p.cache, "--json", "--verbose")
	p.cmd.Env = append(os.Environ(), processEnv+"=1", api.EnvToken+"=")
	p.cmd.Stderr = io.MultiWriter(t.Output(), p.log)
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
		&sdk.StreamableClientTransport{Endpoint: p.url + "/mcp", HTTPClient: &http.Client{Transport: p}, DisableStandaloneSSE: true}, nil)
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
	res, err := p.RoundTrip(req)
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

// A whole server with memories and a tenant: what REST adds MCP finds, and the other way round; the tenant's budget and the audit log
// say what it took; SIGTERM ends it at once.
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
		if len(answer.Evidence) == 0 || answer.TokensIn == 0 || answer.Budget == nil || answer.Budget.Hour.Limit != 1 || answer.Dollars <= 0 || answer.Tiers["entity"] != "low" || answer.Milliseconds <= 0 {
			t.Errorf("%+v", answer)
		}
	}

	var gone memory.DeleteResult
	if p.rest("DELETE", "/memories/chat/turns/b", "", &gone); gone.Turns != 1 {
		t.Errorf("%+v", gone)
	}
	if p.tool("delete_memory", map[string]any{"memory": "chat", "all": true}, &gone); gone.Turns != 1 || gone.Memories != 1 {
		t.Errorf("%+v", gone)
	}
	if p.rest("GET", "/memories", "", &list); len(list.Memories) != 0 {
		t.Errorf("left: %+v", list)
	}

	var spent memory.SpendingResult
	if p.rest("GET", "/spending", "", &spent); len(spent.Accounts) != 1 || spent.Accounts[0].Name != "rita" || len(spent.Accounts[0].Days) == 0 || spent.Accounts[0].Days[0].Asked == 0 {
		t.Errorf("%+v", spent)
	}
	if res, err := http.Get(p.url + "/memories"); err != nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %v, %v", res, err)
	}

	start := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil || time.Since(start) > time.Second {
		t.Errorf("it ended after %v with %v", time.Since(start), err)
	}
	files, err := os.ReadDir(p.cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(p.cache, f.Name()))
		info, serr := f.Info()
		if err != nil || serr != nil || bytes.Contains(data, []byte(p.token)) || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v, mode %v, or the token is in it", f.Name(), err, serr, info.Mode())
		}
		if f.Name() == auditFile && (bytes.Count(data, []byte(`"tenant":"rita"`)) != 6 || bytes.Contains(data, []byte("mill"))) {
			t.Errorf("the audit log: %s", data)
		}
	}
	if strings.Contains(p.log.String(), p.token) {
		t.Error("the token is in the log")
	}
}
