package memory_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// client asks a handler.
type client struct {
	t   *testing.T
	url string
}

func open(t *testing.T, scope func(*http.Request) memory.Scope) client {
	model := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	t.Cleanup(model.Close)
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: model.URL()})
	return serve(t, m, scope)
}

func serve(t *testing.T, m *bmem.Memory, scope func(*http.Request) memory.Scope) client {
	server := httptest.NewServer(memory.Handler(memory.New(m, memory.Options{}), scope, 1<<16, slog.New(slog.NewTextHandler(t.Output(), nil))))
	t.Cleanup(server.Close)
	return client{t, server.URL}
}

// do asks and decodes the answer into out, which may be nil.
func (c client) do(method, path, body string, out any) int {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if got := res.Header.Get("Content-Type"); got != "application/json" {
		c.t.Errorf("%s %s: content type %q", method, path, got)
	}
	if res.StatusCode >= 400 {
		var e memory.ErrorBody
		if err := json.Unmarshal(data, &e); err != nil || e.Error.Message == "" || e.Error.Status != res.StatusCode {
			c.t.Errorf("%s %s: %d with %s", method, path, res.StatusCode, data)
		}
		return res.StatusCode
	}
	if out != nil {
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		if err := dec.Decode(out); err != nil {
			c.t.Errorf("%s %s: %v in %s", method, path, err, data)
		}
	}
	return res.StatusCode
}

func TestRest(t *testing.T) {
	c := open(t, nil)
	var added memory.AddResult
	if s := c.do("POST", "/v1/memories/chat/turns", `{"turns":[{"id":"a","session":"1","speaker":"Rita","text":"We meet at the old mill.","time":"3 March 2025"},{"speaker":"Omar","text":"I bring bread."}]}`, &added); s != 200 || added.New != 2 || added.Memory != "chat" || added.IDs[0] != "a" || added.IDs[1] == "" {
		t.Fatalf("%d %+v", s, added)
	}
	if s := c.do("POST", "/v1/memories/chat/turns", `{"turns":[{"id":"a","session":"1","speaker":"Rita","text":"We meet at the old mill.","time":"3 March 2025"}]}`, &added); s != 200 || added.New != 0 || added.Skipped != 1 {
		t.Errorf("again: %d %+v", s, added)
	}
	var list memory.ListResult
	if s := c.do("GET", "/v1/memories", "", &list); s != 200 || len(list.Memories) != 1 || list.Memories[0].Turns != 2 {
		t.Errorf("%d %+v", s, list)
	}
	var page memory.Page
	if s := c.do("GET", "/v1/memories/chat/turns?limit=1", "", &page); s != 200 || len(page.Turns) != 1 || page.Next == "" {
		t.Fatalf("%d %+v", s, page)
	}
	if s := c.do("GET", "/v1/memories/chat/turns?limit=1&cursor="+page.Next, "", &page); s != 200 || page.Turns[0].Speaker != "Omar" || page.Next != "" {
		t.Errorf("%d %+v", s, page)
	}
	var found memory.SearchResult
	if s := c.do("POST", "/v1/memories/chat/search", `{"query":"Where is the mill?","limit":1}`, &found); s != 200 || len(found.Turns) != 1 || found.Turns[0].ID != "a" {
		t.Errorf("%d %+v", s, found)
	}
	var answer memory.AskResult
	if s := c.do("POST", "/v1/memories/chat/ask", `{"question":"Where do they meet?","budget":"high"}`, &answer); s != 200 || answer.Answer == "" || len(answer.Evidence) == 0 || answer.Tiers["entity"] != "high" || answer.Dollars <= 0 || answer.TokensIn == 0 {
		t.Errorf("%d %+v", s, answer)
	}
	if s := c.do("POST", "/v1/memories/chat/ask", `{"question":"Where do they meet?","max_dollars":1e-12}`, nil); s != http.StatusPaymentRequired {
		t.Errorf("a limit that nothing fits: %d", s)
	}
	var turn memory.Turn
	if s := c.do("PUT", "/v1/memories/chat/turns/a", `{"text":"We meet at the new mill."}`, &turn); s != 200 || turn.Text != "We meet at the new mill." || turn.Speaker != "Rita" {
		t.Errorf("%d %+v", s, turn)
	}
	var gone memory.DeleteResult
	if s := c.do("DELETE", "/v1/memories/chat/speakers/Omar", "", &gone); s != 200 || gone.Turns != 1 {
		t.Errorf("%d %+v", s, gone)
	}
	if s := c.do("DELETE", "/v1/memories/chat/turns/a", "", &gone); s != 200 || gone.Turns != 1 {
		t.Errorf("%d %+v", s, gone)
	}
	if s := c.do("GET", "/v1/memories/chat/turns/a", "", nil); s != 404 {
		t.Errorf("a forgotten turn: %d", s)
	}
}

func TestRestRefuses(t *testing.T) {
	c := open(t, nil)
	c.do("POST", "/v1/memories/chat/turns", `{"turns":[{"id":"a","session":"1","text":"We meet at the old mill."}]}`, nil)
	for _, r := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/v1/nothing", "", 404}, {"GET", "/v1/memories/none", "", 404}, {"DELETE", "/v1/memories/none", "", 404},
		{"POST", "/v1/memories/none/ask", `{"question":"Where?"}`, 404}, {"PATCH", "/v1/memories", "", 405},
		{"POST", "/v1/memories/chat/turns", ``, 400}, {"POST", "/v1/memories/chat/turns", `[]`, 400}, {"POST", "/v1/memories/chat/turns", `{"turns":[]}`, 400},
		{"POST", "/v1/memories/chat/turns", `{"turns":[{"text":" "}]}`, 400}, {"POST", "/v1/memories/chat/turns", `{"turns":[{"txt":"x"}]}`, 400},
		{"POST", "/v1/memories/chat/turns", `{"turns":[{"text":"x"}]} x`, 400}, {"POST", "/v1/memories/chat/turns", `{"memory":"other","turns":[{"text":"x"}]}`, 400},
		{"POST", "/v1/memories/chat/turns", `{"turns":[{"text":"x"}],"expires":"soon"}`, 400}, {"POST", "/v1/memories/chat/turns", `{"turns":[{"id":"a","session":"1","text":"Another."}]}`, 409},
		{"POST", "/v1/memories/chat/turns", `{"turns":[{"text":"` + strings.Repeat("x", 1<<16) + `"}]}`, 413}, {"POST", "/v1/memories/a%2Fb/turns", `{"turns":[{"text":"x"}]}`, 400},
		{"POST", "/v1/memories/chat/turns", "{\"turns\":[{\"text\":\"\xff\"}]}", 400},
		{"GET", "/v1/memories/chat/turns?limit=0", "", 400}, {"GET", "/v1/memories/chat/turns?limit=x", "", 400}, {"GET", "/v1/memories/chat/turns?cursor=x", "", 404},
		{"GET", "/v1/memories/chat/turns?page=2", "", 400}, {"POST", "/v1/memories/chat/search", `{"query":""}`, 400}, {"POST", "/v1/memories/chat/search", `{"query":"x","limit":1000}`, 400},
		{"POST", "/v1/memories/chat/ask", `{"question":"Where?","budget":"huge"}`, 400}, {"POST", "/v1/memories/chat/ask", `{"question":"Where?","max_dollars":-1}`, 400},
		{"POST", "/v1/memories/chat/ask", `{"question":"Where?","before":"soon"}`, 400}, {"PUT", "/v1/memories/chat/turns/a", `{"text":""}`, 400}, {"PUT", "/v1/memories/chat/turns/b", `{"text":"x"}`, 404},
	} {
		if got := c.do(r.method, r.path, r.body, nil); got != r.status {
			t.Errorf("%s %s %.60s: %d, want %d", r.method, r.path, r.body, got, r.status)
		}
	}
}

// Namespaces do not see each other, and a scope of one memory reaches no other.
func TestScopes(t *testing.T) {
	c := open(t, func(r *http.Request) memory.Scope {
		return memory.Scope{Namespace: r.Header.Get("X-Namespace"), Memory: r.Header.Get("X-Memory")}
	})
	as := func(namespace, only, method, path, body string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Namespace", namespace)
		req.Header.Set("X-Memory", only)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	for _, namespace := range []string{"", "ann", "bob"} {
		if s, b := as(namespace, "", "POST", "/v1/memories/chat/turns", `{"turns":[{"text":"I am `+namespace+`."}]}`); s != 200 {
			t.Fatalf("%d %s", s, b)
		}
	}
	for _, namespace := range []string{"", "ann", "bob"} {
		if _, b := as(namespace, "", "GET", "/v1/memories", ""); strings.Count(b, `"name":"chat"`) != 1 {
			t.Errorf("%q lists %s", namespace, b)
		}
		if _, b := as(namespace, "", "GET", "/v1/memories/chat/turns", ""); strings.Count(b, `"id"`) != 1 || !strings.Contains(b, "I am "+namespace+".") {
			t.Errorf("%q reads %s", namespace, b)
		}
	}
	if s, _ := as("", "", "GET", "/v1/memories/ann%2Fchat", ""); s != 400 {
		t.Errorf("a name with a slash reaches a namespace: %d", s)
	}
	if s, _ := as("ann", "diary", "GET", "/v1/memories/chat", ""); s != 403 {
		t.Errorf("a scope of one memory reaches another: %d", s)
	}
	if _, b := as("ann", "diary", "GET", "/v1/memories", ""); strings.Contains(b, "chat") {
		t.Errorf("a scope of one memory lists another: %s", b)
	}
}

// The memories of data sets are nobody's, whatever a tenant is called.
func TestDatasetsAreNotServed(t *testing.T) {
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: "http://127.0.0.1:1"})
	turns := []chunk.Turn{{ID: "1:1", Session: "1", Text: "Hello."}}
	d, err := m.OpenDataset(t.Context(), bmem.DatasetConversation{Dataset: "mine", ID: "team", Turns: turns})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mine/team@0123456789ab/256", "mine/notes", "notes"} {
		if _, err := m.Add(t.Context(), name, turns); err != nil {
			t.Fatal(err)
		}
	}
	first, _, _ := strings.Cut(d.Name, "/")
	for namespace, want := range map[string]int{"": 1, "mine": 1, first: 0, first + "/mine": 0} {
		c := serve(t, m, func(*http.Request) memory.Scope { return memory.Scope{Namespace: namespace} })
		var list memory.ListResult
		if s := c.do("GET", "/v1/memories", "", &list); s != 200 || len(list.Memories) != want || want == 1 && list.Memories[0].Name != "notes" {
			t.Errorf("%q lists %+v (%d)", namespace, list.Memories, s)
		}
	}
}

// What many clients add at one time is all there, once.
func TestConcurrentAdds(t *testing.T) {
	c := open(t, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 5 {
				if s := c.do("POST", "/v1/memories/chat/turns", fmt.Sprintf(`{"turns":[{"text":"turn %d of client %d"}]}`, j, i), nil); s != 200 {
					t.Errorf("%d", s)
				}
			}
		})
	}
	wg.Wait()
	var page memory.Page
	c.do("GET", "/v1/memories/chat/turns", "", &page)
	seen := map[string]bool{}
	for _, turn := range page.Turns {
		seen[turn.Text] = true
	}
	if len(page.Turns) != 40 || len(seen) != 40 {
		t.Errorf("%d turns, %d different, want 40", len(page.Turns), len(seen))
	}
}

// The description names every path that is served, and its references resolve.
func TestDescription(t *testing.T) {
	c := open(t, nil)
	var d struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ OperationID string }
		Components struct{ Schemas map[string]json.RawMessage }
	}
	res, err := http.Get(c.url + memory.DescriptionPath)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for path, methods := range d.Paths {
		for method, o := range methods {
			if ids[o.OperationID] || o.OperationID == "" {
				t.Errorf("%s %s: operation %q", method, path, o.OperationID)
			}
			ids[o.OperationID] = true
		}
	}
	if d.OpenAPI != "3.1.0" || len(ids) != 13 {
		t.Errorf("%s, %d operations", d.OpenAPI, len(ids))
	}
	for _, part := range strings.Split(string(text), `"#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		if _, ok := d.Components.Schemas[name]; !ok {
			t.Errorf("no schema %q", name)
		}
	}
	if strings.Contains(string(text), `"null"`) {
		t.Error("something may be null")
	}
}

// A session is forgotten, whatever the memory is called and whatever is left.
func TestForgetSession(t *testing.T) {
	c := open(t, nil)
	c.do("POST", "/v1/memories/%C3%94/turns", `{"turns":[{"text":"x"},{"text":"I bring bread.","session":"2"}]}`, nil)
	var page memory.Page
	c.do("GET", "/v1/memories/%C3%94/turns", "", &page)
	for _, turn := range page.Turns {
		if s := c.do("DELETE", "/v1/memories/%C3%94/sessions/"+turn.Session, "", nil); s != 200 {
			t.Errorf("session %s: %d", turn.Session, s)
		}
	}
}

// A path with .. in it is another one's to clients and ServeMux, which must not forget that one.
func TestPathsAreNotCleaned(t *testing.T) {
	c := open(t, nil)
	if s := c.do("POST", "/v1/memories/chat/turns", `{"turns":[{"id":"..","session":"..","speaker":"..","text":"We meet at the old mill."},{"id":"b","text":"I bring bread."}]}`, nil); s != 200 {
		t.Fatal(s)
	}
	for _, path := range []string{"/turns/..", "/turns/%2E%2E", "/sessions/..", "/speakers/..", "/turns/.", "/turns//", "//turns"} {
		if s := c.do("DELETE", "/v1/memories/chat"+path, "", nil); s != 400 {
			t.Errorf("%s: %d", path, s)
		}
	}
	if s := c.do("GET", "/v1/memories/chat/turns/", "", nil); s != 404 {
		t.Errorf("a slash at the end: %d", s)
	}
	var page memory.Page
	if c.do("GET", "/v1/memories/chat/turns", "", &page); len(page.Turns) != 2 {
		t.Errorf("left: %+v", page)
	}
}

// What is forgotten leaves the files also when the caller is gone before it is answered; so does what an edit replaces.
func TestForgettingOutlivesTheCaller(t *testing.T) {
	model := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	t.Cleanup(model.Close)
	dir := t.TempDir()
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: model.URL(), Dir: dir})
	s := memory.New(m, memory.Options{})
	if _, err := s.Add(t.Context(), memory.Scope{}, memory.AddRequest{Memory: "chat", Turns: []memory.NewTurn{{ID: "a", Text: "The word is Zwetschge."}, {ID: "b", Text: "Or else Quittenmus."}}}); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Delete(gone, memory.Scope{}, memory.DeleteRequest{Memory: "chat", Turn: "a"}); err != nil {
		t.Error(err)
	}
	if _, err := s.Edit(gone, memory.Scope{}, "chat", "b", memory.EditRequest{Text: "Or else jam."}); err != nil {
		t.Error(err)
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, word := range []string{"Zwetschge", "Quittenmus"} {
			if bytes.Contains(data, []byte(word)) {
				t.Errorf("%s is left in %s", word, path)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A turn with an id can be sent again, also if it leaves out what the server filled in the first time.
func TestTurnsAreSentAgain(t *testing.T) {
	model := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	t.Cleanup(model.Close)
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: model.URL()})
	s := memory.New(m, memory.Options{})
	// As if the server had filled these in on another day.
	first := memory.AddRequest{Memory: "chat", Turns: []memory.NewTurn{{ID: "a", Session: "2025-03-03", Time: "2025-03-03 10:04", Text: "We meet at the old mill."}}}
	if _, err := s.Add(t.Context(), memory.Scope{}, first); err != nil {
		t.Fatal(err)
	}
	sent := memory.AddRequest{Memory: "chat", Turns: []memory.NewTurn{{ID: "a", Text: "We meet at the old mill."}}}
	if got, err := s.Add(t.Context(), memory.Scope{}, sent); err != nil || got.Skipped != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	sent.Turns[0].Text = "We meet elsewhere."
	if _, err := s.Add(t.Context(), memory.Scope{}, sent); !errors.Is(err, bmem.ErrTurnExists) {
		t.Errorf("another text: %v", err)
	}
}
