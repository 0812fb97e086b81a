package serve

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/serve/page"
)

// writeLimit is how long a client may take to receive each piece of an answer.
const writeLimit = 30 * time.Second

// watched logs every request, shows it to the observer with its route in mux, and answers with 500 where the handler panics.
func (s *Server) watched(mux *http.ServeMux, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		seen := &statusWriter{ResponseWriter: w}
		if s.config.Observer != nil {
			_, route := mux.Handler(r)
			ctx, end := s.config.Observer.Request(r, route)
			defer func() { end(cmp.Or(seen.status, http.StatusOK)) }()
			r = r.WithContext(ctx)
		}
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				s.config.Log.Error("a request made the server panic", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				if seen.status == 0 {
					s.fail(seen, &apiError{Status: http.StatusInternalServerError, Message: "the server failed; its log says how"})
				}
			}
			if seen.status > 0 && seen.status < 400 {
				s.served.Add(1)
			}
			s.config.Log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", seen.status, "ms", time.Since(start).Milliseconds(), "from", r.RemoteAddr)
		}()
		next.ServeHTTP(seen, r)
	})
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController through.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// guarded lets in requests that carry the token of the owner or of a tenant, and says what they reach. The page has nothing to hide: it
// asks for the token itself. A server without any token is reachable from this machine only, but a browser
// here may act for a web page from elsewhere. Such a page is recognised by its Origin, or by its Host if its name was made
// to resolve to this machine (DNS rebinding).
func (s *Server) guarded(next http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scope := s.config.Tenants.Owner()
		if s.tokenRequired() && r.URL.Path != "/" && !strings.HasPrefix(r.URL.Path, page.Prefix) {
			token := tokenIn(r)
			if r.URL.Path == "/health" && token == "" {
				s.answer(w, http.StatusOK, map[string]string{"status": "ok"}) // enough for a liveness probe
				return
			}
			var known bool
			if scope, known = s.scope(token); !known {
				w.Header().Set("WWW-Authenticate", "Bearer")
				s.fail(w, &apiError{Status: http.StatusUnauthorized, Code: "invalid_api_key", Message: "this server wants its token as the API key (Authorization: Bearer …)"})
				return
			}
		} else if !s.tokenRequired() {
			if !isLocal(r.Host) {
				s.fail(w, &apiError{Status: http.StatusForbidden, Code: "wrong_host",
					Message: fmt.Sprintf("the request is for host %q; without a token this server answers to localhost only", r.Host)})
				return
			}
			if err := origin.Check(r); err != nil {
				s.fail(w, &apiError{Status: http.StatusForbidden, Code: "cross_origin", Message: "a web page from elsewhere may not use this server: " + err.Error()})
				return
			}
		}
		next.ServeHTTP(w, r.WithContext(memory.WithScope(r.Context(), scope)))
	})
}

// tokenRequired reports whether requests must carry a token.
func (s *Server) tokenRequired() bool { return s.config.Token != "" || s.config.Tenants.Len() > 0 }

// scope returns what a token reaches.
func (s *Server) scope(token string) (_ memory.Scope, known bool) {
	if s.isOwner(token) {
		return s.config.Tenants.Owner(), true
	}
	return s.config.Tenants.Scope(token)
}

// isOwner reports whether a token is that of the server's owner.
func (s *Server) isOwner(token string) bool {
	got, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(s.config.Token))
	return s.config.Token != "" && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// ownersOnly keeps tenants out of next.
func (s *Server) ownersOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.tokenRequired() && !s.isOwner(tokenIn(r)) {
			s.fail(w, &apiError{Status: http.StatusForbidden, Code: "owner_only",
				Message: r.URL.Path + " is for the owner of this server, whose token is what $" + api.EnvToken + " was when it started"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// tokenIn is the token that a request carries; "" for none.
func tokenIn(r *http.Request) string {
	header := r.Header.Get("Authorization")
	if scheme, token, ok := strings.Cut(header, " "); ok && strings.EqualFold(scheme, "Bearer") {
		return token
	}
	return header
}

// isLocal reports whether a request's Host, port or not, names this machine.
func isLocal(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && ip.IsLoopback()
}
