package serve

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// completion is an answer, or one chunk of a streamed one.
type completion struct {
	ID      string     `json:"id"`
	Object  string     `json:"object"`
	Created int64      `json:"created"`
	Model   string     `json:"model"`
	System  string     `json:"system_fingerprint"` // identifies the weights
	Choices []choice   `json:"choices"`
	Usage   *api.Usage `json:"usage,omitempty"`
}

type choice struct {
	Index    int       `json:"index"`
	Message  *message  `json:"message,omitempty"` // in a whole answer
	Delta    *message  `json:"delta,omitempty"`   // in a chunk
	LogProbs *logProbs `json:"logprobs"`          // null if they were not asked for
	Finish   *string   `json:"finish_reason"`
}

// logProbs are the log-probabilities of a choice's tokens, that of the token that ended it included.
type logProbs struct {
	Content []tokenLogProb `json:"content"`
}

type tokenLogProb struct {
	likelyToken
	Top []likelyToken `json:"top_logprobs"`
}

type likelyToken struct {
	Token   string  `json:"token"`
	LogProb float64 `json:"logprob"`
	// Bytes are the token's: part of a character may be a token.
	Bytes []int `json:"bytes"`
}

func likely(token string, logProb float64) likelyToken {
	t := likelyToken{Token: strings.ToValidUTF8(token, "\uFFFD"), LogProb: logProb, Bytes: []int{}}
	for _, b := range []byte(token) {
		t.Bytes = append(t.Bytes, int(b))
	}
	return t
}

// rated are the log-probabilities of a reply, with so many of the likeliest tokens for each; nil for a reply without any.
func rated(tokens []llm.TokenLogProb, top int) *logProbs {
	if tokens == nil {
		return nil
	}
	out := &logProbs{Content: make([]tokenLogProb, len(tokens))}
	for i, t := range tokens {
		out.Content[i] = tokenLogProb{likely(t.Token, t.LogProb), []likelyToken{}}
		for _, other := range t.Top[:top] {
			out.Content[i].Top = append(out.Content[i].Top, likely(other.Token, other.LogProb))
		}
	}
	return out
}

type message struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

func usageOf(r llm.Response, dollars float64) *api.Usage {
	return &api.Usage{PromptTokens: r.Usage.In, CompletionTokens: r.Usage.Out, TotalTokens: r.Usage.In + r.Usage.Out, PromptDetails: &api.PromptDetails{CachedTokens: r.Reused}, Dollars: dollars}
}

func (s *Server) chat(w http.ResponseWriter, r *http.Request, body *chatRequest) error {
	req := body.request()
	model, release, err := s.chatModel(r.Context(), body.Model)
	if err != nil {
		return err
	}
	defer release()
	c := completion{ID: "chatcmpl-" + rand.Text(), Object: "chat.completion", Created: time.Now().Unix(), Model: model.Model(), System: model.ID()}
	if body.Stream {
		return s.stream(w, r, model, req, c, body.StreamOptions.IncludeUsage)
	}
	var resp llm.Response
	dollars, err := s.charged(r.Context(), memory.Chat, model.Model(), chatBound(model, req), func() (_ llm.Usage, err error) {
		resp, err = model.Chat(r.Context(), req)
		return resp.Usage, err
	})
	if err != nil {
		return err
	}
	for i, reply := range resp.Choices() {
		c.Choices = append(c.Choices, choice{Index: i, Message: &message{Role: "assistant", Content: &reply.Text}, LogProbs: rated(reply.LogProbs, body.TopLogProbs), Finish: &reply.Finish})
	}
	c.Usage = usageOf(resp, dollars)
	s.answer(w, http.StatusOK, c)
	return nil
}

// stream answers with server-sent events: the role, pieces of the reply, the finish reason, the usage if requested, and
// [DONE]. Nothing is written before the first piece, so an earlier failure gets its HTTP status; a later one is an event.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, model ChatModel, req llm.Request, c completion, withUsage bool) error {
	c.Object = "chat.completion.chunk"
	events := events{w: w, control: http.NewResponseController(w)}
	delta := func(m message, finish *string) error {
		c.Choices = []choice{{Delta: &m, Finish: finish}}
		return events.send(c)
	}
	begin := func() error {
		if events.begun {
			return nil
		}
		empty := ""
		return delta(message{Role: "assistant", Content: &empty}, nil)
	}
	var resp llm.Response
	dollars, err := s.charged(r.Context(), memory.Chat, model.Model(), chatBound(model, req), func() (_ llm.Usage, err error) {
		resp, err = model.Stream(r.Context(), req, func(piece string) error {
			if err := begin(); err != nil {
				return err
			}
			return delta(message{Content: &piece}, nil)
		})
		return resp.Usage, err
	})
	if err != nil {
		if !events.begun {
			return err
		}
		e := asAPIError(err)
		if e.Status != statusGone && events.failed == nil {
			s.config.Log.Error("a stream broke off", "error", err)
			_ = events.send(e.body())
		}
		return nil
	}
	// The reply is complete. Writing fails only if the client is gone, so errors are dropped.
	_ = begin()
	_ = delta(message{}, &resp.Finish)
	if withUsage {
		c.Choices, c.Usage = []choice{}, usageOf(resp, dollars)
		_ = events.send(c)
	}
	_ = events.write("[DONE]")
	return nil
}

// events writes server-sent events.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
	failed  error // the first failure; nothing is written after it
}

func (e *events) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return e.write(string(b))
}

func (e *events) write(data string) error {
	if e.failed != nil {
		return e.failed
	}
	if !e.begun {
		e.begun = true
		e.w.Header().Set("Content-Type", "text/event-stream")
		e.w.Header().Set("Cache-Control", "no-store")
		e.w.WriteHeader(http.StatusOK)
	}
	_ = e.control.SetWriteDeadline(time.Now().Add(writeLimit)) // the ResponseRecorder of a test has none
	if _, e.failed = e.w.Write([]byte("data: " + data + "\n\n")); e.failed == nil {
		e.failed = e.control.Flush()
	}
	return e.failed
}
