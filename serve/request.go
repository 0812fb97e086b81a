package serve

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// maxStops is how many stop strings a request may have.
const maxStops = 16

// mostTokens is the longest reply that a request may ask for, far beyond any model's context: its price must be a number.
const mostTokens = 1 << 20

// maxChoices is how many replies a request may ask for.
const maxChoices = 16

// chatRequest is what the endpoint understands of a request for a chat completion. Fields that only describe the caller,
// such as user and metadata, are ignored; those that would change the reply and cannot be honoured are refused.
type chatRequest struct {
	Model               string        `json:"model"`
	Messages            []chatMessage `json:"messages"`
	MaxTokens           *int          `json:"max_tokens"`
	MaxCompletionTokens *int          `json:"max_completion_tokens"`
	Temperature         float64       `json:"temperature"`
	Seed                *int64        `json:"seed"`
	Stop                stopStrings   `json:"stop"`
	Stream              bool          `json:"stream"`
	StreamOptions       struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	ResponseFormat struct {
		Type string `json:"type"`
	} `json:"response_format"`

	N                *int            `json:"n"`
	TopP             *float64        `json:"top_p"`
	FrequencyPenalty float64         `json:"frequency_penalty"`
	PresencePenalty  float64         `json:"presence_penalty"`
	LogProbs         bool            `json:"logprobs"`
	TopLogProbs      int             `json:"top_logprobs"`
	LogitBias        map[string]any  `json:"logit_bias"`
	Tools            []any           `json:"tools"`
	Functions        []any           `json:"functions"`
	Modalities       []string        `json:"modalities"`
	Audio            json.RawMessage `json:"audio"`
}

type chatMessage struct {
	Role    string  `json:"role"`
	Content content `json:"content"`
}

// content is a text, or parts that are all texts.
type content string

func (c *content) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil { // null too
		*c = content(text)
		return nil
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(b, &parts) != nil {
		return badRequest("messages", "the content of a message must be a text or a list of parts")
	}
	var all strings.Builder
	for _, p := range parts {
		if p.Type != "text" {
			return badRequest("messages", "a part of a message is of type %q; these models read text only", p.Type)
		}
		all.WriteString(p.Text)
	}
	*c = content(all.String())
	return nil
}

// stopStrings is a string, or a list of them, or null.
type stopStrings []string

func (s *stopStrings) UnmarshalJSON(b []byte) error {
	var one *string
	if json.Unmarshal(b, &one) == nil {
		if *s = nil; one != nil {
			*s = stopStrings{*one}
		}
		return nil
	}
	if json.Unmarshal(b, (*[]string)(s)) != nil {
		return badRequest("stop", "stop must be a string or a list of strings")
	}
	return nil
}

// roles are what messages may have; developer is the newer name of system.
var roles = map[string]llm.Role{"system": llm.System, "developer": llm.System, "user": llm.User, "assistant": llm.Assistant}

// request converts a request that was checked.
func (r *chatRequest) request() llm.Request {
	out := llm.Request{Messages: make([]llm.Message, len(r.Messages)), Temperature: r.Temperature, JSON: r.ResponseFormat.Type == "json_object", Stop: r.Stop, LogProbs: r.LogProbs}
	if r.N != nil {
		out.N = *r.N
	}
	for i, m := range r.Messages {
		out.Messages[i] = llm.Message{Role: roles[m.Role], Content: string(m.Content)}
	}
	for _, limit := range []*int{r.MaxTokens, r.MaxCompletionTokens} {
		if limit != nil {
			out.MaxTokens = *limit
		}
	}
	switch {
	case r.Seed != nil:
		out.Seed = *r.Seed
	case r.Temperature > 0:
		out.Seed = rand.Int64()
	}
	return out
}

// checkMessages refuses a chat without messages and roles that chat templates do not know.
func checkMessages(messages []llm.Message) error {
	if len(messages) == 0 {
		return badRequest("messages", "messages must have at least one message")
	}
	for i, m := range messages {
		if !slices.Contains([]llm.Role{llm.System, llm.User, llm.Assistant}, m.Role) {
			return badRequest("messages", "message %d has the role %q; there are system, user and assistant", i, m.Role)
		}
	}
	return nil
}

// checkRoles is checkMessages for messages in OpenAI's form.
func (r *chatRequest) checkRoles() error {
	if len(r.Messages) == 0 {
		return badRequest("messages", "messages must have at least one message")
	}
	for i, m := range r.Messages {
		if _, ok := roles[m.Role]; !ok {
			return badRequest("messages", "message %d has the role %q; there are system, developer, user and assistant", i, m.Role)
		}
	}
	return nil
}

func (r *chatRequest) check() error {
	switch {
	case r.MaxTokens != nil && (*r.MaxTokens < 1 || *r.MaxTokens > mostTokens):
		return badRequest("max_tokens", "max_tokens %d: must be 1 to %d", *r.MaxTokens, mostTokens)
	case r.MaxCompletionTokens != nil && (*r.MaxCompletionTokens < 1 || *r.MaxCompletionTokens > mostTokens):
		return badRequest("max_completion_tokens", "max_completion_tokens %d: must be 1 to %d", *r.MaxCompletionTokens, mostTokens)
	case r.Temperature < 0 || r.Temperature > 2:
		return badRequest("temperature", "temperature %v: must be 0 to 2", r.Temperature)
	case len(r.Stop) > maxStops:
		return badRequest("stop", "stop has %d strings; at most %d are looked for", len(r.Stop), maxStops)
	case r.N != nil && (*r.N < 1 || *r.N > maxChoices):
		return badRequest("n", "n %d: must be 1 to %d", *r.N, maxChoices)
	case r.Stream && r.N != nil && *r.N > 1:
		return badRequest("n", "n %d: a stream has one choice", *r.N)
	case r.TopP != nil && *r.TopP != 1:
		return badRequest("top_p", "top_p %v: sampling takes the whole distribution; set temperature", *r.TopP)
	case r.FrequencyPenalty != 0:
		return badRequest("frequency_penalty", "frequency_penalty is not supported")
	case r.PresencePenalty != 0:
		return badRequest("presence_penalty", "presence_penalty is not supported")
	case r.Stream && r.LogProbs:
		return badRequest("logprobs", "logprobs are not sent in a stream")
	case r.TopLogProbs < 0 || r.TopLogProbs > len(llm.TokenLogProb{}.Top):
		return badRequest("top_logprobs", "top_logprobs %d: must be 0 to %d", r.TopLogProbs, len(llm.TokenLogProb{}.Top))
	case r.TopLogProbs > 0 && !r.LogProbs:
		return badRequest("top_logprobs", "top_logprobs needs logprobs")
	case len(r.LogitBias) > 0:
		return badRequest("logit_bias", "logit_bias is not supported")
	case len(r.Tools) > 0:
		return badRequest("tools", "tools are not supported")
	case len(r.Functions) > 0:
		return badRequest("functions", "functions are not supported")
	case len(r.Audio) > 0 && string(r.Audio) != "null" || len(r.Modalities) > 1 || len(r.Modalities) == 1 && r.Modalities[0] != "text":
		return badRequest("modalities", "these models write text only")
	case slices.Contains(r.Stop, ""):
		return badRequest("stop", "a stop string is empty")
	}
	switch r.ResponseFormat.Type {
	case "", "text", "json_object":
		return r.checkRoles()
	}
	return badRequest("response_format", "response_format %q: there are text and json_object", r.ResponseFormat.Type)
}
