package serve

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/serve/mcp"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// Requests for memories that run a model take a place in the queue and give it back, over REST and MCP; the others need none.
func TestMemoriesTakePlaces(t *testing.T) {
	model := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	t.Cleanup(model.Close)
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: model.URL()})
	s := start(t, Config{MaxQueue: 1, Memories: mcp.Routes(memory.New(m, memory.Options{}), "test", 0, slog.New(slog.DiscardHandler))})
	session, err := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(),
		&sdk.StreamableClientTransport{Endpoint: "http://" + s.addr + "/v1/mcp", DisableStandaloneSSE: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	type request struct{ method, path, body string }
	ask := func(r request) (status int, retryAfter, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), r.method, "http://"+s.addr+"/v1/memories"+r.path, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, res.Header.Get("Retry-After"), string(b)
	}
	call := func(tool string, args map[string]any) string {
		t.Helper()
		r, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: tool, Arguments: args})
		if err != nil {
			t.Fatal(err)
		}
		if !r.IsError {
			return ""
		}
		return r.Content[0].(*sdk.TextContent).Text
	}
	computing := []request{
		{"POST", "/chat/turns", `{"turns":[{"id":"a","text":"I moved to Bern."}]}`},
		{"POST", "/chat/search", `{"query":"Bern"}`},
		{"POST", "/chat/ask", `{"question":"Where did she move?"}`},
		{"PUT", "/chat/turns/a", `{"text":"I moved to Basel."}`},
	}
	others := []request{{"GET", "", ""}, {"GET", "/chat", ""}, {"GET", "/chat/turns", ""}, {"GET", "/chat/turns/a", ""}}
	for range 2 { // the first time there is room, and again as places are given back
		for _, r := range append(computing, others...) {
			if status, _, body := ask(r); status != 200 {
				t.Errorf("%s %s: %d, %s", r.method, r.path, status, body)
			}
		}
		computing = computing[1:] // adding a turn again after its edit is a conflict
	}
	question := map[string]any{"memory": "chat", "question": "Where did she move?"}
	if refused := call("ask_memory", question); refused != "" {
		t.Error(refused)
	}
	leave, err := s.queue.enter(clientOf(&http.Request{}))
	if err != nil {
		t.Fatal(err) // some request kept its place
	}
	for _, r := range computing {
		if status, retry, body := ask(r); status != http.StatusTooManyRequests || retry == "" || !strings.Contains(body, "--max-queue") {
			t.Errorf("with a full queue: %s %s: %d, Retry-After %q, %s", r.method, r.path, status, retry, body)
		}
	}
	for _, r := range others {
		if status, _, body := ask(r); status != 200 {
			t.Errorf("with a full queue: %s %s: %d, %s", r.method, r.path, status, body)
		}
	}
	for tool, args := range map[string]map[string]any{"ask_memory": question, "search_memories": {"memory": "chat", "query": "Bern"},
		"add_memory": {"memory": "chat", "turns": []any{map[string]any{"text": "Hello."}}}} {
		if refused := call(tool, args); !strings.Contains(refused, "--max-queue") {
			t.Errorf("with a full queue: %s: %q", tool, refused)
		}
	}
	if refused := call("list_memories", nil); refused != "" {
		t.Error(refused)
	}
	leave()
	if refused := call("ask_memory", question); refused != "" {
		t.Error(refused)
	}
}
