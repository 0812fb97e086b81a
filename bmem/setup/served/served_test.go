package served

import (
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/conversation"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/setup/inprocess"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/serve"
	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
)

const small = "smollm2-135m-instruct"

var quiet = slog.New(slog.DiscardHandler)

// opened is an engine whose models are opened once and stay open, so that a test compiles every shape once.
type opened struct {
	*inprocess.Engine
	model   llm.Client
	encoder setup.Encoder
}

func (o *opened) Model(context.Context, string, string, string) (llm.Client, error) {
	return o.model, nil
}
func (o *opened) Embedder(context.Context, string, string) (setup.Encoder, error) {
	return o.encoder, nil
}
func (o *opened) Close() error { return nil }

// open opens the smallest real models in this process.
func open(t *testing.T) *opened {
	t.Helper()
	testenv.Slow(t, "loads real models")
	file, dir := modelstest.Path(t, small), modelstest.Path(t, setup.Embedder)
	engine := inprocess.New("", quiet)
	t.Cleanup(func() { engine.Close() })
	o := &opened{Engine: engine}
	var err error
	if o.model, err = engine.Model(t.Context(), small, file, ""); err != nil {
		t.Fatal(err)
	}
	if o.encoder, err = engine.Embedder(t.Context(), setup.Embedder, dir); err != nil {
		t.Fatal(err)
	}
	return o
}

// log is what a server was asked.
type log struct {
	mu    sync.Mutex
	paths []string
}

func (l *log) asked() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.paths)
}

// start serves models.
func start(t *testing.T, o *opened, token string) (url string, l *log) {
	t.Helper()
	server, err := serve.New(serve.Config{Chats: []serve.ChatModel{o.model.(serve.ChatModel)}, Token: token, Backend: o.Name(), Log: quiet,
		Embedder: &serve.Embedder{Name: setup.Embedder, Embedder: o.encoder, Tokenizer: o.encoder}})
	if err != nil {
		t.Fatal(err)
	}
	l = &log{}
	handler := server.Handler()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		l.paths = append(l.paths, r.URL.Path)
		l.mu.Unlock()
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/v1", l
}

// outcome is what a system makes of a question, times left out.
type outcome struct {
	Answer  string
	Replies []string // of the cache, with their keys
	IDs     []string
}

var times = regexp.MustCompile(`"(\w+_)?ms":[0-9.e+-]+`)

func ask(t *testing.T, engine setup.Engine, cache string, questions map[string][]bmem.Option) outcome {
	t.Helper()
	ctx := context.Background()
	sys, err := setup.Open(ctx, setup.Spec{Engine: engine, Model: small, CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	talk, err := conversation.ReadFile(filepath.Join("..", "..", "..", "examples", "conversation.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sys.Memory.Add(ctx, "talk", talk.Turns); err != nil {
		t.Fatal(err)
	}
	out := outcome{IDs: []string{sys.Client.ID(), sys.EmbedderID, sys.Backend}}
	answers := map[string]json.RawMessage{}
	for q, opts := range questions {
		a, err := sys.Memory.Ask(ctx, q, append(opts, bmem.WithMemory("talk"))...)
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		answers[q] = times.ReplaceAll(b, []byte(`"${1}ms":0`))
	}
	all, err := json.MarshalIndent(answers, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	out.Answer = string(all)
	out.Replies = replies(t, filepath.Join(cache, "replies.db"))
	return out
}

func replies(t *testing.T, file string) []string {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT hex(key), client, reply FROM replies ORDER BY key")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var key, client, reply string
		if err := rows.Scan(&key, &client, &reply); err != nil {
			t.Fatal(err)
		}
		out = append(out, key+" "+client+" "+times.ReplaceAllString(reply, `"${1}ms":0`))
	}
	return out
}

// The parts share the models, which take long to open and to compile for each shape.
func TestServed(t *testing.T) {
	o := open(t)
	t.Run("same as in process", func(t *testing.T) { testSame(t, o) })
	t.Run("exact", func(t *testing.T) { testExact(t, o) })
	t.Run("says what is missing", func(t *testing.T) { testMissing(t, o) })
}

// The same questions in process and through a server give the same answers, traces and cached replies, under the same names; so
// one can go on with what the other has kept.
func testSame(t *testing.T, o *opened) {
	url, log := start(t, o, "")
	questions := map[string][]bmem.Option{
		"When did Rita sign up for the pottery class?": {bmem.WithTiers("mid")},
		"Why did Omar move his trip?":                  {bmem.WithTiers("high,low,low,low,low"), bmem.WithMaxCost(0.01)},
	}
	dir := t.TempDir()
	own := ask(t, o, dir, questions)
	through := ask(t, New(url), t.TempDir(), questions)
	if !reflect.DeepEqual(own.IDs, through.IDs) {
		t.Errorf("in process %q, served %q", own.IDs, through.IDs)
	}
	if own.Answer != through.Answer {
		t.Errorf("answers in process\n%s\nserved\n%s", own.Answer, through.Answer)
	}
	if len(own.Replies) < 3 || !slices.Equal(own.Replies, through.Replies) {
		t.Errorf("replies in process\n%s\nserved\n%s", strings.Join(own.Replies, "\n"), strings.Join(through.Replies, "\n"))
	}
	for _, path := range []string{"/v1/chat/completions", "/v1/score", "/v1/tokens", "/v1/embeddings", "/v1/open"} {
		if !slices.Contains(log.asked(), path) {
			t.Errorf("%s was not asked", path)
		}
	}
	before := len(log.asked())
	if again := ask(t, New(url), dir, questions); !slices.Equal(again.Replies, own.Replies) {
		t.Error("with the cache of the process, the server was asked anew")
	}
	for _, path := range log.asked()[before:] {
		if path == "/v1/chat/completions" || path == "/v1/score" || path == "/v1/embeddings" {
			t.Errorf("with the cache of the process, %s was asked", path)
		}
	}
}

// Calls that only the models themselves take literally.
func testExact(t *testing.T, o *opened) {
	t.Setenv(api.EnvToken, "a-token")
	url, _ := start(t, o, "a-token")
	ctx, through := t.Context(), New(url)
	model, err := through.Model(ctx, small, "", "")
	if err != nil {
		t.Fatal(err)
	}
	encoder, err := through.Embedder(ctx, setup.Embedder, modelstest.Path(t, setup.Embedder))
	if err != nil {
		t.Fatal(err)
	}
	for _, req := range []llm.Request{
		{Messages: []llm.Message{{Role: llm.User, Content: "Say a word."}}, Temperature: 1, MaxTokens: 12}, // seed 0
		{Messages: []llm.Message{{Role: llm.User, Content: "Hello!"}}, Stop: []string{"H", "h", "!", " ", "I"}, MaxTokens: 4},
	} {
		want, err := o.model.Chat(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := model.Chat(ctx, req)
		if err != nil || got.Text != want.Text || got.Finish != want.Finish || got.Usage.Out != want.Usage.Out {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	texts := make([]string, 128) // as many as are embedded at a time: with others beside it a vector's last bits may differ
	for i := range texts {
		texts[i] = strings.Repeat("some words ", i%20)
	}
	want, err := o.encoder.Embed(ctx, texts)
	if err != nil {
		t.Fatal(err)
	}
	got, err := encoder.Embed(ctx, texts)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if !slices.Equal(want[i], got[i]) {
			t.Errorf("vector %d differs", i)
		}
	}
	if o.encoder.Count("some words") != encoder.Count("some words") || o.encoder.Dim() != encoder.Dim() {
		t.Error("the encoders count or measure differently")
	}
}

func testMissing(t *testing.T, o *opened) {
	url, _ := start(t, o, "")
	_, err := New(url).Model(t.Context(), "qwen2.5-coder-0.5b-instruct", "", "")
	if err == nil || !strings.Contains(err.Error(), "--on-demand") || !strings.Contains(err.Error(), url) {
		t.Errorf("a model that is not served: %v", err)
	}
	if _, err := New(url).Model(t.Context(), setup.Embedder, "", ""); err == nil || !strings.Contains(err.Error(), `kind "embedding"`) {
		t.Errorf("an embedder to chat with: %v", err)
	}
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	t.Setenv(api.EnvServer, "")
	if _, err := New("").Model(t.Context(), small, "", ""); err == nil || !strings.Contains(err.Error(), "bmem serve --on-demand") {
		t.Errorf("no server: %v", err)
	}
}

// A model with an adapter is opened at the server by name; the adapter there must be the one here. Its prompt is known here.
func TestAdapter(t *testing.T) {
	a := &adapter.Adapter{Rank: 1, Alpha: 2, Info: adapter.Info{Base: "base", Template: "notes", TemplateHash: "abc"},
		Pairs: map[adapter.Key]adapter.Pair{{Layer: 0, Target: "q_proj"}: {A: []float32{1, 2}, B: []float32{3}, In: 2, Out: 1}}}
	dir := filepath.Join(t.TempDir(), "mine")
	if err := a.Write(dir); err != nil {
		t.Fatal(err)
	}
	read, err := adapter.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	for id, refused := range map[string]string{
		"local:sha256:00+sha256:" + read.SHA256: "",
		"local:sha256:00+sha256:00":             "another adapter",
		"local:sha256:00":                       "another adapter",
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var body api.OpenRequest
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.URL.Path != "/v1/"+api.PathOpen {
				t.Errorf("%s: %v", r.URL.Path, err)
			}
			json.NewEncoder(w).Encode(api.OpenReply{Model: api.Model{Name: body.Model, Kind: api.Chat, ID: id}})
		}))
		m, err := New(s.URL+"/v1").Model(t.Context(), "base+mine", "base.gguf", dir)
		s.Close()
		if refused != "" {
			if err == nil || !strings.Contains(err.Error(), refused) {
				t.Errorf("%s: %v, want %q", id, err, refused)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if name, hash := llm.PromptTemplate(m); m.Model() != "base+mine" || m.ID() != id || name != "notes" || hash != "abc" {
			t.Errorf("%s %s with prompt %q %q", m.Model(), m.ID(), name, hash)
		}
	}
}
