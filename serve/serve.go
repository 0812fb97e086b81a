// Package serve puts local models behind an OpenAI-compatible HTTP endpoint: chats, streamed or whole, with JSON mode,
// embeddings, the list of models, and the server's health. One process holds weights, compiled programs and prefix caches
// for all its clients, and computes their requests in batches.
//
// Three endpoints go beyond OpenAI's API; package api describes them: /v1/open identifies the weights of a model, /v1/score
// returns likelihoods, and /v1/tokens the length of a prompt.
package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/serve/page"
	"github.com/budgetmem/budgetmem/serve/tenant"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// The defaults of Config.
const (
	DefaultMaxQueue = 256
	DefaultMaxBody  = 2 << 20
	DefaultGrace    = 2 * time.Minute
)

// ChatModel answers chats, whole and as they come. Model is the name that clients ask for.
type ChatModel interface {
	llm.Client
	llm.Streamer
}

// Embedder embeds texts and counts their tokens. Name is what clients ask for.
type Embedder struct {
	Name string
	embed.Embedder
	embed.Tokenizer
}

// Config says what to serve and within which limits. The zero value of every limit is a default.
type Config struct {
	Chats []ChatModel
	// Embedder may be nil: then there are no embeddings.
	Embedder *Embedder
	// Source opens models when they are first requested; nil for none. Together they may take MaxMemory bytes: to make room
	// for another, the one that was idle longest is closed.
	Source    Source
	MaxMemory int64
	// Memories, if not nil, serves /v1/memories, /v1/spending, /v1/mcp and /v1/openapi.json, beside a page at / that shows them. Requests
	// are let in as all others are, with what they may reach (memory.ScopeOf), and those that run a model take a place in the queue
	// (memory.WithQueue).
	Memories http.Handler
	// Tenants are callers with tokens of their own; nil for none. What a call of a model with a price costs is booked on its caller.
	Tenants *tenant.Tenants
	Prices  llm.Prices
	// Activity counts what callers do, as that of Memories does; nil if that does not matter.
	Activity *memory.Activity
	// Backend is what computes; /health shows it.
	Backend string
	// Token is the bearer token of the server's owner. Requests must carry it or that of a tenant. With "" and no tenants none is
	// required, which Listen allows on loopback only.
	Token string
	// MaxQueue is how many requests may run or wait at one time; one more is refused with 429.
	MaxQueue int
	// MaxPerClient is how many of them may come from one address. 0 means half of MaxQueue, without a limit for loopback
	// addresses, which all programs of this machine share.
	MaxPerClient int
	// MaxBody is the largest body of a request in bytes; a larger one is refused with 413.
	MaxBody int64
	// Grace is how long running requests may take to finish when the server stops.
	Grace time.Duration
	// Log gets a line for every request; nil means slog.Default.
	Log *slog.Logger
	// Operator are further handlers by path, such as "/metrics" or "/debug/pprof/", for the server's owner alone: tenants get 403.
	Operator map[string]http.Handler
	// Observer, if not nil, watches every request.
	Observer Observer
}

// Observer watches requests, to trace or to count them. It is safe for concurrent use.
type Observer interface {
	// Request is called when a request begins. route is the pattern of the handler that it is for. The request is handled under the
	// context returned, and end is called with the answer's status.
	Request(r *http.Request, route string) (_ context.Context, end func(status int))
	// Computed is called when a served model has answered a chat, scores or embeddings, or failed to: ctx is that of the request.
	// Questions to memories are not among these.
	Computed(ctx context.Context, model string, used llm.Usage, took time.Duration, err error)
}

// Server serves a Config. Make one with New.
type Server struct {
	config  Config
	chats   map[string]ChatModel
	names   []string    // of all models that are always open, in the order of Config
	cache   *modelCache // nil without a Source
	batcher *batcher    // nil without embeddings
	started time.Time
	queue   queue
	readers readers
	served  atomic.Int64 // requests answered with a status < 400
}

// New checks config. Its models stay the caller's, to be closed after the server has stopped. Negative limits, a token that is
// no visible ASCII, a model named twice, and nothing to serve are errors.
func New(config Config) (*Server, error) {
	s := &Server{config: config, chats: map[string]ChatModel{}, started: time.Now()}
	c := &s.config
	if c.MaxQueue == 0 {
		c.MaxQueue = DefaultMaxQueue
	}
	if c.MaxBody == 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.Tenants == nil {
		c.Tenants = tenant.None(nil)
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Activity == nil {
		c.Activity = memory.NewActivity(nil, c.Log)
	}
	if c.MaxQueue < 0 || c.MaxPerClient < 0 || c.MaxBody < 0 || c.Grace < 0 {
		return nil, fmt.Errorf("serve: queue limit %d, limit per client %d, body limit %d, grace %v: must not be negative", c.MaxQueue, c.MaxPerClient, c.MaxBody, c.Grace)
	}
	if strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("serve: the token ($%s) may hold visible ASCII characters only", api.EnvToken)
	}
	s.queue = queue{limit: c.MaxQueue, perClient: c.MaxPerClient, clients: map[client]int{}}
	s.readers.limit, s.readers.patience = max(64, c.MaxQueue), readLimit
	for _, m := range c.Chats {
		s.chats[m.Model()] = m
		s.names = append(s.names, m.Model())
	}
	if c.Embedder != nil {
		s.names = append(s.names, c.Embedder.Name)
		s.batcher = &batcher{embedder: c.Embedder}
	}
	if sorted := slices.Sorted(slices.Values(s.names)); len(slices.Compact(sorted)) < len(s.names) {
		return nil, fmt.Errorf("serve: a model is named twice: %s", strings.Join(s.names, ", "))
	}
	if c.Source != nil {
		s.cache = &modelCache{source: c.Source, limit: c.MaxMemory, open: map[string]*cached{}, changed: make(chan struct{})}
	} else if len(s.names) == 0 && len(c.Operator) == 0 {
		return nil, errors.New("serve: no model to serve")
	}
	return s, nil
}

// Models returns the names of what is served and always open.
func (s *Server) Models() []string { return slices.Clone(s.names) }

// Close closes the models that were opened from Config.Source. Serve must have returned. It joins the errors of closing them.
func (s *Server) Close() error {
	if s.cache == nil {
		return nil
	}
	return s.cache.close()
}

// Listen listens on addr (host:port; port 0 takes a free one). For a server that requires no token it refuses every address that
// other machines could reach.
func Listen(addr string, tokenRequired bool) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve on %s: %w", addr, err)
	}
	if !tcp.IP.IsLoopback() && !tokenRequired { // no host at all means every interface
		return nil, fmt.Errorf("serve on %s: other machines can reach this address, so a bearer token is needed: set %s to a secret (such as the output of `openssl rand -hex 32`), or serve on 127.0.0.1", addr, api.EnvToken)
	}
	ln, err := net.ListenTCP("tcp", tcp)
	if err != nil {
		return nil, fmt.Errorf("serve on %s: %w", addr, err)
	}
	return ln, nil
}

// Serve answers requests on ln until ctx ends. Then it accepts no more, finishes the running ones, and returns nil. It is an
// error if some had to be broken off after Config.Grace.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.config.Log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	running, _ := s.queue.counts()
	s.config.Log.Info("stopping", "in_flight", running)
	s.readers.end()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Grace)
	defer cancel()
	err := server.Shutdown(limited)
	if ended := <-failed; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	if err != nil {
		left, _ := s.queue.counts()
		return errors.Join(fmt.Errorf("stop serving: %d requests were not finished after %v", left, s.config.Grace), server.Close())
	}
	return nil
}

// Handler returns the endpoint for the caller's own http.Server, which must check addresses and set timeouts as Listen and
// Serve do.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", queued(s, (*chatRequest).check, s.chat))
	mux.HandleFunc("POST /v1/embeddings", queued(s, s.checkEmbeddings, s.embeddings))
	mux.HandleFunc("POST /v1/"+api.PathOpen, queued(s, nil, s.open))
	mux.HandleFunc("POST /v1/"+api.PathScore, queued(s, checkScore, s.score))
	mux.HandleFunc("POST /v1/"+api.PathTokens, queued(s, checkTokens, s.tokens))
	mux.HandleFunc("GET /v1/models", s.listModels)
	mux.HandleFunc("GET /v1/models/{name}", s.oneModel)
	mux.HandleFunc("GET /health", s.health)
	for _, path := range []string{"/v1/chat/completions", "/v1/embeddings", "/v1/" + api.PathOpen, "/v1/" + api.PathScore, "/v1/" + api.PathTokens, "/v1/models", "/health"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			s.fail(w, &apiError{Status: http.StatusMethodNotAllowed, Message: r.Method + " is not how " + r.URL.Path + " is asked"})
		})
	}
	if s.config.Memories != nil {
		for _, path := range []string{"/v1/memories", "/v1/memories/", "/v1/spending", "/v1/mcp", "/v1/openapi.json"} {
			mux.Handle(path, s.queueing(s.config.Memories))
		}
		mux.Handle("GET /{$}", page.Handler())
		mux.Handle("GET "+page.Prefix, page.Handler())
	}
	for path, h := range s.config.Operator {
		mux.Handle(path, s.ownersOnly(h))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, &apiError{Status: http.StatusNotFound, Message: "nothing is at " + r.URL.Path, Code: "unknown_url"})
	})
	return s.watched(mux, s.guarded(memory.PlainPaths(mux)))
}

// Queue counts the requests that run or wait.
func (s *Server) Queue() api.Queue {
	depth, refused := s.queue.counts()
	return api.Queue{Depth: int64(depth), Limit: s.config.MaxQueue, Served: s.served.Load(), Refused: refused}
}

// queueing lets the requests of next that run a model take a place in the queue.
func (s *Server) queueing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		enter := func() (func(), error) {
			leave, err := s.queue.enter(clientOf(r))
			if err != nil {
				e := asAPIError(err)
				return nil, &memory.Error{Status: e.Status, Message: e.Message, RetryAfter: e.RetryAfter}
			}
			return leave, nil
		}
		r = r.WithContext(memory.WithQueue(r.Context(), enter))
		if r.Body != nil && r.Body != http.NoBody {
			body := &timed{ReadCloser: r.Body, readers: &s.readers, reader: s.readers.add(w)}
			defer body.end()
			r.Body = body
		}
		next.ServeHTTP(w, r)
	})
}

// chatModel returns the language model of a name, to be released when the request is done with it.
func (s *Server) chatModel(ctx context.Context, name string) (m ChatModel, release func(), err error) {
	if m, ok := s.chats[name]; ok {
		return m, func() {}, nil
	}
	if s.cache != nil {
		return s.cache.take(ctx, name)
	}
	return nil, nil, unknownModel(name, slices.Sorted(maps.Keys(s.chats)))
}

// unknownModel refuses a name that is none of the names a request may give.
func unknownModel(name string, names []string) error {
	return &apiError{Status: http.StatusNotFound, Param: "model", Code: "model_not_found",
		Message: fmt.Sprintf("no model %q serves this; there is %s (bmem serve takes --model NAME and --on-demand)", name, cmp.Or(strings.Join(names, ", "), "none"))}
}
