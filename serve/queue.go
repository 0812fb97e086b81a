package serve

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/budgetmem/budgetmem/serve/memory"
)

const (
	// readLimit is how long a client may take to send a body.
	readLimit = 30 * time.Second
	// discardLimit is how many bytes of a body that is too large are read and dropped: a client that is still sending
	// would not see the answer.
	discardLimit = 64 << 20
	// retryAfter is when a refused client may ask again, in seconds: about the time of a short reply.
	retryAfter = 2
)

// queued makes a handler of answer: it reads the request's body, checks it (check may be nil), and only then takes a place
// in the queue, so that clients that send slowly or send nonsense take no place from others. Errors are sent to the client.
func queued[T any](s *Server, check func(*T) error, answer func(w http.ResponseWriter, r *http.Request, body *T) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := func() error {
			body := new(T)
			if err := s.read(w, r, body); err != nil {
				return err
			}
			if check != nil {
				if err := check(body); err != nil {
					return err
				}
			}
			leave, err := s.queue.enter(clientOf(r))
			if err != nil {
				return err
			}
			defer leave()
			return answer(w, r, body)
		}()
		if err == nil {
			return
		}
		e := asAPIError(err)
		if e.Status == http.StatusInternalServerError {
			s.config.Log.Error("request failed", "path", r.URL.Path, "error", err)
		}
		s.fail(w, e)
	}
}

// queue counts the requests that run or wait, altogether and by client.
type queue struct {
	limit, perClient int

	mu      sync.Mutex
	depth   int
	refused int64
	clients map[client]int
}

// client is whose requests are limited together: a tenant wherever it asks from, or else an address.
type client struct {
	tenant string
	addr   netip.Addr
}

// String names the client for those that are refused.
func (c client) String() string {
	if c.tenant != "" {
		return "tenant " + c.tenant
	}
	return c.addr.String()
}

// enter takes a place for a client; leave gives it back. The error says which limit was reached.
func (q *queue) enter(c client) (leave func(), err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	refuse := func(code, format string, args ...any) (func(), error) {
		q.refused++
		return nil, &apiError{Status: http.StatusTooManyRequests, Code: code, RetryAfter: retryAfter, Message: fmt.Sprintf(format, args...)}
	}
	if q.depth >= q.limit {
		return refuse("queue_full", "%d requests are running or waiting, which is the limit (bmem serve --max-queue); ask again later", q.limit)
	}
	// All programs of this machine share the loopback addresses, so without an explicit limit these count as no client.
	limit := cmp.Or(q.perClient, max(1, q.limit/2))
	if n := q.clients[c]; n >= limit && (q.perClient > 0 || !c.addr.IsLoopback()) {
		return refuse("client_limit", "%d requests from %s are running or waiting, which is the limit for one client (bmem serve --max-per-client); ask again later", n, c)
	}
	q.depth++
	q.clients[c]++
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.depth--
		if q.clients[c]--; q.clients[c] == 0 {
			delete(q.clients, c)
		}
	}, nil
}

// counts returns how many requests run or wait, and how many were refused so far.
func (q *queue) counts() (depth int, refused int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.depth, q.refused
}

// clientOf returns whose request it is; a zero client if that is unknown.
func clientOf(r *http.Request) client {
	if tenant := memory.ScopeOfRequest(r).Namespace; tenant != "" {
		return client{tenant: tenant}
	}
	return client{addr: addrOf(r)}
}

// addrOf returns the address that a request came from; the zero Addr if it is unknown.
func addrOf(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() { // one client has a whole subnet of them
		if prefix, err := addr.Prefix(64); err == nil && !addr.IsLoopback() {
			return prefix.Addr()
		}
	}
	return addr
}

// readers are the requests whose bodies are being read, the oldest first.
type readers struct {
	limit    int
	patience time.Duration // how long a client may take to send a body

	mu    sync.Mutex
	open  []*reader
	ended bool // the server is stopping
}

type reader struct {
	control *http.ResponseController
	evicted bool
}

// add begins to read a body. If too many are being read, the one that began first is broken off: honest clients send within
// moments, so those that send slowly cannot keep others out.
func (s *readers) add(w http.ResponseWriter) *reader {
	r := &reader{control: http.NewResponseController(w)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= s.limit {
		oldest := s.open[0]
		s.open = s.open[1:]
		oldest.evicted = true
		_ = oldest.control.SetReadDeadline(time.Now()) // only a test's ResponseRecorder has none
	}
	deadline := time.Now().Add(s.patience)
	if s.ended {
		deadline = time.Now()
	}
	_ = r.control.SetReadDeadline(deadline)
	s.open = append(s.open, r)
	return r
}

// done ends the reading of a body, of which nothing is left if it was read whole. It reports whether the body was broken off.
func (s *readers) done(r *reader, whole bool) (evicted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = slices.DeleteFunc(s.open, func(other *reader) bool { return other == r })
	// What is left of a body is read by net/http after the answer, for which the time limit has to stay.
	if whole && !r.evicted {
		_ = r.control.SetReadDeadline(time.Time{}) // from here on a read only notices that the client is gone
	}
	return r.evicted
}

// end breaks off the bodies that are not here in a moment, and those that begin from now on.
func (s *readers) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, r := range s.open {
		_ = r.control.SetReadDeadline(time.Now().Add(time.Second))
	}
}

// timed limits the time that a body takes to come, whatever reads it.
type timed struct {
	io.ReadCloser
	readers *readers
	reader  *reader
	once    sync.Once
}

// Read implements io.Reader.
func (t *timed) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err != nil {
		t.once.Do(func() { t.readers.done(t.reader, errors.Is(err, io.EOF)) })
	}
	return n, err
}

// end says that nobody reads the body any more.
func (t *timed) end() { t.once.Do(func() { t.readers.done(t.reader, false) }) }

// read parses the body into v.
func (s *Server) read(w http.ResponseWriter, r *http.Request, v any) error {
	reading := s.readers.add(w)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.config.MaxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		_, _ = io.CopyN(io.Discard, r.Body, discardLimit)
	}
	evicted := s.readers.done(reading, err == nil)
	switch {
	case tooLarge != nil:
		return &apiError{Status: http.StatusRequestEntityTooLarge, Code: "request_too_large", Message: fmt.Sprintf("the request has more than %d bytes, which is the limit", s.config.MaxBody)}
	case err != nil && evicted:
		return &apiError{Status: http.StatusRequestTimeout, Code: "too_slow", Message: "the body came too slowly while other clients were waiting"}
	case err != nil:
		return badRequest("", "the body cannot be read: %v", err)
	}
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
