package openai

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// mostHints bounds how often one call follows what an endpoint asks for: each of the parameters once.
const mostHints = 6

// Chat makes one attempt; refusals that name what the endpoint wants instead are followed within it. Errors are
// *llm.Error; a reply that was cut before it held an answer is an llm.ErrReasoning. A reply without token counts is
// counted as llm.UpperBound does: too expensive rather than free.
func (c *Client) Chat(ctx context.Context, req llm.Request) (llm.Response, error) {
	start := time.Now()
	resp, err := c.chat(ctx, req)
	resp.Usage.MS = float64(time.Since(start)) / float64(time.Millisecond)
	if err != nil {
		resp.Text, resp.Usage.Failed = "", resp.Usage.Calls
		return resp, fmt.Errorf("%s: %w%s", c.config.Model, err, advice(err))
	}
	return resp, nil
}

func (c *Client) chat(ctx context.Context, req llm.Request) (resp llm.Response, err error) {
	bytes := 0
	for _, m := range req.Messages {
		bytes += len(m.Content)
	}
	limit, ok := c.config.Settings.AtMost(req.ReplyLimit(), bytes)
	if !ok {
		return resp, &llm.Error{Kind: llm.ErrBadRequest, Unsent: true, Message: fmt.Sprintf(
			"a prompt of %d bytes does not fit into a context of %d tokens (--model-set context_tokens=N)", bytes, c.config.Settings.ContextTokens)}
	}
	for range mostHints {
		used := c.learned.now()
		if used.mostOut > 0 {
			limit = min(limit, used.mostOut)
		}
		var body []byte
		if body, err = c.chatBody(req, used, limit); err != nil {
			return resp, &llm.Error{Kind: llm.ErrBadRequest, Unsent: true, Err: err}
		}
		err = c.try(ctx, http.MethodPost, "chat/completions", body, func(x *exchange) error {
			resp.Usage.Calls = 1
			return c.readReply(x, req, &resp)
		})
		if err == nil || !c.hint(err, used, limit) {
			break
		}
	}
	if sent(err) {
		resp.Usage.Calls = 1
	}
	return resp, err
}

// sent says whether a call that ended with err left this process.
func sent(err error) bool {
	e, ok := asError(err)
	return !ok || !e.Unsent
}

// chatRequest is a chat in the API's form. The fields stand in a fixed order.
type chatRequest struct {
	Model           string          `json:"model"`
	Messages        []llm.Message   `json:"messages"`
	Temperature     *float64        `json:"temperature,omitempty"`
	MaxTokens       int             `json:"max_tokens,omitempty"`
	MaxCompletion   int             `json:"max_completion_tokens,omitempty"`
	Stop            []string        `json:"stop,omitempty"`
	Seed            *int64          `json:"seed,omitempty"`
	N               int             `json:"n,omitempty"`
	LogProbs        bool            `json:"logprobs,omitempty"`
	TopLogProbs     int             `json:"top_logprobs,omitempty"`
	ResponseFormat  *responseFormat `json:"response_format,omitempty"`
	ReasoningEffort string          `json:"reasoning_effort,omitempty"`
}

type responseFormat struct {
	Type string `json:"type"`
}

// chatBody is the request as sent.
func (c *Client) chatBody(req llm.Request, w wanted, limit int) ([]byte, error) {
	out := chatRequest{Model: c.config.Model, Messages: req.Messages, Stop: req.Stop, ReasoningEffort: c.config.Settings.ReasoningEffort}
	if out.Messages == nil {
		out.Messages = []llm.Message{}
	}
	if w.newName {
		out.MaxCompletion = limit
	} else {
		out.MaxTokens = limit
	}
	if !w.noTemperature {
		out.Temperature = &req.Temperature
	}
	if req.N > 1 {
		out.N = req.N
	}
	if req.LogProbs {
		out.LogProbs, out.TopLogProbs = true, 2
	}
	if req.JSON {
		out.ResponseFormat = &responseFormat{"json_object"}
	}
	if req.Seed != 0 || c.config.Exact && req.Temperature > 0 {
		out.Seed = &req.Seed
	}
	body, err := json.Marshal(out)
	if err != nil || len(c.config.Settings.Parameters)+len(w.dropped) == 0 {
		return body, err
	}
	return c.withParameters(body, w.dropped)
}

// withParameters adds the user's own parameters to a request and takes away those that are null or dropped.
func (c *Client) withParameters(body []byte, dropped map[string]bool) ([]byte, error) {
	fields := map[string]any{}
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, err
	}
	maps.Copy(fields, c.config.Settings.Parameters)
	for name, value := range fields {
		if value == nil || dropped[name] {
			delete(fields, name)
		}
	}
	return json.Marshal(fields)
}

// readReply takes a chat's reply. The usage is filled in for every reply that may have been paid for.
func (c *Client) readReply(x *exchange, req llm.Request, resp *llm.Response) error {
	reply, err := readChat(x.body)
	if err != nil {
		return c.unreadable(x, err)
	}
	resp.Usage.In, resp.Usage.Out = reply.usage.in, reply.usage.out
	if reply.said.words != "" {
		return c.errorInReply(x, reply)
	}
	if !reply.found { // some endpoints send an error under status 200
		return &answered{&llm.Error{Kind: llm.ErrUnavailable, Status: x.status, Final: true, Message: "an answer with no choices: " + c.snippet(x.body)}, x.status, x.body}
	}
	resp.Text = c.secret.cleanReply(reply.text)
	resp.Finish = reply.finish
	resp.LogProbs = reply.logProbs
	for _, other := range reply.others {
		other.Text = c.secret.cleanReply(other.Text)
		resp.Others = append(resp.Others, other)
	}
	if reply.usage.in == 0 && reply.usage.out == 0 && !c.config.Exact {
		resp.Usage.In, resp.Usage.Out = llm.UpperBound(req.Messages), min(len(reply.text)+len(reply.reasoning), req.ReplyLimit()*req.Replies())
	}
	if strings.TrimSpace(reply.text) != "" || c.config.Exact {
		return nil
	}
	return c.noText(x, reply)
}

// noText is the error for a reply with nothing in it.
func (c *Client) noText(x *exchange, reply chatReply) error {
	e := &llm.Error{Kind: llm.ErrEmpty, Status: x.status}
	switch {
	case reply.refusal != "":
		e.Kind, e.Final = llm.ErrBadRequest, true
		e.Message = "the model refused: " + c.snippet([]byte(reply.refusal))
	case reply.finish == "content_filter":
		e.Final = true
		e.Message = "held back by the endpoint's content filter"
	case reply.finish == "length":
		e.Kind, e.Final = llm.ErrReasoning, true
		e.Message = "the model used up the reply's limit before it wrote anything: allow more with --model-set reasoning_tokens=N, or ask for less reasoning with --model-set reasoning_effort=low"
	case reply.reasoning != "":
		e.Final = true
		e.Message = "the model replied with reasoning and no answer"
	case reply.tools:
		e.Final = true
		e.Message = "the model called a tool, though none was offered"
	}
	return e
}

// errorInReply is an error that came under a status of success. Only one that says nothing was done yet is retried: an
// error within a choice may come after tokens that are billed.
func (c *Client) errorInReply(x *exchange, reply chatReply) error {
	e := &llm.Error{Kind: llm.ErrUnavailable, Status: x.status, Final: true, Message: c.snippet([]byte(reply.said.words))}
	if status := reply.said.status(); status >= 400 {
		e.Kind, e.Status = llm.KindOfStatus(status), status
	}
	switch {
	case reply.said.quota():
		e.Kind = llm.ErrQuota
	case !reply.inChoice && reply.said.busy():
		e.Final = false
	}
	return &answered{e, x.status, x.body}
}

// unreadable is the error for a body that is no reply. One that ends too early may come whole the next time.
func (c *Client) unreadable(x *exchange, err error) error {
	if cutShort(err) {
		return &llm.Error{Kind: llm.ErrUnavailable, Status: x.status, Message: "the body is no reply: " + c.snippet(x.body), Err: errCut}
	}
	return &llm.Error{Kind: llm.ErrUnavailable, Status: x.status, Final: true,
		Message: "the body is no reply: " + c.secret.clean(err.Error()) + ": " + c.snippet(x.body)}
}

// Models lists the models that the endpoints say they serve, as the first that answers tells it. The error is an *llm.Error, as
// of Chat.
func (c *Client) Models(ctx context.Context) ([]string, error) {
	var names []string
	_, _, err := llm.Do(ctx, c.config.Retry, func(ctx context.Context) (struct{}, llm.Usage, error) {
		return struct{}{}, llm.Usage{}, c.try(ctx, http.MethodGet, "models", nil, func(x *exchange) (err error) {
			if names, err = readModels(x.body); err != nil {
				return c.unreadable(x, err)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list models of %s: %w", c.routes[0].base.Host, err)
	}
	return names, nil
}
