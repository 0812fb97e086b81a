package openai

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// maxBody bounds what is read of an answer, in bytes.
const maxBody = 64 << 20

// exchange is what go-openai does not hand on of one HTTP exchange. It travels in the request's context.
type exchange struct {
	zeroTemperature bool // to the transport: send "temperature": 0

	sent       bool // from the transport, as are the rest
	status     int
	retryAfter time.Duration
	body       []byte
}

type exchangeKey struct{}

// transport sends requests for go-openai and fills in the exchange.
type transport struct{ http *http.Client }

func (t *transport) Do(req *http.Request) (*http.Response, error) {
	x, _ := req.Context().Value(exchangeKey{}).(*exchange)
	if x == nil {
		x = &exchange{}
	}
	if x.zeroTemperature {
		if err := addZeroTemperature(req); err != nil {
			return nil, err
		}
	}
	x.sent = true
	resp, err := t.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	x.status = resp.StatusCode
	if wait, ok := llm.ParseRetryAfter(resp.Header.Get("Retry-After"), time.Now()); ok {
		x.retryAfter = max(wait, time.Millisecond) // 0 would say that the endpoint did not say
	}
	x.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(x.body))
	return resp, nil
}

// addZeroTemperature writes the temperature into a body that go-openai made. It leaves out a temperature of 0, which endpoints
// then take for their default, mostly 1; the smallest number above 0, which it advises instead, some servers divide by.
func addZeroTemperature(req *http.Request) error {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return err
	}
	req.Body.Close()
	if rest, ok := bytes.CutPrefix(body, []byte("{")); ok {
		body = append([]byte(`{"temperature":0,`), rest...)
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.ContentLength = int64(len(body))
	return nil
}

// try makes one call on the next route that may be used, within the timeout, and turns what goes wrong into an llm.Error.
func (c *Client) try(ctx context.Context, x *exchange, call func(context.Context, route) error) error {
	return c.turns.do(ctx, func(i int) error {
		*x = exchange{zeroTemperature: x.zeroTemperature}
		tctx, cancel := context.WithTimeout(context.WithValue(ctx, exchangeKey{}, x), c.config.Timeout)
		defer cancel()
		err := call(tctx, c.routes[i])
		if err == nil {
			return nil
		}
		return c.failure(ctx, x, err)
	})
}

// failure describes a failed exchange. The errors of go-openai and net/http are not wrapped, because they hold what the
// endpoint sent, which may be a key.
func (c *Client) failure(ctx context.Context, x *exchange, err error) error {
	var own *llm.Error
	if errors.As(err, &own) {
		return err
	}
	e := &llm.Error{Kind: llm.ErrUnavailable, Status: x.status, RetryAfter: x.retryAfter}
	switch {
	case ctx.Err() != nil: // the caller's doing, not the endpoint's
		e.Err = context.Cause(ctx)
	case !x.sent: // go-openai refuses some settings for some models
		e.Kind, e.Unsent = llm.ErrBadRequest, true
		e.Message = err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		e.Message = "no reply within " + c.config.Timeout.String()
	case x.status >= 300:
		e.Kind = llm.KindOfStatus(x.status)
		e.Message = c.snippet(x.body)
		if e.Kind == llm.ErrRateLimited && bytes.Contains(x.body, []byte("insufficient_quota")) {
			e.Kind = llm.ErrQuota
		}
	case x.status == 0 || x.body == nil:
		e.Message = c.secret.clean(err.Error())
	default:
		e.Message = "the body is no reply: " + c.secret.clean(err.Error()) + ": " + c.snippet(x.body)
	}
	return e
}

// snippet is the beginning of what an endpoint sent, on one line, without keys.
func (c *Client) snippet(body []byte) string {
	const most = 300
	text := c.secret.clean(strings.Join(strings.Fields(string(body)), " "))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
