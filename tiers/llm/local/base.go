package local

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/internal/filehash"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local/tokenizer"
)

// Base is a decoder's weights without what answers requests, for training an adapter on them. It is for one goroutine at a
// time.
type Base struct {
	Config Config
	// SHA256 identifies the GGUF file, in hexadecimal digits.
	SHA256 string
	// RopeFrequencies are the angles by which rotary position embedding turns each pair of dimensions per token, [HeadDim/2].
	RopeFrequencies []float32

	tok   *tokenizer.Tokenizer
	w     *weights
	embed *embedding
}

// OpenBase loads the model in a GGUF file onto be, which must stay open until Close. The errors are those of Open.
func OpenBase(path string, be compute.Backend) (*Base, error) {
	b, err := openBase(path, be)
	if err != nil {
		return nil, fmt.Errorf("opening language model %s: %w", path, err)
	}
	return b, nil
}

func openBase(path string, be compute.Backend) (*Base, error) {
	f, err := openGGUF(path)
	if err != nil {
		return nil, err
	}
	b := &Base{}
	if b.Config, err = readConfig(f); err != nil {
		return nil, err
	}
	if b.tok, err = tokenizer.FromGGUF(f); err != nil {
		return nil, err
	}
	if b.SHA256, err = filehash.SHA256(path); err != nil {
		return nil, err
	}
	if b.w, err = loadWeights(be, f, &b.Config, sharing{}); err != nil {
		return nil, err
	}
	b.RopeFrequencies = b.Config.frequencies()
	if b.embed, err = openEmbedding(f, &b.Config); err != nil {
		b.w.finalize()
		return nil, err
	}
	return b, nil
}

// Close frees the weights. It returns the error of closing the file.
func (b *Base) Close() error {
	b.w.finalize()
	return b.embed.reader.Close()
}

// Layer returns the float32 weights of layer l: attention norm [Dim], query, key and value stacked [(Heads+2·KVHeads)·HeadDim,
// Dim], attention output [Dim, Heads·HeadDim], feed-forward norm [Dim], gate and up stacked [2·FF, Dim], down [Dim, FF], and
// with Config.Bias the biases of query, key and value stacked.
func (b *Base) Layer(l int) []*tensors.Tensor { return b.w.layer[l] }

// FreeLayer frees the memory of layer l, which must not be used afterwards.
func (b *Base) FreeLayer(l int) {
	for _, t := range b.w.layer[l] {
		t.FinalizeAll()
	}
	b.w.layer[l] = nil
}

// Head returns the output head [Vocab, Dim] and the weights of the norm before it [Dim].
func (b *Base) Head() (head, norm *tensors.Tensor) { return b.w.head, b.w.norm }

// Embed writes the vectors of tokens to x, [len(tokens), Dim]. A file that cannot be read is an error.
func (b *Base) Embed(x []float32, tokens []int32) error { return b.embed.fill(x, tokens) }

// Encode returns the tokens of messages as a prompt, and of the reply to it with the token that ends it. Messages that the
// model's chat template refuses are an error.
func (b *Base) Encode(messages []llm.Message, reply string) (prompt, answer []int32, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*countLimit)
	defer cancel()
	if prompt, err = encodePrompt(ctx, b.tok, messages); err != nil {
		return nil, nil, err
	}
	before, err := b.tok.Template().Render(ctx, messages, true)
	if err != nil {
		return nil, nil, err
	}
	whole, err := b.tok.Template().Render(ctx, append(messages[:len(messages):len(messages)], llm.Message{Role: llm.Assistant, Content: reply}), false)
	if err != nil {
		return nil, nil, err
	}
	rest, ok := strings.CutPrefix(whole, before)
	if !ok {
		return nil, nil, errors.New("the chat template writes a prompt otherwise once there is a reply to it")
	}
	for _, id := range b.tok.Encode(rest, true) {
		if answer = append(answer, id); b.tok.EOG(id) {
			return prompt, answer, nil
		}
	}
	return nil, nil, errors.New("the chat template does not end a reply with a token that ends generation")
}

// Projection locates one of a layer's linear maps in the tensors that Base.Layer returns.
type Projection struct {
	Tensor  int // index in the layer
	Row     int // first row
	Out, In int // rows and columns
}

// Projection returns the place of a linear map by its name in Hugging Face's models: q_proj, k_proj, v_proj, o_proj, gate_proj,
// up_proj or down_proj. ok is false for another name.
func (c *Config) Projection(name string) (p Projection, ok bool) {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	switch name {
	case "q_proj":
		return Projection{1, 0, q, c.Dim}, true
	case "k_proj":
		return Projection{1, q, kv, c.Dim}, true
	case "v_proj":
		return Projection{1, q + kv, kv, c.Dim}, true
	case "o_proj":
		return Projection{2, 0, c.Dim, q}, true
	case "gate_proj":
		return Projection{4, 0, c.FF, c.Dim}, true
	case "up_proj":
		return Projection{4, c.FF, c.FF, c.Dim}, true
	case "down_proj":
		return Projection{5, 0, c.Dim, c.FF}, true
	}
	return p, false
}
