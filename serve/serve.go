// Package serve puts local models behind an OpenAI-compatible HTTP endpoint: chats, streamed or whole, with JSON mode,
// embeddings, the list of models, and a look at the server's health. One process then holds weights, compiled programs and
// prefix caches for all that ask, and batches over all its clients.
//
// Three endpoints of our own tell programs of this project what the models know beyond that API: /v1/open which weights a
// name stands for, /v1/score likelihoods, and /v1/tokens the length of a prompt.
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
	"github.com/budgetmem/budgetmem/serve/registry"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// EnvToken names the environment variable with the bearer token that clients must send.
const EnvToken = registry.EnvToken

// DefaultAddr is where bmem serve listens and bmem doctor looks for it.
const DefaultAddr = "127.0.0.1:8177"

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
	// Source has models that are opened when they are first asked for; nil for none. They may take MaxMemory bytes together: where
	// another would not fit, the one that was idle longest is closed.
	Source    Source
	MaxMemory int64
	// Backend is what computes, for those who ask for the server's health.
	Backend string
	// Token is the bearer token that all requests must carry; "" lets everybody in, which Listen allows on loopback only.
	Token string
	// MaxQueue is how many requests may be in work or waiting at one time; one more is refused with 429.
	MaxQueue int
	// MaxBody is the largest body of a request in bytes; a larger one is refused with 413.
	MaxBody int64
	// Grace is how long requests in flight may take to finish when the server stops.
	Grace time.Duration
	// Log is told of every request; nil means slog.Default.
	Log *slog.Logger
}

// Server serves a Config. Make one with New.
type Server struct {
	config  Config
	chats   map[string]ChatModel
	names   []string // of all models that are always open, in the order of Config
	shelf   *shelf   // nil without a Source
	batcher *batcher // nil without embeddings
	started time.Time
	depth   atomic.Int64 // requests in work or waiting
	served  atomic.Int64 // requests that got an answer of status < 400
	refused atomic.Int64 // requests over the queue's limit
}

// New checks config. Its models stay the caller's, to be closed after the server has stopped.
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
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.MaxQueue < 0 || c.MaxBody < 0 || c.Grace < 0 {
		return nil, fmt.Errorf("serve: queue limit %d, body limit %d, grace %v: must not be negative", c.MaxQueue, c.MaxBody, c.Grace)
	}
	if strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("serve: the token ($%s) may hold visible ASCII characters only", EnvToken)
	}
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
		s.shelf = &shelf{source: c.Source, limit: c.MaxMemory, open: map[string]*shelved{}, changed: make(chan struct{})}
	} else if len(s.names) == 0 {
		return nil, errors.New("serve: no model to serve")
	}
	return s, nil
}

// Models returns the names of what is served and always open.
func (s *Server) Models() []string { return slices.Clone(s.names) }

// Close closes the models that were opened from Config.Source. Serve must have returned.
func (s *Server) Close() error {
	if s.shelf == nil {
		return nil
	}
	return s.shelf.close()
}

// Listen listens on addr (host:port; port 0 takes a free one) for a server with the given token. Without one it refuses
// every address that other machines could reach.
func Listen(addr, token string) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve on %s: %w", addr, err)
	}
	if !tcp.IP.IsLoopback() && token == "" { // no host at all means every interface
		return nil, fmt.Errorf("serve on %s: other machines can reach this address, so a bearer token is needed: set %s to a secret (such as the output of `openssl rand -hex 32`), or serve on 127.0.0.1", addr, EnvToken)
	}
	ln, err := net.ListenTCP("tcp", tcp)
	if err != nil {
		return nil, fmt.Errorf("serve on %s: %w", addr, err)
	}
	return ln, nil
}

// Serve answers requests on ln until ctx ends. Then it accepts no more, finishes what is in flight, and returns nil; what
// is not finished after Config.Grace is broken off, which is an error.
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
	s.config.Log.Info("stopping", "in_flight", s.depth.Load())
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Grace)
	defer cancel()
	err := server.Shutdown(limited)
	<-failed // http.ErrServerClosed
	if err != nil {
		left := s.depth.Load()
		return errors.Join(fmt.Errorf("stop serving: %d requests were not finished after %v", left, s.config.Grace), server.Close())
	}
	return nil
}

// Handler returns the endpoint for an http.Server of one's own, which has to see to what Listen and Serve see to.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", s.limited(s.chat))
	mux.HandleFunc("POST /v1/embeddings", s.limited(s.embeddings))
	mux.HandleFunc("POST /v1/open", s.limited(s.open))
	mux.HandleFunc("POST /v1/score", s.limited(s.score))
	mux.HandleFunc("POST /v1/tokens", s.limited(s.tokens))
	mux.HandleFunc("GET /v1/models", s.listModels)
	mux.HandleFunc("GET /v1/models/{name}", s.oneModel)
	mux.HandleFunc("GET /health", s.health)
	for _, path := range []string{"/v1/chat/completions", "/v1/embeddings", "/v1/open", "/v1/score", "/v1/tokens", "/v1/models", "/health"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			s.fail(w, &apiError{Status: http.StatusMethodNotAllowed, Message: r.Method + " is not how " + r.URL.Path + " is asked"})
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, &apiError{Status: http.StatusNotFound, Message: "nothing is at " + r.URL.Path, Code: "unknown_url"})
	})
	return s.watched(s.guarded(mux))
}

// chatModel returns the language model of a name, to be released when the request is done with it.
func (s *Server) chatModel(ctx context.Context, name string) (m ChatModel, release func(), err error) {
	if m, ok := s.chats[name]; ok {
		return m, func() {}, nil
	}
	if s.shelf != nil {
		return s.shelf.take(ctx, name)
	}
	return nil, nil, unknownModel(name, slices.Sorted(maps.Keys(s.chats)))
}

// unknownModel refuses a name that is none of the names a request may give.
func unknownModel(name string, names []string) error {
	return &apiError{Status: http.StatusNotFound, Param: "model", Code: "model_not_found",
		Message: fmt.Sprintf("no model %q serves this; there is %s (bmem serve takes --model NAME and --on-demand)", name, cmp.Or(strings.Join(names, ", "), "none"))}
}
