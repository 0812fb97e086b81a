package memory

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

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

// Handler serves the REST interface that its /v1/openapi.json describes. scope says what a request may reach; nil means
// ScopeOfRequest. Who may send requests at all is the caller's to check. A maxBody of 0 is DefaultMaxBody.
func Handler(s *Service, scope func(*http.Request) Scope, maxBody int64, log *slog.Logger) http.Handler {
	if scope == nil {
		scope = ScopeOfRequest
	}
	if maxBody == 0 {
		maxBody = DefaultMaxBody
	}
	h := &rest{s, scope, maxBody, log}
	budgets := s.Budgets()
	description, err := json.MarshalIndent(openAPI(budgets), "", " ")
	if err != nil {
		panic(err) // it is made of maps and strings
	}
	mux := http.NewServeMux()
	allowed := map[string][]string{} // by path
	for _, o := range operations {
		in := o.in.resolved(budgets)
		mux.HandleFunc(o.method+" "+o.path, func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, o, in) })
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
			h.fail(w, r, &Error{Status: http.StatusMethodNotAllowed, Message: r.Method + " is not how this is asked"})
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, r, &Error{Status: http.StatusNotFound, Message: "nothing is here"})
	})
	return PlainPaths(mux)
}

// PlainPaths refuses paths with empty elements, or with the names . and .. for an element. A ServeMux redirects these to the path that is left
// without them, which is another memory's or turn's, and clients follow, even to delete it.
func PlainPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if clean := path.Clean(r.URL.Path); r.Method != http.MethodConnect && clean != strings.TrimSuffix(r.URL.Path, "/") && clean != r.URL.Path {
			WriteError(w, bad("the path has an empty element, . or .. in it; a turn or session of such a name is reached by MCP or bmem memory"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// answer serves one request. The schema of its body is in; nil for none.
func (h *rest) answer(w http.ResponseWriter, r *http.Request, o operation, in *jsonschema.Resolved) {
	var out any
	checked, err := h.ask(r, o, in)
	if err == nil {
		out, err = o.call(h, checked)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	write(w, http.StatusOK, out)
}

func (h *rest) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := AsError(err)
	if level := slog.LevelError; e.Status >= http.StatusInternalServerError {
		if r.Context().Err() != nil { // the client is gone
			level = slog.LevelDebug
		}
		h.log.Log(r.Context(), level, "a request failed", "method", r.Method, "path", r.Pattern, "why", err)
	}
	WriteError(w, e)
}

// WriteError answers with an error of the Service.
func WriteError(w http.ResponseWriter, err error) {
	e := AsError(err)
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.RetryAfter))
	}
	write(w, e.Status, ErrorBody{ErrorDetail{e.Message, e.Status, e.Budget}})
}

func write(w http.ResponseWriter, status int, v any) {
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
	Message string  `json:"message"`
	Status  int     `json:"status"`
	Budget  *Budget `json:"budget,omitempty" jsonschema:"what may still be spent, where that is the reason"`
}

func restSpending(h *rest, r *asked) (any, error) {
	return h.Spending(r.Context(), h.scope(r.Request))
}

func restList(h *rest, r *asked) (any, error) { return h.List(r.Context(), h.scope(r.Request)) }

func restDescribe(h *rest, r *asked) (any, error) {
	return h.Describe(r.Context(), h.scope(r.Request), r.PathValue("memory"))
}

func restPage(h *rest, r *asked) (any, error) {
	limit, _ := strconv.Atoi(r.query["limit"]) // its form was checked; 0 if left out
	return h.Get(r.Context(), h.scope(r.Request), GetRequest{Memory: r.PathValue("memory"), Session: r.query["session"], Speaker: r.query["speaker"],
		Cursor: r.query["cursor"], Limit: Count(limit)})
}

func restTurn(h *rest, r *asked) (any, error) {
	return h.Turn(r.Context(), h.scope(r.Request), r.PathValue("memory"), r.PathValue("turn"))
}

func restAdd(h *rest, r *asked) (any, error) {
	return posted(h, r, func(in *AddRequest) *string { return &in.Memory }, h.Add)
}

func restSearch(h *rest, r *asked) (any, error) {
	return posted(h, r, func(in *SearchRequest) *string { return &in.Memory }, h.Search)
}

func restAsk(h *rest, r *asked) (any, error) {
	return posted(h, r, func(in *AskRequest) *string { return &in.Memory }, h.Ask)
}

// posted decodes a request whose memory stands in the path, and calls the service.
func posted[In, Out any](h *rest, r *asked, memory func(*In) *string, call func(context.Context, Scope, In) (Out, error)) (any, error) {
	var in In
	if err := json.Unmarshal(r.body, &in); err != nil {
		return nil, bad("the body: %v", err)
	}
	*memory(&in) = r.PathValue("memory")
	return call(r.Context(), h.scope(r.Request), in)
}

// EditRequest replaces what a turn says.
type EditRequest struct {
	Text    string `json:"text" jsonschema:"what was said, in place of the old text"`
	Speaker string `json:"speaker,omitempty" jsonschema:"who said it; as before if left out"`
	Time    string `json:"time,omitempty" jsonschema:"when it was said; as before if left out"`
}

func restEdit(h *rest, r *asked) (any, error) {
	var in EditRequest
	if err := json.Unmarshal(r.body, &in); err != nil {
		return nil, bad("the body: %v", err)
	}
	return h.Edit(r.Context(), h.scope(r.Request), r.PathValue("memory"), r.PathValue("turn"), in)
}

// Edit replaces what a turn says. The old text is forgotten.
func (s *Service) Edit(ctx context.Context, scope Scope, memory, id string, r EditRequest) (_ Turn, err error) {
	name, err := scope.name(memory)
	if err != nil {
		return Turn{}, err
	}
	e := about(scope, editing, name)
	defer func() { s.options.Activity.ended(e, err) }()
	ctx = context.WithoutCancel(ctx) // the old text is gone for good, also if the caller goes
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
	leave, err := enter(ctx)
	if err != nil {
		return Turn{}, err
	}
	defer leave()
	if err := s.mem.Edit(ctx, name, t); errors.Is(err, bmem.ErrNoTurns) {
		return Turn{}, bad("text: missing or empty; to remove the turn, delete it")
	} else if err != nil {
		return Turn{}, err
	}
	return s.Turn(ctx, scope, memory, id)
}

func restForget(h *rest, r *asked) (any, error) {
	in := DeleteRequest{Memory: r.PathValue("memory"), Turn: r.PathValue("turn"), Session: r.PathValue("session"), Speaker: r.PathValue("speaker")}
	in.All = in.Turn == "" && in.Session == "" && in.Speaker == ""
	return h.Delete(r.Context(), h.scope(r.Request), in)
}
