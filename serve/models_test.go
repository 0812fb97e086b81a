package serve

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// scoring is a fake that can do what local models can.
type scoring struct{ *fake }

func (scoring) Score(_ context.Context, reqs []llm.ScoreRequest) ([]llm.Score, llm.Usage, error) {
	scores := make([]llm.Score, len(reqs))
	for i, r := range reqs {
		scores[i] = llm.Score{LogProb: -float64(len(r.Continuation)) / 3, Tokens: len(r.Messages)}
	}
	return scores, llm.Usage{Calls: 1, In: 12}, nil
}

func (scoring) CountTokens(messages []llm.Message) (int, error) { return len(messages[0].Content), nil }

func TestOwnEndpoints(t *testing.T) {
	s := start(t, Config{Chats: []ChatModel{scoring{newFake()}}})
	status, _, body := s.post(t, "/v1/score", `{"model": "fake", "requests": [
		{"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}], "continuation": "x"},
		{"messages": [{"role": "user", "content": "b"}], "continuation": "four"}]}`)
	var got api.ScoreReply
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 || len(got.Scores) != 2 || got.Scores[0] != (llm.Score{LogProb: -1 / 3.0, Tokens: 2}) || got.Usage.PromptTokens != 12 {
		t.Errorf("%d %s: %v", status, body, err)
	}
	if status, _, body := s.post(t, "/v1/tokens", `{"model": "fake", "messages": [{"role": "user", "content": "seven.."}]}`); status != 200 || body != `{"tokens":7}`+"\n" {
		t.Errorf("%d %s", status, body)
	}
	for name, want := range map[string]string{"fake": `"id":"fake:1"`, "fake-embedder": `"kind":"embedding"`} {
		if status, _, body := s.post(t, "/v1/open", `{"model": "`+name+`"}`); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%d %s", status, body)
		}
	}
	for _, c := range []struct{ path, body, param, says string }{
		{"/v1/score", `{"model": "fake", "requests": []}`, "requests", "1 to 2048"},
		{"/v1/score", `{"model": "fake", "requests": [{"messages": []}]}`, "messages", "at least one"},
		{"/v1/score", `{"model": "other", "requests": [{"messages": [{"role": "user", "content": ""}]}]}`, "model", "--on-demand"},
		{"/v1/tokens", `{"model": "fake", "messages": [{"role": "robot"}]}`, "messages", "robot"},
		{"/v1/open", `{"model": "other"}`, "model", "--model NAME"},
		{"/v1/open", `[]`, "", "array"},
	} {
		status, _, body := s.post(t, c.path, c.body)
		if e := apiErrorOf(t, body); status < 400 || e.Param != c.param || !strings.Contains(e.Message, c.says) {
			t.Errorf("%s %s: %d %s", c.path, c.body, status, body)
		}
	}
}

func TestModelsThatCannot(t *testing.T) {
	s := start(t, Config{})
	for path, body := range map[string]string{
		"/v1/score":  `{"model": "fake", "requests": [{"messages": [{"role": "user", "content": "a"}], "continuation": "x"}]}`,
		"/v1/tokens": `{"model": "fake", "messages": [{"role": "user", "content": "a"}]}`,
	} {
		if status, _, answer := s.post(t, path, body); status != 400 || apiErrorOf(t, answer).Param != "model" {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
}
