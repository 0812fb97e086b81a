// Package llm is how tiers and answers reach a language model: one Client interface, and around it prices, a response
// cache, retries, spend limits and the removal of reasoning.
//
// # Clients
//
// Package local runs a model in this process, package openai asks an endpoint, package llmtest plays one in tests.
// Stack puts the layers around any of them; each layer is a Middleware, and StackOptions.Around adds more.
//
// # Money
//
// Prices are dollars per million tokens. A Ledger limits what a program spends, over several runs if it has a file; a Cap
// limits what the calls of one context spend. Both reserve the most that a call can cost (Bound) before it is made. Token
// counts that an endpoint cannot have meant are replaced by bounds and counted in Usage.Corrected.
//
// # Errors
//
// Calls fail with an *Error, which matches one of the Err values, or with a BudgetError. Retryable says whether the same
// call may succeed later.
package llm

import "context"

// Role names who speaks in a Message.
type Role string

// The roles of a chat.
const (
	System    Role = "system"
	User      Role = "user"
	Assistant Role = "assistant"
)

// Message is one turn of a chat.
type Message struct {
	Role    Role   `json:"role"`
	Content string `json:"content"`
}

// Request is one chat completion. The zero value of every setting is the project's default: temperature 0.
type Request struct {
	Messages []Message `json:"messages"`
	// MaxTokens bounds the reply; 0 means DefaultMaxTokens.
	MaxTokens int `json:"max_tokens,omitempty"`
	// Temperature is 0 for greedy decoding.
	Temperature float64 `json:"temperature,omitempty"`
	// Stop ends the reply before any of these strings.
	Stop []string `json:"stop,omitempty"`
	// Seed makes sampling repeatable where the model supports it.
	Seed int64 `json:"seed,omitempty"`
	// JSON asks for a reply that is one JSON object. A local model then writes nothing else, though its limit may cut the
	// object; an endpoint is asked for the response format json_object.
	JSON bool `json:"json,omitempty"`
	// N asks for that many replies, sampled from one prompt, which is paid for once; 0 means 1. A model that gives fewer is
	// taken at what it gives. Each reply has the limit MaxTokens.
	N int `json:"n,omitempty"`
	// LogProbs asks for the log-probabilities of the replies' tokens.
	LogProbs bool `json:"logprobs,omitempty"`
}

// DefaultMaxTokens bounds a reply when its request does not.
const DefaultMaxTokens = 512

// ReplyLimit is the most tokens the reply may have: MaxTokens, or DefaultMaxTokens where that is unset.
func (r Request) ReplyLimit() int {
	if r.MaxTokens > 0 {
		return r.MaxTokens
	}
	return DefaultMaxTokens
}

// Replies is how many replies are asked for: N, at least 1.
func (r Request) Replies() int { return max(r.N, 1) }

// Usage is what a call consumed.
type Usage struct {
	Calls   int     `json:"calls"`             // calls made, cached ones included
	Cached  int     `json:"cached,omitempty"`  // of these, answered from the response cache
	In      int     `json:"tokens_in"`         // prompt tokens
	Out     int     `json:"tokens_out"`        // reply tokens
	Dollars float64 `json:"dollars"`           // In and Out times the model's price; the same for a cached reply
	Paid    float64 `json:"paid"`              // dollars spent now: 0 for a cached reply
	MS      float64 `json:"ms"`                // wall time in milliseconds; of the original call for a cached reply
	Retries int     `json:"retries,omitempty"` // attempts after the first
	Failed  int     `json:"failed,omitempty"`  // calls that gave no reply
	Hedged  int     `json:"hedged,omitempty"`  // calls that a second endpoint was asked too

	// Corrected is the number of attempts whose endpoint reported impossible token counts: below 0, beyond the call's
	// Bound, or below what the texts must have. In and Out then hold the bound that was passed.
	Corrected int `json:"corrected,omitempty"`
}

// Add returns the sum of two usages. Token counts stop at the largest int instead of wrapping.
func (u Usage) Add(v Usage) Usage {
	u.Calls += v.Calls
	u.Cached += v.Cached
	u.In = addCounts(u.In, v.In)
	u.Out = addCounts(u.Out, v.Out)
	u.Dollars += v.Dollars
	u.Paid += v.Paid
	u.MS += v.MS
	u.Retries += v.Retries
	u.Failed += v.Failed
	u.Hedged += v.Hedged
	u.Corrected += v.Corrected
	return u
}

// Response is a model's reply.
type Response struct {
	Text string `json:"text"`
	// Finish is why the reply ended: "stop" or "length".
	Finish string `json:"finish"`
	Usage  Usage  `json:"usage"`
	// LogProbs tells of each token of the reply, with the one that ended it where there is one. It is nil if the request did
	// not ask, or the model does not say.
	LogProbs []TokenLogProb `json:"logprobs,omitempty"`
	// Others are the replies after the first; nil unless the request's N is more than 1.
	Others []Choice `json:"others,omitempty"`
	// Reused is how many prompt tokens were not computed because an earlier prompt began with the same ones; 0 where that
	// is not known. It depends on what ran before, so it is not cached.
	Reused int `json:"-"`
	// Model is the model that answered in place of the one that was asked; "" where the latter did. See Fallback.
	Model string `json:"-"`
}

// Choice is one of several replies to a prompt. Its fields are those of a Response.
type Choice struct {
	Text     string         `json:"text"`
	Finish   string         `json:"finish"`
	LogProbs []TokenLogProb `json:"logprobs,omitempty"`
}

// TokenLogProb is how likely a model found a token that it wrote.
type TokenLogProb struct {
	// LogProb is the natural logarithm of the token's probability, at temperature 1.
	LogProb float64 `json:"p"`
	// Second is that of the likeliest other token; LogProb − Second is the margin. It is 0, which no other token can have, where
	// that is not known.
	Second float64 `json:"second,omitempty"`
	// Token is the token's text, and Top the two likeliest tokens in its place, the likeliest first. Models that run in this process
	// tell them. They are not stored.
	Token string         `json:"-"`
	Top   [2]LikelyToken `json:"-"`
}

// LikelyToken is a token that a model might have written, with the natural logarithm of its probability at temperature 1.
type LikelyToken struct {
	Token   string
	LogProb float64
}

// Choices returns all replies, the first first.
func (r Response) Choices() []Choice {
	return append([]Choice{{Text: r.Text, Finish: r.Finish, LogProbs: r.LogProbs}}, r.Others...)
}

// Client answers chats. Implementations are safe for concurrent use.
type Client interface {
	// Model is the name that prices and reports know the model by.
	Model() string
	// ID identifies the model in the keys of the response cache: its name, family, weights and parameters. Two clients
	// with the same ID give the same reply to the same request.
	ID() string
	// Chat returns the reply. On error the returned Response still carries the Usage of what was consumed.
	Chat(ctx context.Context, req Request) (Response, error)
}

// Streamer is an optional capability of a Client: a reply piece by piece.
type Streamer interface {
	// Stream is Chat that also calls emit with each piece of the reply, in whole characters, as soon as it is certain.
	// The pieces together are Response.Text. An error of emit ends the reply and is returned.
	Stream(ctx context.Context, req Request, emit func(piece string) error) (Response, error)
}

// ScoreRequest asks how likely the model finds Continuation as the assistant's reply to Messages.
type ScoreRequest struct {
	Messages     []Message `json:"messages"`
	Continuation string    `json:"continuation"`
}

// Score is the log-probability (natural log, summed over the continuation's tokens) and the number of those tokens.
type Score struct {
	LogProb float64 `json:"log_prob"`
	Tokens  int     `json:"tokens"`
}

// Scorer is an optional capability of a Client: the likelihood of given continuations, batched. Requests that share a
// prefix share its computation.
type Scorer interface {
	Score(ctx context.Context, reqs []ScoreRequest) ([]Score, Usage, error)
}

// AsScorer returns c's Scorer. A Stack has a Score method exactly when the client inside has one, so that scores are
// cached, limited and paid for like chats.
func AsScorer(c Client) (Scorer, bool) {
	s, ok := c.(Scorer)
	return s, ok
}

// TokenCounter is an optional capability of a Client: the exact length of a prompt in the model's own tokens, its chat
// template included. The spend limit then need not assume the worst.
type TokenCounter interface {
	CountTokens(messages []Message) (int, error)
}

// AsTokenCounter returns the TokenCounter of c, or of the first client with one among those it wraps. Counting does not
// depend on the layers around a client, so these are looked through, unlike for AsScorer.
func AsTokenCounter(c Client) (TokenCounter, bool) {
	for c != nil {
		if t, ok := c.(TokenCounter); ok {
			return t, true
		}
		w, ok := c.(interface{ Unwrap() Client })
		if !ok {
			break
		}
		c = w.Unwrap()
	}
	return nil, false
}

// Tuned is an optional capability of a Client: a model that was fine-tuned to answer one prompt, which needs no worked
// examples.
type Tuned interface {
	// PromptTemplate returns the prompt's name, as package tiers knows it, and the SHA-256 of its template in hexadecimal
	// digits; "" for a model that is not tuned.
	PromptTemplate() (name, sha256 string)
}

// PromptTemplate returns the prompt that c was tuned for, or the first client among those it wraps; "" for none.
func PromptTemplate(c Client) (name, sha256 string) {
	for c != nil {
		if t, ok := c.(Tuned); ok {
			return t.PromptTemplate()
		}
		w, ok := c.(interface{ Unwrap() Client })
		if !ok {
			break
		}
		c = w.Unwrap()
	}
	return "", ""
}
