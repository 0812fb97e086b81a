package serve

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/serve/mcp"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/serve/tenant"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// ownerToken is that of the server's owner in these tests. The tenants' tokens are ann-token and so on.
const ownerToken = "owner-token"

// tenantServer serves memories to tenants.
type tenantServer struct {
	*running
	t        *testing.T
	ledger   string // the file
	activity *memory.Activity
	audit    *os.File
	log      *strings.Builder
}

// openMemory opens a memory with a served model, for the time of a test.
func openMemory(t *testing.T) *bmem.Memory {
	t.Helper()
	model := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	t.Cleanup(model.Close)
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: model.URL()})
	return m
}

// serveTenants starts one. Lines of the YAML name tenants by {name: ann, TOKENS, …}.
func serveTenants(t *testing.T, m *bmem.Memory, dir, tenants string) *tenantServer {
	t.Helper()
	file := filepath.Join(dir, "tenants.yaml")
	var lines []string
	for _, line := range strings.Split(strings.TrimSpace(tenants), "\n") {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "- {name: "), ",")
		lines = append(lines, strings.Replace(line, "TOKENS", "tokens: ["+tenant.HashToken(name+"-token")+"]", 1))
	}
	if err := os.WriteFile(file, []byte("tenants:\n"+strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &tenantServer{t: t, ledger: filepath.Join(dir, tenant.LedgerFile), log: &strings.Builder{}}
	ledger, err := tenant.OpenLedger(s.ledger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	ts, err := tenant.Load(file, ledger)
	if err != nil {
		t.Fatal(err)
	}
	if s.audit, err = os.CreateTemp(dir, "audit"); err != nil {
		t.Fatal(err)
	}
	s.activity = memory.NewActivity(s.audit, quiet)
	s.running = start(t, Config{Token: ownerToken, Tenants: ts, Prices: llm.Prices{}.Set(map[string]llm.Price{"fake": {In: 1, Out: 1000}}),
		Activity: s.activity, Memories: mcp.Routes(memory.New(m, memory.Options{Activity: s.activity, Log: quiet}), "test", 0, slog.New(slog.NewTextHandler(s.log, nil)))})
	return s
}

// ask sends a request with a token and decodes the answer into out, which may be nil.
func (s *tenantServer) ask(token, method, path, body string, out any) (int, http.Header) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.addr+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	status, header, text := do(s.t, req)
	if out != nil {
		if err := json.Unmarshal([]byte(text), out); err != nil {
			s.t.Fatalf("%s %s: %d, %v in %s", method, path, status, err, text)
		}
	}
	return status, header
}

// bearer sends a token with every request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// tools connects to the tools at a path.
func (s *tenantServer) tools(token, path string) (*sdk.ClientSession, error) {
	session, err := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil).Connect(s.t.Context(),
		&sdk.StreamableClientTransport{Endpoint: "http://" + s.addr + path, HTTPClient: &http.Client{Transport: bearer(token)}, DisableStandaloneSSE: true}, nil)
	if err == nil {
		s.t.Cleanup(func() { _ = session.Close() })
	}
	return session, err
}

// call calls a tool and decodes its result into out; it returns the text of a refusal.
func (s *tenantServer) call(session *sdk.ClientSession, tool string, args map[string]any, out any) string {
	s.t.Helper()
	r, err := session.CallTool(s.t.Context(), &sdk.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		s.t.Fatal(err)
	}
	text := r.Content[0].(*sdk.TextContent).Text
	if r.IsError {
		return text
	}
	if err := json.Unmarshal([]byte(text), out); err != nil {
		s.t.Fatal(err)
	}
	return ""
}

const addTurn = `{"turns":[{"id":"a","session":"1","speaker":"Ann","text":"I moved to Bern, said the secret badger."}]}`

// Tenants reach their own memories by their own tokens and no others; a token or a URL can fix the memory.
func TestTenantsAreKeptApart(t *testing.T) {
	s := serveTenants(t, openMemory(t), t.TempDir(), `
- {name: ann, TOKENS}
- {name: bob, TOKENS}
- {name: cleo, TOKENS, namespace: ann, memory: diary}`)
	for _, token := range []string{"", "x", "ann-token2", tenant.HashToken("ann-token")} {
		if status, header := s.ask(token, "GET", "/v1/memories", "", nil); status != 401 || header.Get("WWW-Authenticate") == "" {
			t.Errorf("%q: %d", token, status)
		}
	}
	for _, token := range []string{"ann-token", "bob-token", ownerToken} {
		if status, _ := s.ask(token, "POST", "/v1/memories/chat/turns", addTurn, nil); status != 200 {
			t.Errorf("%s: %d", token, status)
		}
	}
	if status, _ := s.ask("ann-token", "POST", "/v1/memories/diary/turns", addTurn, nil); status != 200 {
		t.Error(status)
	}
	for token, want := range map[string]string{"ann-token": "[chat diary]", "bob-token": "[chat]", ownerToken: "[chat]", "cleo-token": "[diary]"} {
		var list memory.ListResult
		s.ask(token, "GET", "/v1/memories", "", &list)
		var names []string
		for _, m := range list.Memories {
			names = append(names, m.Name)
		}
		if fmt.Sprint(names) != want {
			t.Errorf("%s sees %v, want %s", token, names, want)
		}
	}
	for token, path := range map[string]string{"bob-token": "/v1/memories/diary", "cleo-token": "/v1/memories/chat"} {
		if status, _ := s.ask(token, "GET", path, "", nil); status != 404 && status != 403 {
			t.Errorf("%s reads %s: %d", token, path, status)
		}
	}
	if status, _ := s.ask("bob-token", "DELETE", "/v1/memories/chat", "", nil); status != 200 {
		t.Error(status)
	}
	if status, _ := s.ask("ann-token", "GET", "/v1/memories/chat", "", nil); status != 200 {
		t.Errorf("another tenant deleted it: %d", status)
	}
	// A tool call need not name the memory that the token or the URL fixes.
	for token, path := range map[string]string{"cleo-token": "/v1/mcp", "ann-token": "/v1/memories/diary/mcp"} {
		session, err := s.tools(token, path)
		if err != nil {
			t.Fatal(err)
		}
		var page memory.Page
		if refused := s.call(session, "get_memory", nil, &page); refused != "" || len(page.Turns) != 1 {
			t.Errorf("%s at %s: %+v, %s", token, path, page, refused)
		}
		if refused := s.call(session, "get_memory", map[string]any{"memory": "chat"}, &page); refused == "" {
			t.Errorf("%s at %s reads another memory", token, path)
		}
	}
	if _, err := s.tools("cleo-token", "/v1/memories/chat/mcp"); err == nil {
		t.Error("the URL opens a memory that the token does not")
	}
	if status, _ := s.ask("cleo-token", "POST", "/v1/memories/chat/mcp", `{}`, nil); status != 403 {
		t.Error(status)
	}
	if strings.Contains(s.log.String(), "token") {
		t.Errorf("a token is in the log: %s", s.log)
	}
}

// The same budget holds for questions over REST and MCP and for chats, over restarts, and refuses with what is left and when it renews.
func TestTenantsBudgets(t *testing.T) {
	m, dir := openMemory(t), t.TempDir()
	const tenants = `- {name: ann, TOKENS, dollars: {question: 0.006, hour: 0.012, day: 0.1}}`
	s := serveTenants(t, m, dir, tenants)
	s.ask("ann-token", "POST", "/v1/memories/diary/turns", addTurn, nil)
	session, err := s.tools("ann-token", "/v1/memories/diary/mcp")
	if err != nil {
		t.Fatal(err)
	}
	var spent float64
	left := 0.012
	for i := range 3 {
		var answer memory.AskResult
		question := fmt.Sprintf("Where did Ann move to, and why, for the %dth time?", i)
		if i == 1 {
			if refused := s.call(session, "ask_memory", map[string]any{"question": question}, &answer); refused != "" {
				t.Fatal(refused)
			}
		} else if status, _ := s.ask("ann-token", "POST", "/v1/memories/diary/ask", `{"question":"`+question+`","budget":"high"}`, &answer); status != 200 {
			t.Fatal(status)
		}
		spent += answer.Dollars
		if answer.Dollars <= 0 || answer.Dollars > 0.006 || answer.Budget == nil || answer.Budget.Hour.Left >= left || answer.Budget.Hour.Left > 0.012-spent+1e-9 {
			t.Errorf("%+v, %+v", answer, answer.Budget)
		}
		left = answer.Budget.Hour.Left
	}
	chat := func(tokens int) (e memory.ErrorBody, status int, header http.Header) {
		status, header = s.ask("ann-token", "POST", "/v1/chat/completions", fmt.Sprintf(`{"model":"fake","max_tokens":%d,"messages":[{"role":"user","content":"hello"}]}`, tokens), &e)
		return e, status, header
	}
	if e, status, _ := chat(1_000_000); status != http.StatusPaymentRequired || !strings.Contains(e.Error.Message, "one question") {
		t.Errorf("a chat beyond the limit of a question: %d, %+v", status, e)
	}
	// Chats of one word, which cost $0.001, take the rest.
	var refused memory.ErrorBody
	status, header := 200, http.Header{}
	for n := 0; status == 200; n++ {
		if refused, status, header = chat(1); n > 100 {
			t.Fatal("chats are never refused")
		}
	}
	if status != http.StatusTooManyRequests || header.Get("Retry-After") == "" || !strings.Contains(refused.Error.Message, `the budget of "ann" for this hour is used up`) || !strings.Contains(refused.Error.Message, "renewed at "+time.Now().UTC().Truncate(time.Hour).Add(time.Hour).Format(time.RFC3339)) {
		t.Errorf("%d, %v, %+v", status, header, refused)
	}

	again := serveTenants(t, m, dir, tenants)
	status, header = again.ask("ann-token", "POST", "/v1/memories/diary/ask", `{"question":"Where did Ann move to?","budget":"high"}`, &refused)
	if status != http.StatusTooManyRequests || header.Get("Retry-After") == "" || refused.Error.Budget == nil || refused.Error.Budget.Hour.Left > 0.0013 {
		t.Errorf("after a restart: %d, %v, %+v", status, header, refused)
	}
	session, err = again.tools("ann-token", "/v1/memories/diary/mcp")
	if err != nil {
		t.Fatal(err)
	}
	if text := again.call(session, "ask_memory", map[string]any{"question": "Where did Ann move to, at last?"}, nil); !strings.Contains(text, "renewed at ") {
		t.Errorf("%q", text)
	}
	if status, _ := again.ask("ann-token", "POST", "/v1/memories/diary/search", `{"query":"Bern"}`, nil); status != 200 {
		t.Errorf("a search, which costs nothing: %d", status)
	}
	var all memory.SpendingResult
	again.ask(ownerToken, "GET", "/v1/spending", "", &all)
	if len(all.Accounts) != 2 || all.Accounts[1].Name != "ann" || len(all.Accounts[1].Days) != 1 || all.Accounts[1].Days[0].Dollars > 0.012 || all.Accounts[1].Days[0].Dollars < spent {
		t.Errorf("%+v", all)
	}
}

// The audit log says who did what when and for how much, calls of served models included, and nothing of what was said. The
// counters agree.
func TestAudit(t *testing.T) {
	s := serveTenants(t, openMemory(t), t.TempDir(), `- {name: ann, TOKENS, dollars: {question: 0.1, hour: 1, day: 1}}`)
	s.ask("ann-token", "POST", "/v1/memories/diary/turns", addTurn, nil)
	s.ask("ann-token", "POST", "/v1/memories/diary/search", `{"query":"the secret badger"}`, nil)
	s.ask("ann-token", "POST", "/v1/memories/diary/ask", `{"question":"Where is the secret badger?","budget":"low"}`, nil)
	s.ask("ann-token", "POST", "/v1/memories/diary/ask", `{"question":"Where is the secret badger?","max_dollars":1e-9}`, nil)
	s.ask("ann-token", "PUT", "/v1/memories/diary/turns/a", `{"text":"A secret badger."}`, nil)
	s.ask(ownerToken, "DELETE", "/v1/memories/diary", "", nil)
	s.ask("ann-token", "DELETE", "/v1/memories/diary", "", nil)
	for _, chat := range []string{`"secret badger"}],"max_tokens":9`, `"secret badger"}],"max_tokens":9,"stream":true`, `"secret badger"}],"max_tokens":1000000`, `"fail"}],"max_tokens":1`} {
		s.ask("ann-token", "POST", "/v1/chat/completions", `{"model":"fake","messages":[{"role":"user","content":`+chat+`}`, nil)
	}
	s.ask(ownerToken, "POST", "/v1/embeddings", `{"model":"fake-embedder","input":"secret badger"}`, nil)
	data, err := os.ReadFile(s.audit.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"badger", "Bern", "token\"", "ann-token", "Speaker", "Ann"} {
		if strings.Contains(string(data), secret) {
			t.Errorf("%q is in the audit log", secret)
		}
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		var e struct {
			Time                   time.Time
			Tenant, Action, Memory string
			Model                  string
			Status, Turns          int
			Dollars                float64
			Tiers                  map[string]string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || time.Since(e.Time) > time.Minute {
			t.Fatalf("%v in %s", err, line)
		}
		got = append(got, fmt.Sprint(e.Tenant, " ", e.Action, " ", e.Memory, e.Model, " ", e.Status, " ", e.Turns, " ", e.Dollars > 0, " ", e.Tiers["entity"]))
	}
	want := `ann add ann/diary 200 1 false 
ann ask ann/diary 200 0 true low
ann ask ann/diary 402 0 false 
ann edit ann/diary 200 0 false 
 forget diary 404 0 false 
ann forget ann/diary 200 1 false 
ann chat fake 200 0 true 
ann chat fake 200 0 true 
ann chat fake 402 0 false 
ann chat fake 500 0 true 
 embed fake-embedder 200 0 false `
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("the log says\n%s\nwant\n%s", text, want)
	}
	counters := s.activity.Counters()
	ann := counters["ann"]
	var spending memory.SpendingResult
	s.ask("ann-token", "GET", "/v1/spending", "", &spending)
	if booked := spending.Accounts[0].Days[0].Dollars; math.Abs(booked-ann.Dollars) > 1e-9 {
		t.Errorf("the counters have $%v, the account $%v", ann.Dollars, booked)
	}
	if ann.Dollars <= 0 || ann.TokensIn == 0 || ann.TokensOut == 0 {
		t.Errorf("%+v", ann)
	}
	ann.Dollars, ann.TokensIn, ann.TokensOut = 0, 0, 0
	if ann != (memory.Counters{Adds: 1, Edits: 1, Searches: 1, Asks: 1, Forgets: 1, Chats: 2, Refused: 2, Failed: 1, TurnsAdded: 1, TurnsForgotten: 1}) ||
		counters[""] != (memory.Counters{Failed: 1, Embeddings: 1, TokensIn: 2}) || len(counters) != 2 {
		t.Errorf("%+v", counters)
	}
}

// The page and its parts are open to all, run only their own scripts, and name no other server.
func TestPageFiles(t *testing.T) {
	s := serveTenants(t, openMemory(t), t.TempDir(), `- {name: ann, TOKENS}`)
	for _, path := range []string{"/", "/page/main.js", "/page/page.css", "/page/dom.js", "/page/ask.js"} {
		resp, err := http.Get("http://" + s.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		policy := resp.Header.Get("Content-Security-Policy")
		if err != nil || resp.StatusCode != 200 || !strings.HasPrefix(policy, "default-src 'none'; script-src 'self'; ") || strings.Contains(policy, "unsafe") || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d, %v", path, resp.StatusCode, resp.Header)
		}
		for _, foreign := range []string{"://", "innerHTML", "outerHTML", "insertAdjacent", "eval(", "localStorage", "sessionStorage", "cookie", "<script>", "style="} {
			if strings.Contains(string(body), foreign) {
				t.Errorf("%s has %q", path, foreign)
			}
		}
		if len(body) > 12<<10 {
			t.Errorf("%s has %d bytes", path, len(body))
		}
	}
	for _, path := range []string{"/page/", "/page/none.js", "/page/../../serve.go", "/page/files/main.js/x"} {
		if status, _ := s.ask("", "GET", path, "", nil); status != 404 && status != 401 && status != 400 {
			t.Errorf("%s: %d", path, status)
		}
	}
}
