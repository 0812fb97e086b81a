package bert

import (
	"fmt"
	"maps"
	"math"
	"strings"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // GoMLX's own habit: graph code reads as formulas
)

// The names of Hugging Face's BertForSequenceClassification with one label: the encoder's tensors behind a prefix, a pooler
// over the first token, and a linear classifier.
const (
	encoderPrefix = "bert."
	poolerName    = "pooler.dense"
	headName      = "classifier"
	typesName     = "embeddings.token_type_embeddings.weight"
)

// pairWeights is how many tensors PairWeights puts behind those of the encoder.
const pairWeights = 5

// PairWeights orders the tensors of a cross-encoder as the graph takes them: those of Weights, what the second token type adds to
// the first [hidden], the pooler [hidden, hidden] and its bias, the classifier [hidden, 1] and its bias. Names may have the prefix
// that a classification model gives its encoder. A model without a classifier, such as an embedder, gets one of zeros.
func (c Config) PairWeights(all map[string]Tensor) ([]Tensor, error) {
	if c.Types < 2 {
		return nil, fmt.Errorf("type_vocab_size %d: a cross-encoder needs two token types", c.Types)
	}
	plain := make(map[string]Tensor, len(all))
	for name, t := range all {
		plain[strings.TrimPrefix(name, encoderPrefix)] = t
	}
	out, err := c.Weights(plain)
	if err != nil {
		return nil, err
	}
	if _, ok := plain[headName+".weight"]; !ok {
		plain[headName+".weight"] = Tensor{Dims: []int{1, c.Hidden}, Data: make([]float32, c.Hidden)}
		plain[headName+".bias"] = Tensor{Dims: []int{1}, Data: make([]float32, 1)}
	}
	types := plain[typesName].Data
	second := Tensor{Dims: []int{c.Hidden}, Data: make([]float32, c.Hidden)}
	for i := range second.Data {
		second.Data[i] = types[c.Hidden+i] - types[i]
	}
	out = append(out, second)
	for _, part := range []struct {
		name string
		out  int
	}{{poolerName, c.Hidden}, {headName, 1}} {
		w, okW := plain[part.name+".weight"]
		b, okB := plain[part.name+".bias"]
		if !okW || !okB || len(w.Data) != part.out*c.Hidden || len(b.Data) != part.out {
			return nil, fmt.Errorf("tensors %q are missing or not of shape [%d %d] and [%d]", part.name, part.out, c.Hidden, part.out)
		}
		out = append(out, w.Transposed(), b)
	}
	return out, nil
}

// PairTensors is the inverse of PairWeights: the weights by the names that a classification model's file has. first is the
// embedding of the first token type [hidden], which Weights adds to the positions.
func (c Config) PairTensors(weights []Tensor, first Tensor) map[string]Tensor {
	out := map[string]Tensor{}
	put := func(name string, t Tensor) { out[name] = t }
	linear := func(name string, w, b Tensor) { put(name+".weight", w.Transposed()); put(name+".bias", b) }
	norm := func(name string, gain, bias Tensor) { put(name+".weight", gain); put(name+".bias", bias) }

	put("embeddings.word_embeddings.weight", weights[0])
	positions := Tensor{Dims: weights[1].Dims, Data: make([]float32, len(weights[1].Data))}
	for i, v := range weights[1].Data {
		positions.Data[i] = v - first.Data[i%c.Hidden]
	}
	put("embeddings.position_embeddings.weight", positions)
	norm("embeddings.LayerNorm", weights[2], weights[3])
	for l := range c.Layers {
		w, p := weights[embeddingWeights+l*weightsPerLayer:], fmt.Sprintf("encoder.layer.%d.", l)
		scale := float32(math.Sqrt(float64(c.Hidden / c.Heads)))
		for i, name := range []string{"query", "key", "value"} {
			wi, bi := w[0].columns(i*c.Hidden, c.Hidden), w[1].columns(i*c.Hidden, c.Hidden)
			if i == 0 {
				wi, bi = wi.Scaled(scale), bi.Scaled(scale)
			}
			linear(p+"attention.self."+name, wi, bi)
		}
		linear(p+"attention.output.dense", w[2], w[3])
		norm(p+"attention.output.LayerNorm", w[4], w[5])
		linear(p+"intermediate.dense", w[6], w[7])
		linear(p+"output.dense", w[8], w[9])
		norm(p+"output.LayerNorm", w[10], w[11])
	}
	tail := weights[len(weights)-pairWeights:]
	types := Tensor{Dims: []int{2, c.Hidden}, Data: append([]float32(nil), first.Data...)}
	for i, v := range tail[0].Data {
		types.Data = append(types.Data, first.Data[i]+v)
	}
	put(typesName, types)
	linear(poolerName, tail[1], tail[2])

	prefixed := map[string]Tensor{}
	for name, t := range maps.All(out) {
		prefixed[encoderPrefix+name] = t
	}
	prefixed[headName+".weight"], prefixed[headName+".bias"] = tail[3].Transposed(), tail[4]
	return prefixed
}

// Pairs builds a cross-encoder over pairs of segments. Inputs: token ids [n, length] int32, padded at the end; lengths [n] int32;
// the lengths of the first segments [n] int32; then the weights in the order of PairWeights. Output: a score a pair, [n] float32.
func (c Config) Pairs(in []*Node) *Node {
	ids, lengths, firsts, w := in[0], in[1], in[2], in[3:]
	g := ids.Graph()
	n, length := ids.Shape().Dim(0), ids.Shape().Dim(1)
	w, tail := w[:len(w)-pairWeights], w[len(w)-pairWeights:]
	second := BroadcastToDims(ExpandAxes(tail[0], 0, 1), n, length, c.Hidden)
	isFirst := BroadcastToDims(ExpandAxes(c.before(ids, firsts), -1), n, length, c.Hidden)
	types := Where(isFirst, ScalarZero(g, dtypes.Float32), second)
	x := c.encode(ids, c.before(ids, lengths), types, w)
	pooled := Tanh(dense(Squeeze(SliceAxis(x, 1, AxisElem(0)), 1), tail[1], tail[2]))
	return Squeeze(dense(pooled, tail[3], tail[4]), -1)
}

// FirstType returns the embedding of the first token type, [hidden], which Weights adds to the positions.
func (c Config) FirstType(all map[string]Tensor) Tensor {
	types, ok := all[typesName]
	if !ok {
		types = all[encoderPrefix+typesName]
	}
	return Tensor{Dims: []int{c.Hidden}, Data: append([]float32(nil), types.Data[:c.Hidden]...)}
}

// TrainedFrom is the place in PairWeights from which the weights of the top layers, and of what stands on them, are.
func (c Config) TrainedFrom(layers int) int {
	return embeddingWeights + (c.Layers-layers)*weightsPerLayer
}
