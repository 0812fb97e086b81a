package llm

// Settings are one model's entry of a model configuration. The zero value of a field leaves things as they are.
type Settings struct {
	// MaxTokens is the output limit of every call in tokens, in place of the call's own (answers ask for 40).
	MaxTokens int `json:"max_tokens,omitempty" yaml:"max_tokens,omitempty"`
	// ReasoningTokens are allowed on top of a call's limit, for models that reason before they answer. 0 allows them
	// after a reply was cut inside its reasoning.
	ReasoningTokens int `json:"reasoning_tokens,omitempty" yaml:"reasoning_tokens,omitempty"`
}

// apply returns the request with the model's output limits.
func (s Settings) apply(req Request) Request {
	if s.MaxTokens > 0 {
		req.MaxTokens = s.MaxTokens
	}
	if s.ReasoningTokens > 0 {
		req.MaxTokens = req.ReplyLimit() + s.ReasoningTokens
	}
	return req
}
