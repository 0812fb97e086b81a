package serve

import (
	"encoding/base64"
	"encoding/json"
	"net/http"

	"github.com/budgetmem/budgetmem/internal/f32"
)

// maxTexts is how many texts a request may bring.
const maxTexts = 2048

type embeddingRequest struct {
	Model          string          `json:"model"`
	Input          json.RawMessage `json:"input"` // a string or several
	EncodingFormat string          `json:"encoding_format"`
	Dimensions     *int            `json:"dimensions"`
}

type embeddingAnswer struct {
	Object string      `json:"object"`
	Data   []embedding `json:"data"`
	Model  string      `json:"model"`
	Usage  usage       `json:"usage"`
}

type embedding struct {
	Object    string `json:"object"`
	Index     int    `json:"index"`
	Embedding any    `json:"embedding"` // []float32, or a string: the base64 of little-endian float32
}

func (s *Server) embeddings(w http.ResponseWriter, r *http.Request) error {
	var req embeddingRequest
	if err := s.read(w, r, &req); err != nil {
		return err
	}
	e := s.config.Embedder
	if e == nil {
		return unknownModel(req.Model, nil)
	} else if req.Model != e.Name {
		return unknownModel(req.Model, []string{e.Name})
	}
	texts, err := inputTexts(req.Input)
	if err != nil {
		return err
	}
	switch {
	case req.EncodingFormat != "" && req.EncodingFormat != "float" && req.EncodingFormat != "base64":
		return badRequest("encoding_format", "encoding_format %q: there are float and base64", req.EncodingFormat)
	case req.Dimensions != nil && *req.Dimensions != e.Dim():
		return badRequest("dimensions", "dimensions %d: vectors of %s have %d", *req.Dimensions, e.Name, e.Dim())
	}
	vectors, err := s.batcher.embed(r.Context(), texts)
	if err != nil {
		return err
	}
	answer := embeddingAnswer{Object: "list", Model: e.Name}
	for i, v := range vectors {
		item := embedding{Object: "embedding", Index: i, Embedding: v}
		if req.EncodingFormat == "base64" {
			item.Embedding = base64.StdEncoding.EncodeToString(f32.Bytes(v))
		}
		answer.Data = append(answer.Data, item)
		answer.Usage.PromptTokens += e.Count(texts[i])
	}
	answer.Usage.TotalTokens = answer.Usage.PromptTokens
	s.answer(w, http.StatusOK, answer)
	return nil
}

func inputTexts(input json.RawMessage) ([]string, error) {
	var texts []string
	var one string
	if json.Unmarshal(input, &one) == nil {
		texts = []string{one}
	} else if json.Unmarshal(input, &texts) != nil {
		return nil, badRequest("input", "input must be a string or a list of strings; token ids cannot be embedded")
	}
	if len(texts) == 0 || len(texts) > maxTexts {
		return nil, badRequest("input", "input has %d texts; it must have 1 to %d", len(texts), maxTexts)
	}
	for i, text := range texts {
		if text == "" {
			return nil, badRequest("input", "text %d of input is empty", i)
		}
	}
	return texts, nil
}
