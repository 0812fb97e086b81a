package local

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomlx/go-huggingface/models/gguf"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local/localtest"
)

// tensor is one of a GGUF file, of float32.
type tensor struct {
	name  string
	shape []uint64
}

// tinyModel is the metadata and the tensors of a decoder of one layer.
func tinyModel() (map[string]any, []tensor) {
	const dim, vocab = 32, 8
	meta := map[string]any{
		"general.architecture": "llama", "llama.block_count": uint32(1), "llama.context_length": uint32(512), "llama.embedding_length": uint32(dim),
		"llama.feed_forward_length": uint32(dim), "llama.attention.head_count": uint32(2), "llama.attention.head_count_kv": uint32(1),
		"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": []string{"a", "b", "c", "Ġ", "ab", "abc", "bc", "<end>"},
		"tokenizer.ggml.token_type": []int32{1, 1, 1, 1, 1, 1, 1, 3}, "tokenizer.ggml.merges": []string{"b c", "a b", "ab c"}, "tokenizer.ggml.eos_token_id": uint32(7),
		"tokenizer.chat_template": "{% for m in messages %}{{ m.content }}<end>{% endfor %}",
	}
	tensors := []tensor{{"token_embd.weight", []uint64{dim, vocab}}, {"output_norm.weight", []uint64{dim}}}
	for name, shape := range map[string][]uint64{"attn_norm": {dim}, "attn_q": {dim, dim}, "attn_k": {dim, dim / 2}, "attn_v": {dim, dim / 2}, "attn_output": {dim, dim},
		"ffn_norm": {dim}, "ffn_gate": {dim, dim}, "ffn_up": {dim, dim}, "ffn_down": {dim, dim}} {
		tensors = append(tensors, tensor{"blk.0." + name + ".weight", shape})
	}
	return meta, tensors
}

// writeGGUF writes a model file whose weights are all 0; sizes are those of the shapes unless they are huge.
func writeGGUF(t testing.TB, name string, meta map[string]any, tensors []tensor) string {
	t.Helper()
	var b bytes.Buffer
	put := func(v any) { binary.Write(&b, binary.LittleEndian, v) }
	text := func(s string) { put(uint64(len(s))); b.WriteString(s) }
	b.WriteString("GGUF")
	put(uint32(3))
	put(uint64(len(tensors)))
	put(uint64(len(meta)))
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		text(key)
		switch v := meta[key].(type) {
		case string:
			put(uint32(8))
			text(v)
		case uint32:
			put(uint32(4))
			put(v)
		case uint16:
			put(uint32(2))
			put(v)
		case float32:
			put(uint32(6))
			put(v)
		case bool:
			put(uint32(7))
			put(v)
		case []string:
			put([]uint32{9, 8})
			put(uint64(len(v)))
			for _, s := range v {
				text(s)
			}
		case []int32:
			put([]uint32{9, 5})
			put(uint64(len(v)))
			put(v)
		default:
			t.Fatalf("metadata %s of type %T", key, v)
		}
	}
	offset := uint64(0)
	for _, w := range tensors {
		text(w.name)
		put(uint32(len(w.shape)))
		size := uint64(4)
		for _, d := range w.shape {
			put(d)
			size *= d
		}
		put(uint32(0)) // float32
		put(offset)
		if size < 1<<20 {
			offset += (size + 31) / 32 * 32
		}
	}
	b.Write(make([]byte, (32-b.Len()%32)%32+int(offset)))
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Files of anybody: numbers beyond reason, parts of models, and models of another kind are refused by name, at once.
func TestRefusedFiles(t *testing.T) {
	be, err := backend.Open("go", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer be.Finalize()
	huge := func(name string, shape ...uint64) func(map[string]any, []tensor) []tensor {
		return func(_ map[string]any, w []tensor) []tensor {
			i := slices.IndexFunc(w, func(t tensor) bool { return t.name == name })
			w[i].shape = shape
			return w
		}
	}
	set := func(key string, v any) func(map[string]any, []tensor) []tensor {
		return func(meta map[string]any, w []tensor) []tensor { meta[key] = v; return w }
	}
	more := func(name string, shape ...uint64) func(map[string]any, []tensor) []tensor {
		return func(_ map[string]any, w []tensor) []tensor { return append(w, tensor{name, shape}) }
	}
	for _, c := range []struct {
		name        string
		change      func(map[string]any, []tensor) []tensor
		want        string
		unsupported bool
	}{
		{"no layers", set("llama.block_count", uint32(0)), "llama.block_count is 0", false},
		{"too many layers", set("llama.block_count", uint32(2e9)), "llama.block_count is 2000000000", false},
		{"a layer that is missing", set("llama.block_count", uint32(2)), "blk.1.attn_norm.weight is missing", false},
		{"layers as a text", set("llama.block_count", "many"), "llama.block_count is many", false},
		{"no heads", set("llama.attention.head_count", uint32(0)), "head_count is 0", false},
		{"no key heads", set("llama.attention.head_count_kv", uint32(0)), "head_count_kv is 0", false},
		{"no width", set("llama.embedding_length", uint32(0)), "embedding_length is 0", false},
		{"no context", set("llama.context_length", uint32(0)), "context_length is 0", false},
		{"an alignment beyond the file", set("general.alignment", uint32(1<<31)), "header is damaged", false},
		{"a huge tensor", huge("token_embd.weight", 32, 1<<50), "token_embd.weight: shape [32 1125899906842624]", false},
		{"an overflow", huge("output_norm.weight", 1<<31-1, 1<<31-1, 1<<31-1), "output_norm.weight: shape", false},
		{"a tensor of nothing", huge("output_norm.weight", 0), "output_norm.weight: shape [0]", false},
		{"a tensor beyond the file", huge("blk.0.ffn_up.weight", 32, 1<<24), "behind the end of the file", false},
		{"a part", func(m map[string]any, w []tensor) []tensor {
			m["split.no"], m["split.count"] = uint16(0), uint16(3)
			return w[:4]
		}, "part 1 of a model that is split into 3 files", true},
		{"experts", set("llama.expert_count", uint32(8)), "llama.expert_count is 8", true},
		{"soft capping", set("llama.attn_logit_softcapping", float32(50)), "attn_logit_softcapping is 50", true},
		{"sliding window", set("llama.attention.sliding_window", uint32(128)), "sliding window of 128", true},
		{"no causal attention", set("llama.attention.causal", false), "not causal", true},
		{"norms of queries", more("blk.0.attn_q_norm.weight", 16), "no use for tensor blk.0.attn_q_norm.weight", true},
		{"a bias of the output", more("blk.0.attn_output.bias", 32), "no use for tensor blk.0.attn_output.bias", true},
		{"a layer too many", more("blk.1.attn_norm.weight", 32), "blk.1.attn_norm.weight belongs to no layer, of 1", true},
		{"another architecture", set("general.architecture", "qwen3"), `"qwen3" is not supported`, true},
		{"a LoRA adapter", set("general.type", "adapter"), "general.type is adapter", true},
		{"a projector of pictures", set("general.type", "mmproj"), "general.type is mmproj", true},
		{"a tensor twice", more("token_embd.weight", 32, 288), "tensor token_embd.weight is there twice", false},
		{"an epsilon of nothing", set("llama.attention.layer_norm_rms_epsilon", float32(math.NaN())), "layer_norm_rms_epsilon is NaN", false},
		{"an epsilon below nothing", set("llama.attention.layer_norm_rms_epsilon", float32(-1)), "layer_norm_rms_epsilon is -1", false},
		{"no rotary base", set("llama.rope.freq_base", float32(0)), "rope.freq_base is 0", false},
		{"an endless rotary base", set("llama.rope.freq_base", float32(math.Inf(1))), "rope.freq_base is +Inf", false},
		{"a tag of the template", set("tokenizer.chat_template", "{% generation %}x{% endgeneration %}"), "'generation' not found", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			meta, tensors := tinyModel()
			tensors = c.change(meta, tensors)
			path := writeGGUF(t, "m.gguf", meta, tensors)
			start := time.Now()
			m, err := Open(path, be, Options{})
			if err == nil {
				m.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) || errors.Is(err, ErrUnsupported) != c.unsupported {
				t.Errorf("%v, want %q", err, c.want)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	for version, want := range map[uint32]string{1: "unsupported version 1", 4: "version 4", 3 << 24: "big-endian"} {
		path := writeGGUF(t, "version.gguf", func() map[string]any { meta, _ := tinyModel(); return meta }(), nil)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		binary.LittleEndian.PutUint32(data[4:], version)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := Open(path, be, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			if err == nil {
				m.Close()
			}
			t.Errorf("version %d: %v, want %q", version, err, want)
		}
	}
	meta, tensors := tinyModel()
	m, err := Open(writeGGUF(t, "good.gguf", meta, tensors), be, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Chat(t.Context(), llm.Request{Messages: ask("ab"), MaxTokens: 2}); err != nil {
		t.Errorf("the file that the others are made of: %v", err)
	}
}

// A hostile template ends in an error of the chat, within a second or so.
func TestHostileTemplateInChat(t *testing.T) {
	be, err := backend.Open("go", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer be.Finalize()
	meta, tensors := tinyModel()
	meta["tokenizer.chat_template"] = "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}"
	m, err := Open(writeGGUF(t, "loop.gguf", meta, tensors), be, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for what, call := range map[string]func() error{
		"chat":  func() error { _, err := m.Chat(t.Context(), llm.Request{Messages: ask("ab")}); return err },
		"count": func() error { _, err := m.CountTokens(ask("ab")); return err },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "limits of a chat template") && !strings.Contains(err.Error(), "deadline") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzHeader mutates whole files: opening one fails or succeeds, and does not panic or take much memory.
func FuzzHeader(f *testing.F) {
	be, err := backend.Open("go", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(be.Finalize)
	meta, tensors := tinyModel()
	data, err := os.ReadFile(writeGGUF(f, "m.gguf", meta, tensors))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:300])
	path := filepath.Join(f.TempDir(), fmt.Sprint("fuzz", os.Getpid(), ".gguf"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := Open(path, be, Options{}); err == nil {
			m.Close()
		}
	})
}

// header reads the header of a model file that is sound.
func header(t *testing.T, path string) (*gguf.File, Config) {
	t.Helper()
	f, err := openGGUF(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := readConfig(f)
	if err != nil {
		t.Fatal(err)
	}
	return f, cfg
}

// A file that is cut after its header was read gives an error for matrices that are stacked of several tensors too, not zeros.
func TestLoadOfCutTensors(t *testing.T) {
	path := localtest.Tiny(t, "qwen2", 1)
	f, cfg := header(t, path)
	names := []string{"blk.2.ffn_gate.weight", "blk.2.ffn_up.weight"}
	info, ok := f.GetTensorInfo(names[1])
	if !ok {
		t.Fatal("no such tensor")
	}
	if err := os.Truncate(path, f.DataOffset()+int64(info.Offset)+4); err != nil {
		t.Fatal(err)
	}
	r, err := gguf.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	be, err := backend.Open("go", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer be.Finalize()
	var w *tensors.Tensor
	p := part{names: names, dims: []int{2 * cfg.FF, cfg.Dim}, dst: &w}
	if err := p.load(be, r, f, &cfg); err == nil || !strings.Contains(err.Error(), names[1]) {
		t.Errorf("error %v, want one that names %s", err, names[1])
	}
	if w != nil {
		w.FinalizeAll()
	}
}
