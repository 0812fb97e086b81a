// Package localtest makes small language models for tests.
package localtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomlx/go-huggingface/models/gguf"

	"github.com/budgetmem/budgetmem/internal/ggufile"
)

// The shape of the small models.
const (
	layers, dim, ff, heads, kvHeads = 3, 16, 24, 4, 2
	headDim                         = dim / heads
	context                         = 512
)

const chatTemplate = `{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}` +
	`{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

// Tiny writes a GGUF file of a decoder of some thousand random weights, of the family "llama" or "qwen2", whose tokens are single
// characters and two spaces. It returns the file's path. Equal arguments give equal weights.
func Tiny(t testing.TB, family string, seed uint64) string {
	t.Helper()
	return TinyFor(t, family, seed, context)
}

// TinyFor is Tiny with a context of that many tokens in place of 512.
func TinyFor(t testing.TB, family string, seed uint64, context uint32) string {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	tokens, types := []string{"Ġ", "Ċ"}, []int32{1, 1} // space and line end
	for c := '!'; c <= '~'; c++ {
		tokens, types = append(tokens, string(c)), append(types, 1)
	}
	tokens, types = append(tokens, "ĠĠ", "<|im_start|>", "<|im_end|>"), append(types, 1, 3, 3)
	w := &file{family: family, rng: rng}
	w.meta("general.architecture", family)
	for _, m := range []struct {
		key string
		n   uint32
	}{{"block_count", layers}, {"embedding_length", dim}, {"feed_forward_length", ff},
		{"attention.head_count", heads}, {"attention.head_count_kv", kvHeads}, {"context_length", context}} {
		w.meta(family+"."+m.key, m.n)
	}
	w.meta("tokenizer.ggml.model", "gpt2")
	w.meta("tokenizer.ggml.pre", "gpt-2")
	w.meta("tokenizer.ggml.tokens", tokens)
	w.meta("tokenizer.ggml.token_type", types)
	w.meta("tokenizer.ggml.merges", []string{"Ġ Ġ"})
	w.meta("tokenizer.ggml.eos_token_id", uint32(len(tokens)-1))
	w.meta("tokenizer.chat_template", chatTemplate)
	w.tensor("token_embd.weight", 1, len(tokens), dim)
	w.tensor("output_norm.weight", 0, dim)
	for l := range layers {
		name := func(s string) string { return fmt.Sprintf("blk.%d.%s", l, s) }
		w.tensor(name("attn_norm.weight"), 0, dim)
		w.tensor(name("ffn_norm.weight"), 0, dim)
		for _, m := range []struct {
			name string
			rows int
		}{{"attn_q", heads * headDim}, {"attn_k", kvHeads * headDim}, {"attn_v", kvHeads * headDim}} {
			w.tensor(name(m.name+".weight"), 0.3, m.rows, dim)
			if family == "qwen2" {
				w.tensor(name(m.name+".bias"), 0.3, m.rows)
			}
		}
		w.tensor(name("attn_output.weight"), 0.3, dim, heads*headDim)
		w.tensor(name("ffn_gate.weight"), 0.3, ff, dim)
		w.tensor(name("ffn_up.weight"), 0.3, ff, dim)
		w.tensor(name("ffn_down.weight"), 0.3, dim, ff)
	}
	path := filepath.Join(t.TempDir(), "tiny-"+family+".gguf")
	var b bytes.Buffer
	if err := ggufile.Write(&b, w.pairs, w.tensors); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// file is a GGUF file under construction.
type file struct {
	family  string
	rng     *rand.Rand
	pairs   []ggufile.Pair
	tensors []ggufile.Tensor
}

func (w *file) meta(key string, value any) {
	w.pairs = append(w.pairs, ggufile.Pair{Key: key, Value: value})
}

// tensor adds float32 values of a standard deviation, or near 1 for a deviation of 0, as the weights of norms are.
func (w *file) tensor(name string, deviation float64, dims ...int) {
	shape, n := make([]uint64, len(dims)), 1
	for i, d := range dims { // the fastest-moving dimension first
		shape[len(dims)-1-i] = uint64(d)
		n *= d
	}
	values := make([]float32, n)
	for i := range values {
		v := deviation * w.rng.NormFloat64()
		if deviation == 0 {
			v = 1 + 0.1*w.rng.NormFloat64()
		}
		values[i] = float32(v)
	}
	w.tensors = append(w.tensors, ggufile.Tensor{Name: name, Shape: shape, Type: gguf.TensorTypeF32, Size: int64(4 * n),
		Write: func(to io.Writer) error { return binary.Write(to, binary.LittleEndian, values) }})
}
