package llmtest

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Client is a model made of a function, for tests that need no HTTP. It counts words as tokens.
type Client struct {
	// Name is Model and ID; "" means "test-model".
	Name string
	// Reply is the text for a chat, or an error; nil answers "ok".
	Reply func(ctx context.Context, req llm.Request) (string, error)

	calls atomic.Int64
}

// Model returns Name.
func (c *Client) Model() string {
	if c.Name == "" {
		return "test-model"
	}
	return c.Name
}

// ID returns the model's name.
func (c *Client) ID() string { return c.Model() }

// Calls is the number of chats so far.
func (c *Client) Calls() int { return int(c.calls.Load()) }

// Chat answers by Reply.
func (c *Client) Chat(ctx context.Context, req llm.Request) (llm.Response, error) {
	c.calls.Add(1)
	if err := ctx.Err(); err != nil {
		return llm.Response{}, err
	}
	u := llm.Usage{Calls: 1, In: words(req.Messages)}
	if c.Reply == nil {
		u.Out = 1
		return llm.Response{Text: "ok", Finish: "stop", Usage: u}, nil
	}
	text, err := c.Reply(ctx, req)
	if err != nil {
		return llm.Response{Usage: llm.Usage{Calls: 1, Failed: 1}}, err
	}
	u.Out = len(strings.Fields(text))
	return llm.Response{Text: text, Finish: "stop", Usage: u}, nil
}

// CountTokens counts the words of a prompt.
func (c *Client) CountTokens(messages []llm.Message) (int, error) { return words(messages), nil }

func words(messages []llm.Message) int {
	n := 0
	for _, m := range messages {
		n += len(strings.Fields(m.Content))
	}
	return n
}

// Scorer is a Client that also rates continuations.
type Scorer struct {
	Client
	// Rate is the score of one continuation; nil gives every one log-probability -1 over one token.
	Rate func(req llm.ScoreRequest) llm.Score

	scored atomic.Int64
}

// Scored is the number of continuations rated so far.
func (s *Scorer) Scored() int { return int(s.scored.Load()) }

// Score rates each request by Rate.
func (s *Scorer) Score(ctx context.Context, reqs []llm.ScoreRequest) ([]llm.Score, llm.Usage, error) {
	if err := ctx.Err(); err != nil {
		return nil, llm.Usage{}, err
	}
	s.scored.Add(int64(len(reqs)))
	out := make([]llm.Score, len(reqs))
	u := llm.Usage{Calls: len(reqs)}
	for i, r := range reqs {
		out[i] = llm.Score{LogProb: -1, Tokens: 1}
		if s.Rate != nil {
			out[i] = s.Rate(r)
		}
		u.In += words(r.Messages) + len(strings.Fields(r.Continuation))
	}
	return out, u, nil
}
