package mlflow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/budgetmem/budgetmem/experiments/track"
)

// The codes of MLflow's errors that are handled.
const (
	notThere     = "RESOURCE_DOES_NOT_EXIST"
	alreadyThere = "RESOURCE_ALREADY_EXISTS"
)

// apiError is the server's refusal of a request.
type apiError struct {
	status int
	Code   string `json:"error_code"`
	Text   string `json:"message"`
}

func (e *apiError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("status %d %s %s", e.status, e.Code, e.Text))
}

// hasCode reports whether err is the server's and has the code.
func hasCode(err error, code string) bool {
	var e *apiError
	return errors.As(err, &e) && e.Code == code
}

// maxReply bounds a reply, in bytes. A run with its latest metrics takes far less.
const maxReply = 16 << 20

// get and post call an endpoint of the REST API; out may be nil.
func (s *Sink) get(ctx context.Context, endpoint string, query url.Values, out any) error {
	return s.call(ctx, http.MethodGet, "/api/2.0/mlflow/"+endpoint+"?"+query.Encode(), "", nil, out)
}

func (s *Sink) post(ctx context.Context, endpoint string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return track.Permanent{Err: fmt.Errorf("%s: %w", endpoint, err)}
	}
	return s.call(ctx, http.MethodPost, "/api/2.0/mlflow/"+endpoint, "application/json", body, out)
}

// call makes a request. Errors are track.Permanent unless the same request may succeed later.
func (s *Sink) call(ctx context.Context, method, path, kind string, body []byte, out any) error {
	what, _, _ := strings.Cut(strings.TrimPrefix(path, "/api/2.0/"), "?")
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return track.Permanent{Err: fmt.Errorf("%s: %w", what, err)}
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	switch {
	case s.token != "":
		req.Header.Set("Authorization", "Bearer "+s.token)
	case s.username != "":
		req.SetBasicAuth(s.username, s.password)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return fmt.Errorf("%s: read the reply: %w", what, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %w", what, s.refusal(resp.StatusCode, data))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return track.Permanent{Err: fmt.Errorf("%s: the reply is not MLflow's: %w", what, err)}
	}
	return nil
}

// refusal returns a reply as an error.
func (s *Sink) refusal(status int, body []byte) error {
	e := &apiError{status: status}
	if json.Unmarshal(body, e) != nil || e.Code == "" {
		const enough = 200
		e.Text = strings.ToValidUTF8(string(body[:min(len(body), enough)]), "")
	}
	for _, secret := range []string{s.token, s.password} {
		if secret != "" {
			e.Text = strings.ReplaceAll(e.Text, secret, "[secret]") // some proxies echo what they turn away
		}
	}
	if status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
		return e
	}
	return track.Permanent{Err: e}
}
