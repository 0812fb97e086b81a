package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
)

// apiError is an error answer in the form of OpenAI's API.
type apiError struct {
	Status  int
	Message string
	Param   string // the field of the request that is wrong, "" for none
	Code    string // a short name for programs, "" for none
	// RetryAfter is in seconds; 0 for none.
	RetryAfter int
}

func (e *apiError) Error() string { return e.Message }

// badRequest refuses a field of a request.
func badRequest(param, format string, args ...any) error {
	return &apiError{Status: http.StatusBadRequest, Param: param, Message: fmt.Sprintf(format, args...)}
}

// asAPIError maps an error to an HTTP status and message.
func asAPIError(err error) *apiError {
	var api *apiError
	var tooLong *local.ContextError
	var refused *memory.Error
	switch {
	case errors.As(err, &api):
		return api
	case errors.As(err, &refused):
		return &apiError{Status: refused.Status, Code: "budget", Message: refused.Message, RetryAfter: refused.RetryAfter}
	case errors.As(err, &tooLong):
		return &apiError{Status: http.StatusBadRequest, Param: "messages", Code: "context_length_exceeded",
			Message: fmt.Sprintf("the messages take %d tokens, and with the reply there is room for %d", tooLong.Prompt, tooLong.Context)}
	case errors.Is(err, context.Canceled):
		return &apiError{Status: statusGone, Message: "the client went away"}
	case errors.Is(err, local.ErrClosed):
		return &apiError{Status: http.StatusServiceUnavailable, Message: "the server is stopping"}
	}
	return &apiError{Status: http.StatusInternalServerError, Message: err.Error()}
}

// statusOf is the status of the answer to a request that ended with err.
func statusOf(err error) int {
	if err == nil {
		return http.StatusOK
	}
	return asAPIError(err).Status
}

// statusGone is what the log shows for a request whose client went away before the answer.
const statusGone = 499

// body is the JSON of the error.
func (e *apiError) body() any {
	kind := "invalid_request_error"
	switch {
	case e.Status == http.StatusTooManyRequests:
		kind = "rate_limit_error"
	case e.Status >= 500:
		kind = "server_error"
	}
	orNull := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	return map[string]any{"error": map[string]any{"message": e.Message, "type": kind, "param": orNull(e.Param), "code": orNull(e.Code)}}
}

// fail answers with err.
func (s *Server) fail(w http.ResponseWriter, err error) {
	e := asAPIError(err)
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.RetryAfter))
	}
	s.answer(w, e.Status, e.body())
}

// answer writes v as JSON. It fails only if the client is gone, so write errors are dropped.
func (s *Server) answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":{"message":"the answer cannot be written as JSON","type":"server_error","param":null,"code":null}}`)
		s.config.Log.Error("write an answer", "error", err)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeLimit)) // the ResponseRecorder of a test has none
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}
