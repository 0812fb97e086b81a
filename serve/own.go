package serve

import (
	"net/http"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// The endpoints that are not OpenAI's. Each takes and gives JSON, and fails as the others do.

// identity is a model and what computes it.
type identity struct {
	Model
	Backend string `json:"backend,omitempty"`
}

// open answers {"model": NAME} with the identity of that model, which is opened if need be.
func (s *Server) open(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Model string `json:"model"`
	}
	if err := s.read(w, r, &body); err != nil {
		return err
	}
	if e := s.config.Embedder; e != nil && e.Name == body.Model {
		s.answer(w, http.StatusOK, identity{e.describe(), s.config.Backend})
		return nil
	}
	model, release, err := s.chatModel(r.Context(), body.Model)
	if err != nil {
		return err
	}
	defer release()
	s.answer(w, http.StatusOK, identity{describe(model), s.config.Backend})
	return nil
}

// score answers {"model": NAME, "requests": [{"messages": […], "continuation": TEXT}, …]} with {"scores": [{"log_prob": …,
// "tokens": …}, …], "usage": {…}}: for each continuation how likely the model finds it as the reply to its messages, as the
// natural logarithm summed over its tokens.
func (s *Server) score(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Model    string `json:"model"`
		Requests []struct {
			Messages     []chatMessage `json:"messages"`
			Continuation string        `json:"continuation"`
		} `json:"requests"`
	}
	if err := s.read(w, r, &body); err != nil {
		return err
	}
	if len(body.Requests) == 0 || len(body.Requests) > maxTexts {
		return badRequest("requests", "requests has %d entries; it must have 1 to %d", len(body.Requests), maxTexts)
	}
	reqs := make([]llm.ScoreRequest, len(body.Requests))
	for i, q := range body.Requests {
		messages, err := chat(q.Messages)
		if err != nil {
			return err
		}
		reqs[i] = llm.ScoreRequest{Messages: messages, Continuation: q.Continuation}
	}
	model, release, err := s.chatModel(r.Context(), body.Model)
	if err != nil {
		return err
	}
	defer release()
	scorer, ok := model.(llm.Scorer)
	if !ok {
		return badRequest("model", "%s cannot score", body.Model)
	}
	scores, u, err := scorer.Score(r.Context(), reqs)
	if err != nil {
		return err
	}
	s.answer(w, http.StatusOK, struct {
		Scores []llm.Score `json:"scores"`
		Usage  usage       `json:"usage"`
	}{scores, usage{PromptTokens: u.In, CompletionTokens: u.Out, TotalTokens: u.In + u.Out}})
	return nil
}

// tokens answers {"model": NAME, "messages": […]} with {"tokens": N}, what the messages take as a prompt.
func (s *Server) tokens(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Model    string        `json:"model"`
		Messages []chatMessage `json:"messages"`
	}
	if err := s.read(w, r, &body); err != nil {
		return err
	}
	messages, err := chat(body.Messages)
	if err != nil {
		return err
	}
	model, release, err := s.chatModel(r.Context(), body.Model)
	if err != nil {
		return err
	}
	defer release()
	counter, ok := model.(llm.TokenCounter)
	if !ok {
		return badRequest("model", "%s does not count tokens", body.Model)
	}
	n, err := counter.CountTokens(messages)
	if err != nil {
		return err
	}
	s.answer(w, http.StatusOK, map[string]int{"tokens": n})
	return nil
}
