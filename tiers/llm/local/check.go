package local

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"regexp"
	"strconv"

	"github.com/gomlx/go-huggingface/models/gguf"
)

// ErrUnsupported is the cause of errors for a model file that is well-formed but not one this package runs: a part of a
// split model, another architecture, or tensors and settings that its decoder would leave out.
var ErrUnsupported = errors.New("not supported")

// openGGUF reads the header of a model file and checks that its numbers fit the file.
func openGGUF(path string) (f *gguf.File, err error) {
	defer func() {
		if p := recover(); p != nil { // the reader indexes by numbers of the file
			f, err = nil, fmt.Errorf("the header is damaged: %v", p)
		}
	}()
	if f, err = gguf.Open(path); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if f.Version > 3 {
		if bits.ReverseBytes32(f.Version) <= 3 {
			return nil, fmt.Errorf("%w: a big-endian file; convert it to little-endian", ErrUnsupported)
		}
		return nil, fmt.Errorf("%w: GGUF version %d; versions 2 and 3 are read", ErrUnsupported, f.Version)
	}
	if kv, ok := f.GetKeyValue("general.type"); ok && kv.String() != "model" {
		return nil, fmt.Errorf("%w: general.type is %s; a file of the whole model is needed", ErrUnsupported, kv.String())
	}
	if n := metaNumber(f, "split.count"); n > 1 {
		return nil, fmt.Errorf("%w: this is part %d of a model that is split into %d files; merge them (llama-gguf-split --merge FIRST-PART MERGED.gguf) and open the result", ErrUnsupported, metaNumber(f, "split.no")+1, n)
	}
	return f, checkTensors(f, info.Size())
}

// metaNumber is a number of the metadata; 0 if it is missing.
func metaNumber(f *gguf.File, key string) int64 {
	kv, ok := f.GetKeyValue(key)
	if !ok {
		return 0
	}
	return kv.Int64()
}

// checkTensors refuses tensors that do not lie within a file of size bytes.
func checkTensors(f *gguf.File, size int64) error {
	start := f.DataOffset()
	if start < 0 || start > size {
		return fmt.Errorf("the header is damaged: data would begin at byte %d of %d", start, size)
	}
	seen := make(map[string]bool, len(f.TensorInfos))
	for i := range f.TensorInfos {
		t := &f.TensorInfos[i]
		if seen[t.Name] {
			return fmt.Errorf("tensor %s is there twice", t.Name)
		}
		seen[t.Name] = true
		block, bytes := uint64(t.Type.BlockSize()), uint64(t.Type.TypeSize())
		if block == 0 || bytes == 0 {
			return fmt.Errorf("tensor %s: values of type %s are %w", t.Name, t.Type, ErrUnsupported)
		}
		n := uint64(1)
		for _, d := range t.Shape {
			if d == 0 || d > math.MaxInt32 || n > math.MaxInt64/d {
				return fmt.Errorf("tensor %s: shape %v is not possible", t.Name, t.Shape)
			}
			n *= d
		}
		if n > math.MaxInt64/bytes || n%block != 0 {
			return fmt.Errorf("tensor %s: shape %v is not possible for type %s", t.Name, t.Shape, t.Type)
		}
		if need, have := n/block*bytes, uint64(size-start); t.Offset > have || need > have-t.Offset {
			return fmt.Errorf("tensor %s ends %d bytes behind the end of the file: the file was cut off", t.Name, t.Offset+need-have)
		}
	}
	return nil
}

// limits are what decoders have at most, by their metadata without the architecture: far beyond those in use.
var limits = map[string]int64{
	"block_count": 1024, "embedding_length": 1 << 17, "feed_forward_length": 1 << 20, "attention.head_count": 4096,
	"attention.head_count_kv": 4096, "attention.key_length": 1 << 14, "rope.dimension_count": 1 << 14, "context_length": 1 << 30,
}

// ignored are settings that would change what a decoder computes and that this one does not have: a value other than 0.
var ignored = []string{"expert_count", "expert_used_count", "attention.logit_softcapping", "attn_logit_softcapping", "final_logit_softcapping",
	"logit_scale", "residual_scale", "embedding_scale", "attention.scale", "attention.clamp_kqv", "attention.max_alibi_bias", "rope.scale_linear"}

// known are the tensors of a decoder.
var known = regexp.MustCompile(`^(token_embd\.weight|output\.weight|output_norm\.weight|rope_freqs\.weight|` +
	`blk\.([0-9]+)\.(attn_norm|attn_q|attn_k|attn_v|attn_output|ffn_norm|ffn_gate|ffn_up|ffn_down)\.weight|blk\.([0-9]+)\.attn_[qkv]\.bias)$`)

// checkUse refuses a file with tensors or settings that the decoder would ignore: its replies would be wrong without an error.
func checkUse(f *gguf.File, c *Config) error {
	for _, key := range ignored {
		if kv, ok := f.GetKeyValue(c.Arch + "." + key); ok && (kv.Float64() != 0 || kv.Int64() != 0) && !(key == "rope.scale_linear" && kv.Float64() == 1) {
			return fmt.Errorf("%w: metadata %s.%s is %v", ErrUnsupported, c.Arch, key, kv.Raw())
		}
	}
	if w := metaNumber(f, c.Arch+".attention.sliding_window"); w > 0 && w < int64(c.Context) {
		return fmt.Errorf("%w: attention over a sliding window of %d tokens (metadata %s.attention.sliding_window)", ErrUnsupported, w, c.Arch)
	}
	if kv, ok := f.GetKeyValue(c.Arch + ".attention.causal"); ok && !kv.Bool() {
		return fmt.Errorf("%w: attention that is not causal", ErrUnsupported)
	}
	for _, t := range f.TensorInfos {
		m := known.FindStringSubmatch(t.Name)
		if m == nil {
			return fmt.Errorf("%w: the decoder has no use for tensor %s, so this is another kind of model", ErrUnsupported, t.Name)
		}
		for _, layer := range []string{m[2], m[4]} {
			if n, err := strconv.Atoi(layer); layer != "" && (err != nil || n >= c.Layers) {
				return fmt.Errorf("%w: tensor %s belongs to no layer, of %d (metadata %s.block_count)", ErrUnsupported, t.Name, c.Layers, c.Arch)
			}
		}
	}
	return nil
}
