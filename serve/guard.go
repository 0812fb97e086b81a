package serve

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"
)

const (
	// readLimit is how long a client may take to send a body, and writeLimit to take each piece of an answer.
	readLimit, writeLimit = 30 * time.Second, 30 * time.Second
	// discardLimit is how much of a body that is too large is read for nothing: a client that is still sending would
	// not see the answer.
	discardLimit = 64 << 20
	// retryAfter is what clients over the queue's limit are told, in seconds: about what a short reply takes.
	retryAfter = 2
)

// watched logs every request and answers with 500 where the handler panics.
func (s *Server) watched(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		seen := &statusWriter{ResponseWriter: w}
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

// Unwrap lets http.ResponseController through.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// guarded lets in who has the token. Without one, only programs of this machine reach the server; of these, a browser may
// act for a page from elsewhere. Such a page is shown by its Origin, or by its Host, if its name was made to lead here.
func (s *Server) guarded(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(s.config.Token))
	origin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.config.Token != "" {
			token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			got := sha256.Sum256([]byte(token))
			if r.URL.Path == "/health" && token == "" {
				s.answer(w, http.StatusOK, map[string]string{"status": "ok"}) // for watchdogs: nothing but that it lives
				return
			}
			if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
				w.Header().Set("WWW-Authenticate", "Bearer")
				s.fail(w, &apiError{Status: http.StatusUnauthorized, Code: "invalid_api_key", Message: "this server wants its token as the API key (Authorization: Bearer …)"})
				return
			}
		} else {
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
		next.ServeHTTP(w, r)
	})
}

// isLocal says whether a request's Host, port or not, names this machine.
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

// limited runs handle for a request within the limits, and answers with its error.
func (s *Server) limited(handle func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer s.depth.Add(-1)
		if n := s.depth.Add(1); n > int64(s.config.MaxQueue) {
			s.refused.Add(1)
			s.fail(w, &apiError{Status: http.StatusTooManyRequests, Code: "queue_full", RetryAfter: retryAfter,
				Message: fmt.Sprintf("%d requests are in work or waiting, which is the limit; ask again later", s.config.MaxQueue)})
			return
		}
		if err := handle(w, r); err != nil {
			e := asAPIError(err)
			if e.Status == http.StatusInternalServerError {
				s.config.Log.Error("request failed", "path", r.URL.Path, "error", err)
			}
			s.fail(w, e)
		}
	}
}

// read parses the body into v.
func (s *Server) read(w http.ResponseWriter, r *http.Request, v any) error {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(readLimit)) // a writer of a test has none
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.config.MaxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		_, _ = io.CopyN(io.Discard, r.Body, discardLimit)
		return &apiError{Status: http.StatusRequestEntityTooLarge, Code: "request_too_large", Message: fmt.Sprintf("the request has more than %d bytes, which is the limit", s.config.MaxBody)}
	} else if err != nil {
		return badRequest("", "the body cannot be read: %v", err)
	}
	_ = control.SetReadDeadline(time.Time{}) // from here on reading only tells that the client is gone
	err = json.Unmarshal(body, v)
	var wrong *json.UnmarshalTypeError
	var refused *apiError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &wrong):
		return badRequest(wrong.Field, "%s is a %s, which it may not be", cmp.Or(wrong.Field, "the body"), wrong.Value)
	}
	return badRequest("", "the body is no JSON: %v", err)
}
