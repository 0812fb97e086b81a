package memory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// DefaultMaxBody is the largest body of a request in bytes, unless Handler is given another.
const DefaultMaxBody = 4 << 20

// rest serves a Service over HTTP.
type rest struct {
	*Service
	scope   func(*http.Request) Scope
	maxBody int64
	log     *slog.Logger
}

// Handler serves the REST interface that its /v1/openapi.json describes. scope says what a request may reach, nil everything; who
// may send requests at all is the caller's to check. A maxBody of 0 is DefaultMaxBody.
func Handler(s *Service, scope func(*http.Request) Scope, maxBody int64, log *slog.Logger) http.Handler {
	if scope == nil {
		scope = func(*http.Request) Scope { return Scope{} }
	}
	if maxBody == 0 {
		maxBody = DefaultMaxBody
	}
	h := &rest{s, scope, maxBody, log}
	description, err := json.MarshalIndent(openAPI(), "", " ")
	if err != nil {
		panic(err) // it is made of maps and strings
	}
	mux := http.NewServeMux()
	allowed := map[string][]string{} // by path
	for _, o := range operations {
		mux.HandleFunc(o.method+" "+o.path, func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, o) })
		allowed[o.path] = append(allowed[o.path], o.method)
	}
	mux.HandleFunc("GET "+DescriptionPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(description) // it fails only if the client is gone
	})
	allowed[DescriptionPath] = []string{http.MethodGet}
	for path, methods := range allowed {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			h.fail(w, r, &Error{http.StatusMethodNotAllowed, r.Method + " is not how this is asked"})
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, r, &Error{http.StatusNotFound, "nothing is here"})
	})
	return mux
}

// answer serves one request.
func (h *rest) answer(w http.ResponseWriter, r *http.Request, o operation) {
	out, err := o.call(h, r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.write(w, http.StatusOK, out)
}

func (h *rest) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := AsError(err)
	if e.Status >= http.StatusInternalServerError {
		h.log.Error("a request failed", "method", r.Method, "path", r.Pattern, "why", err)
	}
	h.write(w, e.Status, ErrorBody{ErrorDetail{e.Message, e.Status}})
}

func (h *rest) write(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":{"message":"the answer cannot be written as JSON","status":500}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(b) // it fails only if the client is gone
}

// ErrorBody is what a refused request gets.
type ErrorBody struct {
	Error ErrorDetail `json:"error"`
}

// ErrorDetail says what is wrong.
type ErrorDetail struct {
	Message string `json:"message"`
	Status  int    `json:"status"`
}

// body decodes the body of a request. A field that is unknown is refused, as it is most often misspelt.
func (h *rest) body(r *http.Request, v any) error {
	data, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, h.maxBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return &Error{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", large.Limit)}
	} else if err != nil {
		return bad("the body cannot be read: %v", err)
	}
	if !utf8.Valid(data) {
		return bad("the body is not UTF-8")
	}
	if start := bytes.TrimLeft(data, " \t\r\n"); len(start) == 0 || start[0] != '{' {
		return bad("the body: want a JSON object")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return bad("the body: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return bad("the body: something follows the JSON object")
	}
	return nil
}

// pathMemory is the memory in the path. In a body or query it is not named again.
func (h *rest) pathMemory(r *http.Request, named string) (string, error) {
	name := r.PathValue("memory")
	if named != "" && named != name {
		return "", bad("memory: the path names %q, the body %q", name, named)
	}
	return name, nil
}

// queried refuses parameters that are unknown or given twice, and returns those of r.
func queried(r *http.Request, known ...string) (map[string]string, error) {
	out := map[string]string{}
	for name, values := range r.URL.Query() {
		found := false
		for _, k := range known {
			found = found || k == name
		}
		if !found || len(values) != 1 {
			return nil, bad("parameter %.40q: want each of %s at most once", name, strings.Join(known, ", "))
		}
		out[name] = values[0]
	}
	return out, nil
}

func restList(h *rest, r *http.Request) (any, error) { return h.List(r.Context(), h.scope(r)) }

func restDescribe(h *rest, r *http.Request) (any, error) {
	return h.Describe(r.Context(), h.scope(r), r.PathValue("memory"))
}

func restPage(h *rest, r *http.Request) (any, error) {
	q, err := queried(r, "session", "speaker", "cursor", "limit")
	if err != nil {
		return nil, err
	}
	get := GetRequest{Memory: r.PathValue("memory"), Session: q["session"], Speaker: q["speaker"], Cursor: q["cursor"]}
	if text, ok := q["limit"]; ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, bad("limit: want 1 to %d", MaxTurns)
		}
		get.Limit = Count(n)
	}
	return h.Get(r.Context(), h.scope(r), get)
}

func restTurn(h *rest, r *http.Request) (any, error) {
	return h.Turn(r.Context(), h.scope(r), r.PathValue("memory"), r.PathValue("turn"))
}

func restAdd(h *rest, r *http.Request) (any, error) {
	return posted(h, r, func(in *AddRequest) *string { return &in.Memory }, h.Add)
}

func restSearch(h *rest, r *http.Request) (any, error) {
	return posted(h, r, func(in *SearchRequest) *string { return &in.Memory }, h.Search)
}

func restAsk(h *rest, r *http.Request) (any, error) {
	return posted(h, r, func(in *AskRequest) *string { return &in.Memory }, h.Ask)
}

// posted decodes a request whose memory stands in the path, and calls the service.
func posted[In, Out any](h *rest, r *http.Request, memory func(*In) *string, call func(context.Context, Scope, In) (Out, error)) (any, error) {
	var in In
	if err := h.body(r, &in); err != nil {
		return nil, err
	}
	name, err := h.pathMemory(r, *memory(&in))
	if err != nil {
		return nil, err
	}
	*memory(&in) = name
	return call(r.Context(), h.scope(r), in)
}

// EditRequest replaces what a turn says.
type EditRequest struct {
	Text    string `json:"text" jsonschema:"what was said, in place of the old text"`
	Speaker string `json:"speaker,omitempty" jsonschema:"who said it; as before if left out"`
	Time    string `json:"time,omitempty" jsonschema:"when it was said; as before if left out"`
}

func restEdit(h *rest, r *http.Request) (any, error) {
	var in EditRequest
	if err := h.body(r, &in); err != nil {
		return nil, err
	}
	return h.Edit(r.Context(), h.scope(r), r.PathValue("memory"), r.PathValue("turn"), in)
}

// Edit replaces what a turn says. The old text is forgotten.
func (s *Service) Edit(ctx context.Context, scope Scope, memory, id string, r EditRequest) (Turn, error) {
	name, err := scope.name(memory)
	if err != nil {
		return Turn{}, err
	}
	old, err := s.mem.Turn(ctx, name, id)
	if err != nil {
		return Turn{}, err
	}
	t := chunk.Turn{ID: id, Session: old.Session, Time: old.Time, Speaker: old.Speaker, Text: r.Text}
	if r.Speaker != "" {
		t.Speaker = r.Speaker
	}
	if r.Time != "" {
		t.Time = r.Time
	}
	if err := s.mem.Edit(ctx, name, t); errors.Is(err, bmem.ErrNoTurns) {
		return Turn{}, bad("text: missing or empty; to remove the turn, delete it")
	} else if err != nil {
		return Turn{}, err
	}
	return s.Turn(ctx, scope, memory, id)
}

func restForget(h *rest, r *http.Request) (any, error) {
	return h.Delete(r.Context(), h.scope(r), DeleteRequest{Memory: r.PathValue("memory"), Turn: r.PathValue("turn"), Session: r.PathValue("session"),
		Speaker: r.PathValue("speaker")})
}
