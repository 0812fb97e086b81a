// Package bert has the parts of BERT encoders on GoMLX that embedding and reranking share: configuration, weights, graph and
// tokenizer.
package bert

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // GoMLX's own habit: graph code reads as formulas
	"github.com/gomlx/gomlx/ml/layers/activation"
	"github.com/gomlx/gomlx/ml/nn"
)

// Config is the part of a BERT model's config.json that shapes the graph.
type Config struct {
	ModelType string  `json:"model_type"`
	Act       string  `json:"hidden_act"`
	Hidden    int     `json:"hidden_size"`
	FFN       int     `json:"intermediate_size"`
	Heads     int     `json:"num_attention_heads"`
	Layers    int     `json:"num_hidden_layers"`
	Positions int     `json:"max_position_embeddings"`
	Types     int     `json:"type_vocab_size"`
	Vocab     int     `json:"vocab_size"`
	Epsilon   float64 `json:"layer_norm_eps"`
}

// ParseConfig reads a config.json. Its errors name the field.
func ParseConfig(file []byte) (Config, error) {
	var c Config
	if err := json.Unmarshal(file, &c); err != nil {
		return c, err
	}
	switch {
	case c.ModelType != "bert" || c.Act != "gelu":
		return c, fmt.Errorf("model_type %q with hidden_act %q: only \"bert\" with \"gelu\" is known", c.ModelType, c.Act)
	case c.Heads <= 0 || c.Hidden <= 0 || c.Hidden%c.Heads != 0:
		return c, fmt.Errorf("hidden_size %d does not divide into num_attention_heads %d", c.Hidden, c.Heads)
	case c.Layers <= 0 || c.FFN <= 0 || c.Positions < MaxTokens || c.Vocab <= 0 || c.Types <= 0:
		return c, fmt.Errorf("num_hidden_layers, intermediate_size, vocab_size and type_vocab_size must be positive and max_position_embeddings at least %d", MaxTokens)
	}
	return c, nil
}

// MaxTokens is the longest input of all-MiniLM-L6-v2, [CLS] and [SEP] included: what its authors trained and set it for.
const MaxTokens = 256

// Weights gives embeddingWeights tensors for the embeddings and weightsPerLayer for each layer.
const embeddingWeights, weightsPerLayer = 4, 12

// Weights orders the tensors of a BERT encoder as the graph takes them: words, positions, the embedding's norm (gain,
// bias), then for each layer Wqkv, bqkv, Wo, bo, norm, W1, b1, W2, b2, norm. Matrices become [in, out], the three attention
// projections one matrix, and the first token type is added to the positions.
func (c Config) Weights(all map[string]Tensor) ([]Tensor, error) {
	var missing error
	get := func(name string, dims ...int) Tensor {
		t, ok := all[name]
		if missing == nil && !ok {
			missing = fmt.Errorf("no tensor %q of type F32", name)
		} else if missing == nil && !slices.Equal(t.Dims, dims) {
			missing = fmt.Errorf("tensor %q has shape %v instead of %v", name, t.Dims, dims)
		}
		if missing != nil {
			return Tensor{Dims: dims, Data: make([]float32, 1)}
		}
		return t
	}
	linear := func(name string, in, out int) (w, b Tensor) {
		w, b = get(name+".weight", out, in), get(name+".bias", out)
		if missing == nil {
			w = w.Transposed()
		}
		return w, b
	}
	norm := func(name string) []Tensor {
		return []Tensor{get(name+".weight", c.Hidden), get(name+".bias", c.Hidden)}
	}

	positions := get("embeddings.position_embeddings.weight", c.Positions, c.Hidden)
	types := get("embeddings.token_type_embeddings.weight", c.Types, c.Hidden)
	if missing == nil {
		sum := slices.Clone(positions.Data)
		for i := range sum {
			sum[i] += types.Data[i%c.Hidden]
		}
		positions.Data = sum
	}
	out := []Tensor{get("embeddings.word_embeddings.weight", c.Vocab, c.Hidden), positions}
	out = append(out, norm("embeddings.LayerNorm")...)
	for l := range c.Layers {
		p := fmt.Sprintf("encoder.layer.%d.", l)
		// The scale of the attention scores is folded into the queries.
		wq, bq := linear(p+"attention.self.query", c.Hidden, c.Hidden)
		scale := float32(1 / math.Sqrt(float64(c.Hidden/c.Heads)))
		wq, bq = wq.Scaled(scale), bq.Scaled(scale)
		wk, bk := linear(p+"attention.self.key", c.Hidden, c.Hidden)
		wv, bv := linear(p+"attention.self.value", c.Hidden, c.Hidden)
		wo, bo := linear(p+"attention.output.dense", c.Hidden, c.Hidden)
		w1, b1 := linear(p+"intermediate.dense", c.Hidden, c.FFN)
		w2, b2 := linear(p+"output.dense", c.FFN, c.Hidden)
		n1, n2 := norm(p+"attention.output.LayerNorm"), norm(p+"output.LayerNorm")
		if missing != nil {
			return nil, missing
		}
		out = append(out, beside(wq, wk, wv), beside(bq, bk, bv), wo, bo, n1[0], n1[1], w1, b1, w2, b2, n2[0], n2[1])
	}
	return out, missing
}

// Embeddings builds the encoder with mean pooling and unit length, for texts of one segment. Inputs: token ids [n, length]
// int32, padded at the end; lengths [n] int32; then the weights in the order of the method Weights. Output: [n, hidden] float32.
func (c Config) Embeddings(in []*Node) *Node {
	ids, lengths, w := in[0], in[1], in[2:]
	n, length := ids.Shape().Dim(0), ids.Shape().Dim(1)
	present := c.before(ids, lengths)
	x := c.encode(ids, present, nil, w)
	x = Where(BroadcastToDims(ExpandAxes(present, -1), n, length, c.Hidden), x, ScalarZero(ids.Graph(), dtypes.Float32))
	// Unit length makes the division of the mean superfluous: the sum has the same direction.
	return L2Normalize(ReduceSum(x, 1), -1)
}

// before says which tokens of each row stand before a place: ids [n, length], places [n] int32; [n, length] bool.
func (c Config) before(ids, places *Node) *Node {
	position := Iota(ids.Graph(), shapes.Make(dtypes.Int32, ids.Shape().Dim(0), ids.Shape().Dim(1)), 1)
	return LessThan(position, ExpandAxes(places, 1))
}

// encode builds the encoder: [n, length, hidden]. present says which tokens are no padding. types, if not nil, is added to the
// tokens' embeddings.
func (c Config) encode(ids, present, types *Node, w []*Node) *Node {
	g := ids.Graph()
	n, length := ids.Shape().Dim(0), ids.Shape().Dim(1)
	dim := c.Hidden / c.Heads
	x := Add(Gather(w[0], ExpandAxes(ids, -1)), ExpandAxes(Slice(w[1], AxisRange(0, length)), 0))
	if types != nil {
		x = Add(x, types)
	}
	x = Reshape(c.norm(x, w[2], w[3]), n*length, c.Hidden)
	// Added to the scores of keys that are padding: [n, 1, 1, length].
	hide := ExpandAxes(Where(present, ScalarZero(g, dtypes.Float32), Scalar(g, dtypes.Float32, -1e9)), 1, 2)
	for l := range c.Layers {
		w := w[embeddingWeights+l*weightsPerLayer:]
		qkv := Reshape(dense(x, w[0], w[1]), n, length, 3, c.Heads, dim)
		part := func(i int) *Node { return Squeeze(SliceAxis(qkv, 2, AxisElem(i)), 2) } // [n, length, heads, dim]
		scores := Einsum("blhd,bmhd->bhlm", part(0), part(1))
		mixed := Einsum("bhlm,bmhd->blhd", Softmax(Add(scores, hide), -1), part(2))
		x = c.norm(Add(x, dense(Reshape(mixed, n*length, c.Hidden), w[2], w[3])), w[4], w[5])
		wide := dense(x, w[6], w[7], activation.TypeGelu)
		x = c.norm(Add(x, dense(wide, w[8], w[9])), w[10], w[11])
	}
	return Reshape(x, n, length, c.Hidden)
}

func (c Config) norm(x, gain, bias *Node) *Node {
	return nn.LayerNorm(x, []int{-1}, c.Epsilon, gain, bias, nil)
}

func dense(x, w, b *Node, act ...activation.Type) *Node {
	return nn.Dense(x, w, b, compute.DenseLayoutInputOutputs, act...)
}
