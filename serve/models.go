package serve

import (
	"net/http"

	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
)

// open identifies a model, which is opened first if it is not open.
func (s *Server) open(w http.ResponseWriter, r *http.Request, body *api.OpenRequest) error {
	if e := s.config.Embedder; e != nil && e.Name == body.Model {
		s.answer(w, http.StatusOK, api.OpenReply{Model: e.describe(), Backend: s.config.Backend})
		return nil
	}
	model, release, err := s.chatModel(r.Context(), body.Model)
	if err != nil {
		return err
	}
	defer release()
	s.answer(w, http.StatusOK, api.OpenReply{Model: describe(model), Backend: s.config.Backend})
	return nil
}

// checkScore refuses what no model can score.
func checkScore(body *api.ScoreRequest) error {
	if len(body.Requests) == 0 || len(body.Requests) > api.MaxInputs {
		return badRequest("requests", "requests has %d entries; it must have 1 to %d", len(body.Requests), api.MaxInputs)
	}
	for _, q := range body.Requests {
		if err := checkMessages(q.Messages); err != nil {
			return err
		}
	}
	return nil
}

// score returns the log-probabilities of given continuations.
func (s *Server) score(w http.ResponseWriter, r *http.Request, body *api.ScoreRequest) error {
	model, release, err := s.chatModel(r.Context(), body.Model)
	if err != nil {
		return err
	}
	defer release()
	scorer, ok := model.(llm.Scorer)
	if !ok {
		return badRequest("model", "%s cannot score", body.Model)
	}
	var scores []llm.Score
	var u llm.Usage
	dollars, err := s.charged(r.Context(), memory.Score, model.Model(), scoreBound(model, body.Requests), func() (_ llm.Usage, err error) {
		scores, u, err = scorer.Score(r.Context(), body.Requests)
		return u, err
	})
	if err != nil {
		return err
	}
	s.answer(w, http.StatusOK, api.ScoreReply{Scores: scores, Usage: api.Usage{PromptTokens: u.In, CompletionTokens: u.Out, TotalTokens: u.In + u.Out, Dollars: dollars}})
	return nil
}

func checkTokens(body *api.TokensRequest) error { return checkMessages(body.Messages) }

// tokens counts the tokens of a prompt.
func (s *Server) tokens(w http.ResponseWriter, r *http.Request, body *api.TokensRequest) error {
	model, release, err := s.chatModel(r.Context(), body.Model)
	if err != nil {
		return err
	}
	defer release()
	counter, ok := model.(llm.TokenCounter)
	if !ok {
		return badRequest("model", "%s does not count tokens", body.Model)
	}
	n, err := counter.CountTokens(body.Messages)
	if err != nil {
		return err
	}
	s.answer(w, http.StatusOK, api.TokensReply{Tokens: n})
	return nil
}

// describe says what a language model is.
func describe(c ChatModel) api.Model {
	m := api.Model{Name: c.Model(), Kind: api.Chat, ID: c.ID()}
	if l, ok := c.(interface{ Context() int }); ok {
		m.Context = l.Context()
	}
	return m
}

func (e *Embedder) describe() api.Model {
	return api.Model{Name: e.Name, Kind: api.Embedding, ID: e.ID(), Dim: e.Dim()}
}

// computed returns the counters of a model that has them, else nil.
func computed(c ChatModel) *api.Computed {
	l, ok := c.(interface{ Stats() local.Stats })
	if !ok {
		return nil
	}
	stats := l.Stats()
	out := &api.Computed{Prefilled: stats.Prefilled, Reused: stats.Reused, Decoded: stats.Decoded, Scored: stats.Scored}
	for _, s := range stats.Shapes {
		out.Shapes = append(out.Shapes, api.Shape{Sequences: s.B, Tokens: s.S, Cache: s.T})
	}
	return out
}
