// Package rerank tells how likely a turn is evidence for a question, by a BERT cross-encoder that reads both together (Nogueira
// and Cho, 2019). `bmem tune reranker` trains one.
package rerank

import (
	"context"
	"errors"
	"fmt"

	"github.com/gomlx/compute"

	"github.com/budgetmem/budgetmem/internal/bert"
	"github.com/budgetmem/budgetmem/internal/osmem"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

// The tokens that a question and a pair may have; what is beyond is cut, the question at its end and then the turn at its end.
const (
	MaxQuestionTokens = 48
	MaxPairTokens     = 128
)

// name is what prices and reports know every reranker by.
const name = "reranker"

// errNoChat is what asking a reranker for a text returns.
var errNoChat = errors.New("a reranker gives scores and writes no text; name a language model")

// Model is a cross-encoder from local files. As an llm.Client it can only score: the turn is the message, the question the
// continuation. It is safe for concurrent use.
type Model struct {
	id     string
	tokens *bert.Tokenizer

	program *bert.Program
}

// Open loads the model in dir onto a backend: config.json, tokenizer.json, tokenizer_config.json, model.safetensors, as Hugging
// Face's BertForSequenceClassification with one label writes them.
func Open(dir string, be compute.Backend) (*Model, error) {
	defer osmem.GiveBack() // loading leaves much behind
	m := &Model{}
	if err := m.load(dir, be); err != nil {
		return nil, fmt.Errorf("load reranker from %s: %w", dir, err)
	}
	return m, nil
}

func (m *Model) load(dir string, be compute.Backend) error {
	f, err := bert.Read(dir)
	if err != nil {
		return err
	}
	if _, ok := f.Tensors["classifier.weight"]; !ok {
		return errors.New("model.safetensors: no tensor \"classifier.weight\"; this is an encoder, not a cross-encoder")
	}
	weights, err := f.Config.PairWeights(f.Tensors)
	if err != nil {
		return fmt.Errorf("model.safetensors: %w", err)
	}
	m.id = fmt.Sprintf("reranker@sha256:%.4x", f.SHA256)
	m.tokens = f.Tokens
	m.program, err = bert.NewProgram(be, f.Config.Pairs, weights)
	return err
}

// Model implements llm.Client.
func (m *Model) Model() string { return name }

// Chat implements llm.Client. It always fails.
func (m *Model) Chat(context.Context, llm.Request) (llm.Response, error) {
	return llm.Response{}, errNoChat
}

// Score implements llm.Scorer. A LogProb is a score of Scores, of one token.
func (m *Model) Score(ctx context.Context, reqs []llm.ScoreRequest) ([]llm.Score, llm.Usage, error) {
	rows := make([]bert.Row, len(reqs))
	usage := llm.Usage{Calls: 1}
	for i, r := range reqs {
		rows[i] = Pair(m.tokens, r.Continuation, turnOf(r))
		rows[i].Index = i
		usage.In += len(rows[i].IDs)
	}
	scores, err := m.scores(ctx, rows)
	if err != nil {
		return nil, llm.Usage{}, err
	}
	out := make([]llm.Score, len(scores))
	for i, s := range scores {
		out[i] = llm.Score{LogProb: s, Tokens: 1}
	}
	return out, usage, nil
}

// turnOf is what the last message says.
func turnOf(r llm.ScoreRequest) string {
	if len(r.Messages) == 0 {
		return ""
	}
	return r.Messages[len(r.Messages)-1].Content
}

// CountTokens implements llm.TokenCounter: the most tokens that are read of the messages' last.
func (m *Model) CountTokens(messages []llm.Message) (int, error) {
	return min(MaxPairTokens, 3+len(m.tokens.Encode(turnOf(llm.ScoreRequest{Messages: messages})))), nil
}

// ID is the model's kind and the start of the SHA-256 of its weights.
func (m *Model) ID() string { return m.id }

// Pair returns the tokens of a question and a turn as the model reads them: [CLS] question [SEP] turn [SEP].
func Pair(t *bert.Tokenizer, question, turn string) bert.Row {
	q, p := t.Encode(question), t.Encode(turn)
	q = q[:min(len(q), MaxQuestionTokens)]
	ids := append(append([]int{t.CLS}, q...), t.SEP)
	first := len(ids)
	p = p[:min(len(p), MaxPairTokens-first-1)]
	return bert.Row{IDs: append(append(ids, p...), t.SEP), First: first}
}

// Scores returns a score a turn, in order: what the log-odds of its being evidence change by, up to a constant of the question.
func (m *Model) Scores(ctx context.Context, question string, turns []string) ([]float64, error) {
	rows := make([]bert.Row, len(turns))
	for i, turn := range turns {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("rerank: %w", err)
		}
		rows[i] = Pair(m.tokens, question, turn)
		rows[i].Index = i
	}
	return m.scores(ctx, rows)
}

func (m *Model) scores(ctx context.Context, rows []bert.Row) ([]float64, error) {
	out := make([]float64, len(rows))
	for _, b := range bert.Batches(rows) {
		ids, lengths, firsts := b.Inputs()
		scores, err := m.program.Run(ctx, b, ids, lengths, firsts)
		if err != nil {
			return nil, fmt.Errorf("rerank %d turns: %w", len(rows), err)
		}
		for i, r := range b.Rows {
			out[r.Index] = float64(scores[i])
		}
	}
	return out, nil
}

// Close frees the weights. A Score after it fails.
func (m *Model) Close() error { return m.program.Close() }
