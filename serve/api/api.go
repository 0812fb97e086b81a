// Package api holds what `bmem serve`, its clients and the registry of the shared server say to each other: paths, JSON
// bodies, environment variables and defaults.
//
// Chats, embeddings and the list of models have the form of OpenAI's API, which any client for it speaks. Only what goes
// beyond that API is here. Errors have OpenAI's form on every path.
package api

import "github.com/budgetmem/budgetmem/tiers/llm"

// DefaultAddr is where `bmem serve` listens and `bmem doctor` looks for it.
const DefaultAddr = "127.0.0.1:8177"

const (
	// EnvServer names the environment variable with the base URL of a server to use instead of the shared one.
	EnvServer = "BUDGETMEM_SERVER"
	// EnvToken names the environment variable with the bearer token that a server requires of its clients.
	EnvToken = "BUDGETMEM_SERVE_TOKEN"
)

// Paths of this project's own below the base URL http://HOST:PORT/v1. All take POST.
const (
	PathOpen   = "open"   // OpenRequest → OpenReply
	PathScore  = "score"  // ScoreRequest → ScoreReply
	PathTokens = "tokens" // TokensRequest → TokensReply
)

// MaxInputs is the most texts to embed, or continuations to score, that one request may have.
const MaxInputs = 2048

// Address says where the shared server listens. It is the content of the registry's server.json.
type Address struct {
	URL string `json:"url"` // base URL, with the version: http://127.0.0.1:PORT/v1
	PID int    `json:"pid"`
}

// Kind is what a model does.
type Kind string

// The kinds of model.
const (
	Chat      Kind = "chat"
	Embedding Kind = "embedding"
)

// Model describes a model that is served.
type Model struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	ID   string `json:"id"` // identifies the weights
	// Dim is the width of an embedder's vectors.
	Dim int `json:"dim,omitempty"`
	// Context is how many tokens prompt and reply of a local language model may have together.
	Context  int       `json:"context,omitempty"`
	Computed *Computed `json:"computed,omitempty"`
}

// Computed counts the work of a local language model, in tokens.
type Computed struct {
	Prefilled int     `json:"prefilled"` // prompt tokens computed
	Reused    int     `json:"reused"`    // prompt tokens found in the prefix cache
	Decoded   int     `json:"decoded"`   // reply tokens computed
	Scored    int     `json:"scored"`    // tokens whose log-probability was computed
	Shapes    []Shape `json:"shapes"`    // compiled decoder programs
}

// Shape is the size of a compiled decoder program.
type Shape struct {
	Sequences int `json:"sequences"` // computed together
	Tokens    int `json:"tokens"`    // of each sequence in one step
	Cache     int `json:"cache"`     // positions of the key-value cache
}

// OpenRequest asks the server to open a model, if it is not open yet, and to identify it.
type OpenRequest struct {
	Model string `json:"model"`
}

// OpenReply identifies an open model.
type OpenReply struct {
	Model
	Backend string `json:"backend,omitempty"` // what computes it, such as "xla:cpu"
}

// ScoreRequest asks how likely a model finds each continuation as the reply to its messages.
type ScoreRequest struct {
	Model    string             `json:"model"`
	Requests []llm.ScoreRequest `json:"requests"` // 1 to MaxInputs
}

// ScoreReply has one score for each request, in the same order.
type ScoreReply struct {
	Scores []llm.Score `json:"scores"`
	Usage  Usage       `json:"usage"`
}

// TokensRequest asks how many tokens messages take as a prompt, the chat template's own included.
type TokensRequest struct {
	Model    string        `json:"model"`
	Messages []llm.Message `json:"messages"`
}

// TokensReply answers TokensRequest.
type TokensReply struct {
	Tokens int `json:"tokens"`
}

// Usage counts tokens, in the form of OpenAI's API.
type Usage struct {
	PromptTokens     int            `json:"prompt_tokens"`
	CompletionTokens int            `json:"completion_tokens,omitempty"`
	TotalTokens      int            `json:"total_tokens"`
	PromptDetails    *PromptDetails `json:"prompt_tokens_details,omitempty"`
	// Dollars is what was booked for it, where the server keeps a ledger and the model has a price.
	Dollars float64 `json:"dollars,omitempty"`
}

// PromptDetails says how many of the prompt's tokens were found in the prefix cache.
type PromptDetails struct {
	CachedTokens int `json:"cached_tokens"`
}
