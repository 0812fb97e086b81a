package serve

import (
	"encoding/base64"
	"encoding/json"
	"net/http"

	"github.com/budgetmem/budgetmem/internal/f32"
	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

type embeddingRequest struct {
	Model          string     `json:"model"`
	Input          inputTexts `json:"input"`
	EncodingFormat string     `json:"encoding_format"`
	Dimensions     *int       `json:"dimensions"`
}

type embeddingAnswer struct {
	Object string      `json:"object"`
	Data   []embedding `json:"data"`
	Model  string      `json:"model"`
	Usage  api.Usage   `json:"usage"`
}

type embedding struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"` // []float32, or a string: the base64 of little-endian float32
}

func (s *Server) checkEmbeddings(req *embeddingRequest) error {
	e := s.config.Embedder
	if e == nil {
		return unknownModel(req.Model, nil)
	} else if req.Model != e.Name {
		return unknownModel(req.Model, []string{e.Name})
	}
	if err := req.Input.check(); err != nil {
		return err
	}
	switch {
	case req.EncodingFormat != "" && req.EncodingFormat != "float" && req.EncodingFormat != "base64":
		return badRequest("encoding_format", "encoding_format %q: there are float and base64", req.EncodingFormat)
	case req.Dimensions != nil && *req.Dimensions != e.Dim():
		return badRequest("dimensions", "dimensions %d: vectors of %s have %d", *req.Dimensions, e.Name, e.Dim())
	}
	return nil
}

// embeddings answers with one unit vector [d] float32 for each text.
func (s *Server) embeddings(w http.ResponseWriter, r *http.Request, req *embeddingRequest) error {
	e, texts := s.config.Embedder, req.Input
	var used llm.Usage
	for _, text := range texts {
		used.In += e.Count(text)
	}
	var vectors [][]float32
	dollars, err := s.charged(r.Context(), memory.Embed, e.Name, llm.Bound{In: used.In}, func() (_ llm.Usage, err error) {
		vectors, err = s.batcher.embed(r.Context(), texts)
		return used, err
	})
	if err != nil {
		return err
	}
	answer := embeddingAnswer{Object: "list", Model: e.Name, Usage: api.Usage{PromptTokens: used.In, TotalTokens: used.In, Dollars: dollars}}
	for i, v := range vectors {
		item := embedding{Object: "embedding", Index: i, Embedding: v}
		if req.EncodingFormat == "base64" {
			item.Embedding = base64.StdEncoding.EncodeToString(f32.Bytes(v))
		}
		answer.Data = append(answer.Data, item)
	}
	s.answer(w, http.StatusOK, answer)
	return nil
}

// inputTexts is a string or a list of strings.
type inputTexts []string

func (t *inputTexts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = inputTexts{one}
	} else if json.Unmarshal(b, (*[]string)(t)) != nil {
		return badRequest("input", "input must be a string or a list of strings; token ids cannot be embedded")
	}
	return nil
}

func (t inputTexts) check() error {
	if len(t) == 0 || len(t) > api.MaxInputs {
		return badRequest("input", "input has %d texts; it must have 1 to %d", len(t), api.MaxInputs)
	}
	for i, text := range t {
		if text == "" {
			return badRequest("input", "text %d of input is empty", i)
		}
	}
	return nil
}
