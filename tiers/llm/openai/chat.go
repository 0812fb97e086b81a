package openai

import (
	"context"
	"fmt"
	"strings"
	"time"

	goopenai "github.com/sashabaranov/go-openai"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Chat makes one attempt. Errors are *llm.Error. A reply that an endpoint sends without token counts is counted as
// llm.UpperBound does: too dear rather than free.
func (c *Client) Chat(ctx context.Context, req llm.Request) (llm.Response, error) {
	start := time.Now()
	x := &exchange{zeroTemperature: req.Temperature == 0 && !c.config.NoTemperature}
	var reply goopenai.ChatCompletionResponse
	sent := false
	err := c.try(ctx, x, func(ctx context.Context, r route) (err error) {
		sent = true
		if reply, err = r.api.CreateChatCompletion(ctx, c.chatRequest(req, r)); err != nil {
			return err
		}
		return c.check(x, reply)
	})
	resp := llm.Response{Usage: llm.Usage{MS: float64(time.Since(start)) / float64(time.Millisecond)}}
	if sent {
		resp.Usage.Calls = 1
	}
	resp.Usage.In, resp.Usage.Out = reply.Usage.PromptTokens, reply.Usage.CompletionTokens
	if err != nil {
		resp.Usage.Failed = resp.Usage.Calls
		return resp, fmt.Errorf("%s: %w", c.id, err)
	}
	choice := reply.Choices[0]
	resp.Text = c.secret.cleanReply(choice.Message.Content)
	resp.Finish = string(choice.FinishReason)
	if resp.Usage.In+resp.Usage.Out == 0 {
		resp.Usage.In, resp.Usage.Out = llm.UpperBound(req.Messages), min(len(choice.Message.Content), req.ReplyLimit())
	}
	return resp, nil
}

// chatRequest is req in the endpoint's form.
func (c *Client) chatRequest(req llm.Request, r route) goopenai.ChatCompletionRequest {
	out := goopenai.ChatCompletionRequest{Model: c.config.Model, Stop: req.Stop}
	for _, m := range req.Messages {
		out.Messages = append(out.Messages, goopenai.ChatCompletionMessage{Role: string(m.Role), Content: m.Content})
	}
	if r.modern {
		out.MaxCompletionTokens = req.ReplyLimit()
	} else {
		out.MaxTokens = req.ReplyLimit()
	}
	if !c.config.NoTemperature {
		out.Temperature = float32(req.Temperature)
	}
	if req.JSON {
		out.ResponseFormat = &goopenai.ChatCompletionResponseFormat{Type: goopenai.ChatCompletionResponseFormatTypeJSONObject}
	}
	if req.Seed != 0 || c.config.Exact && req.Temperature > 0 {
		seed := int(req.Seed)
		out.Seed = &seed
	}
	return out
}

// check refuses an answer that parses but holds no reply.
func (c *Client) check(x *exchange, reply goopenai.ChatCompletionResponse) error {
	if len(reply.Choices) == 0 { // some endpoints send an error under status 200
		return &llm.Error{Kind: llm.ErrUnavailable, Status: x.status, Message: "an answer with no choices: " + c.snippet(x.body)}
	}
	choice := reply.Choices[0]
	if strings.TrimSpace(choice.Message.Content) != "" || c.config.Exact {
		return nil
	}
	e := &llm.Error{Kind: llm.ErrEmpty, Status: x.status}
	switch choice.FinishReason {
	case goopenai.FinishReasonLength:
		e.Final = true
		e.Message = "the model used up the reply's limit before it wrote anything: allow more tokens"
	case goopenai.FinishReasonContentFilter:
		e.Final = true
		e.Message = "held back by the endpoint's content filter"
	}
	return e
}

// Models lists the models that the endpoints say they serve, as the first that answers tells it.
func (c *Client) Models(ctx context.Context) ([]string, error) {
	var list goopenai.ModelsList
	_, _, err := llm.Do(ctx, c.config.Retry, func(ctx context.Context) (struct{}, llm.Usage, error) {
		return struct{}{}, llm.Usage{}, c.try(ctx, &exchange{}, func(ctx context.Context, r route) (err error) {
			list, err = r.api.ListModels(ctx)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list models of %s: %w", c.config.Family, err)
	}
	names := make([]string, len(list.Models))
	for i, m := range list.Models {
		names[i] = m.ID
	}
	return names, nil
}
