package local

import (
	"fmt"
	"math"

	"github.com/gomlx/go-huggingface/models/gguf"
)

// Config is the shape of a decoder, read from the metadata of its GGUF file.
type Config struct {
	Arch     string // "llama" or "qwen2"
	Layers   int
	Dim      int // width of the residual stream
	FF       int // width of the feed-forward layer
	Heads    int // query heads
	KVHeads  int // key and value heads; Heads is a multiple of it
	HeadDim  int
	Vocab    int
	Context  int // the longest sequence the model was trained for, in tokens
	Eps      float64
	RopeBase float64
	// Bias reports that the query, key and value projections have biases (Qwen2).
	Bias bool
	// Tied reports that the token embedding is also the output head.
	Tied bool
	// RopeFactors divides the rotation frequencies, one a pair of dimensions (Llama 3.x); nil for none.
	RopeFactors []float32
}

// group is how many query heads share one key and value head.
func (c *Config) group() int { return c.Heads / c.KVHeads }

// planes is the number of key and value tensors in a cache: a key and a value for every layer.
func (c *Config) planes() int { return 2 * c.Layers }

// kvFloats is how many floats the keys and values of one token take.
func (c *Config) kvFloats() int { return c.planes() * c.KVHeads * c.HeadDim }

// frequencies returns the angles by which rotary position embedding turns each pair of dimensions per token,
// base^(-2i/HeadDim), [HeadDim/2] float32.
func (c *Config) frequencies() []float32 {
	f := make([]float32, c.HeadDim/2)
	for i := range f {
		f[i] = float32(math.Pow(c.RopeBase, -2*float64(i)/float64(c.HeadDim)))
		if c.RopeFactors != nil {
			f[i] /= c.RopeFactors[i]
		}
	}
	return f
}

// readConfig reads the decoder's shape from f and refuses what the graph does not implement.
func readConfig(f *gguf.File) (Config, error) {
	c := Config{Arch: f.Architecture()}
	if c.Arch != "llama" && c.Arch != "qwen2" {
		return c, fmt.Errorf(`general.architecture %q is %w: there are "llama" and "qwen2"`, c.Arch, ErrUnsupported)
	}
	var wrong error
	num := func(key string, fallback int) int {
		kv, ok := f.GetKeyValue(c.Arch + "." + key)
		n := kv.Int64()
		switch {
		case !ok && fallback > 0:
			return fallback
		case wrong != nil:
		case !ok:
			wrong = fmt.Errorf("metadata %s.%s is missing", c.Arch, key)
		case n < 1 || n > limits[key]:
			wrong = fmt.Errorf("metadata %s.%s is %v: must be 1 to %d", c.Arch, key, kv.Raw(), limits[key])
		}
		return int(n)
	}
	float := func(key string, fallback, least, most float64) float64 {
		kv, ok := f.GetKeyValue(c.Arch + "." + key)
		if !ok {
			return fallback
		}
		x := kv.Float64()
		if wrong == nil && !(x >= least && x <= most) {
			wrong = fmt.Errorf("metadata %s.%s is %v: must be %g to %g", c.Arch, key, kv.Raw(), least, most)
		}
		return x
	}
	c.Layers, c.Dim, c.FF = num("block_count", 0), num("embedding_length", 0), num("feed_forward_length", 0)
	c.Heads, c.Context = num("attention.head_count", 0), num("context_length", 0)
	if wrong != nil {
		return c, wrong
	}
	c.KVHeads = num("attention.head_count_kv", c.Heads)
	if wrong != nil {
		return c, wrong
	}
	if c.Heads%c.KVHeads != 0 {
		return c, fmt.Errorf("%d query heads do not share %d key heads evenly", c.Heads, c.KVHeads)
	}
	c.HeadDim = num("attention.key_length", c.Dim/c.Heads)
	if rot := num("rope.dimension_count", c.HeadDim); wrong != nil {
		return c, wrong
	} else if rot != c.HeadDim || c.HeadDim%2 != 0 {
		return c, fmt.Errorf("rotary embedding of %d of %d head dimensions is not supported", rot, c.HeadDim)
	}
	if kv, ok := f.GetKeyValue(c.Arch + ".rope.scaling.type"); ok && kv.String() != "none" {
		return c, fmt.Errorf("rope scaling %q is not supported", kv.String())
	}
	c.Eps, c.RopeBase = float("attention.layer_norm_rms_epsilon", 1e-5, 0, 1), float("rope.freq_base", 10000, 1, 1e12)
	if wrong != nil {
		return c, wrong
	}

	embd, ok := f.GetTensorInfo("token_embd.weight")
	if !ok {
		return c, fmt.Errorf("tensor token_embd.weight is missing")
	}
	if _, dims := embd.GoMLXShape(); len(dims) == 2 && dims[1] == c.Dim {
		c.Vocab = dims[0]
	} else {
		return c, fmt.Errorf("tensor token_embd.weight has shape %v, want [vocabulary, %d]", dims, c.Dim)
	}
	_, head := f.GetTensorInfo("output.weight")
	_, c.Bias = f.GetTensorInfo("blk.0.attn_q.bias")
	c.Tied = !head
	return c, checkUse(f, &c)
}
