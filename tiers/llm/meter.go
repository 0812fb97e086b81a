package llm

import (
	"context"
	"fmt"
	"math"
	"sync"
)

// Bound is the most that a call can consume.
type Bound struct {
	In      int     // prompt tokens: counted if the client is a TokenCounter, else at most this many
	Out     int     // reply tokens
	Dollars float64 // at the model's price; for both attempts where a call may be hedged
}

// Bounder is a capability of the clients that Stack makes: the most that a call can cost, without making it.
type Bounder interface {
	// Bound is the most that one chat can cost.
	Bound(req Request) Bound
	// ScoreBound is the most that one batch of scores can cost.
	ScoreBound(reqs []ScoreRequest) Bound
}

// Tokens that a chat template may add: the marks around each message, and a system prompt of its own.
const (
	tokensPerMessage  = 16
	tokensPerTemplate = 256
)

// longestToken is more bytes than one token of a common vocabulary stands for. The longest are runs of 128 blanks in
// OpenAI's cl100k.
const longestToken = 256

// UpperBound is a number of tokens that no model's prompt made of the messages exceeds: as many as the messages have
// bytes, which tokenizers that fall back on bytes cannot exceed, plus an allowance for the chat template. It is about
// four times too high for English text, but never too low.
func UpperBound(messages []Message) int {
	n := tokensPerTemplate
	for _, m := range messages {
		n += len(m.Content) + tokensPerMessage
	}
	return n
}

// meter knows what calls to one model cost.
type meter struct {
	model   string
	counter TokenCounter // nil where prompts cannot be counted exactly
	rates   Price
	further int         // tokens that Settings.Parameters may add to a prompt
	hedged  bool        // a chat may be two attempts at one time
	warn    func(Usage) // reports impossible token counts, once
}

func newMeter(model string, c Client, p Price, s Settings, warn func(string)) meter {
	m := meter{model: model, rates: p, further: parameterTokens(s.Parameters), warn: func(Usage) {}}
	m.counter, _ = AsTokenCounter(c)
	if warn != nil {
		var once sync.Once
		m.warn = func(u Usage) {
			once.Do(func() {
				warn(fmt.Sprintf("%s: the endpoint reports %d prompt and %d reply tokens, which cannot be; such calls are counted by their bounds", model, u.In, u.Out))
			})
		}
	}
	return m
}

// bound is the most that a call can consume. Scores are prompts with their continuations, all read and nothing written;
// as an implementation may bill a continuation as written, the higher of the two prices is taken.
func (m meter) bound(call Call) Bound {
	var b Bound
	switch {
	case call.Chat != nil:
		b.In, b.Out = m.further+m.prompt(call.Chat.Messages), call.Chat.ReplyLimit()*call.Chat.Replies()
		b.Dollars = m.rates.Dollars(b.In, b.Out)
	case call.Embed != nil:
		b.In = m.further
		for _, text := range call.Embed {
			b.In += len(text) + tokensPerMessage
		}
		b.Dollars = m.rates.Dollars(b.In, 0)
	default:
		for _, r := range call.Score {
			b.In += m.further + m.prompt(r.Messages) + len(r.Continuation) + tokensPerMessage
		}
		b.Dollars = max(m.rates.Dollars(b.In, 0), m.rates.Dollars(0, b.In))
	}
	return b
}

// attempts is how many attempts of a call there may be at one time.
func (m meter) attempts(call Call) int {
	if m.hedged && call.Chat != nil {
		return 2
	}
	return 1
}

func (m meter) prompt(messages []Message) int {
	if m.counter != nil {
		if n, err := m.counter.CountTokens(messages); err == nil {
			return n
		}
	}
	return UpperBound(messages)
}

// price is the innermost layer: it gives every attempt its dollars.
func (m meter) price(next Handler) Handler {
	return func(ctx context.Context, call Call) (Reply, error) {
		reply, err := next(ctx, call)
		u := &reply.Usage
		if m.counter == nil {
			if in, out := m.plausible(call, reply); in != u.In || out != u.Out {
				m.warn(*u)
				u.In, u.Out, u.Corrected = in, out, 1
			}
		}
		u.Dollars = m.rates.Dollars(u.In, u.Out)
		if u.Cached == 0 {
			u.Paid = u.Dollars
		}
		return reply, err
	}
}

// plausible returns the token counts of a reply, brought between what can be counted here and the call's bound. A count of
// 0 for a text, or below, is none, and becomes the bound. Failed calls may have cost nothing.
func (m meter) plausible(call Call, reply Reply) (in, out int) {
	u := reply.Usage
	if u.In == 0 && u.Out == 0 {
		return 0, 0
	}
	bound := m.bound(call)
	bytes := 0
	switch {
	case call.Chat != nil:
		for _, msg := range call.Chat.Messages {
			bytes += len(msg.Content)
		}
	case call.Embed != nil:
		for _, text := range call.Embed {
			bytes += len(text)
		}
	default:
		bytes, bound.Out = 1, bound.In
	}
	return between(u.In, bytes, bound.In), between(u.Out, len(reply.Text), bound.Out)
}

// between brings the count of a text's tokens between the fewest that its bytes can make and the most.
func between(n, bytes, most int) int {
	if n < 0 || n == 0 && bytes > 0 {
		return most
	}
	return min(max(n, bytes/longestToken), most)
}

// addCounts adds two counts, which may come from an endpoint, without wrapping.
func addCounts(a, b int) int {
	if s := a + b; (s > a) == (b > 0) || b == 0 {
		return s
	}
	if b > 0 {
		return math.MaxInt
	}
	return math.MinInt
}
