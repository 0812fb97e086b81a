package local

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/gomlx/compute/dtypes/float16"
	"github.com/gomlx/go-huggingface/models/gguf"

	"github.com/budgetmem/budgetmem/internal/atomicfile"
	"github.com/budgetmem/budgetmem/internal/filehash"
	"github.com/budgetmem/budgetmem/internal/ggufile"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
)

// Metadata of an exported file, beside the base model's own.
const (
	keyBase     = "budgetmem.base.sha256"
	keyAdapter  = "budgetmem.adapter.sha256"
	keyTemplate = "budgetmem.prompt_template"
	keyLicense  = "budgetmem.adapter.license"
)

// Export writes the model in the GGUF file at path, with the adapter in the folder dir merged into its weights, to a GGUF file at out,
// which llama.cpp and others read. Merged matrices are float16, all others as they are in the base model's file. progress, if not nil,
// is called with the number of tensors written so far and of all. Errors: those of Open, ErrAdapter, adapter.ErrFormat, the error of an
// ended context, after which out is as it was.
func Export(ctx context.Context, path, dir, out string, progress func(done, all int)) error {
	if err := export(ctx, path, dir, out, progress); err != nil {
		return fmt.Errorf("export %s with the adapter %s: %w", path, dir, err)
	}
	return nil
}

func export(ctx context.Context, path, dir, out string, progress func(done, all int)) error {
	f, err := openGGUF(path)
	if err != nil {
		return err
	}
	cfg, err := readConfig(f)
	if err != nil {
		return err
	}
	a, err := adapter.Read(dir)
	if err != nil {
		return err
	}
	sha256, err := filehash.SHA256(path)
	if err != nil {
		return err
	}
	if err := checkAdapter(a, &cfg, sha256); err != nil {
		return err
	}
	r, err := gguf.NewReader(f)
	if err != nil {
		return err
	}
	defer r.Close()
	own := []ggufile.Pair{{Key: keyBase, Value: sha256}, {Key: keyAdapter, Value: a.SHA256}, {Key: keyTemplate, Value: a.Info.Template}, {Key: keyLicense, Value: a.Info.License}}
	var pairs []ggufile.Pair
	for _, kv := range f.KeyValues {
		if !slices.ContainsFunc(own, func(p ggufile.Pair) bool { return p.Key == kv.Key }) { // a base that was exported has them
			pairs = append(pairs, ggufile.Pair{Key: kv.Key, Value: kv.Raw()})
		}
	}
	pairs = append(pairs, own...)
	changed := map[string]adapter.Key{}
	for k := range a.Pairs {
		changed[fmt.Sprintf("blk.%d.%s.weight", k.Layer, ggufNames[k.Target])] = k
	}
	tensors := make([]ggufile.Tensor, len(f.TensorInfos))
	for i, info := range f.TensorInfos {
		t := ggufile.Tensor{Name: info.Name, Shape: info.Shape, Type: info.Type, Size: info.NumBytes()}
		write := func(w io.Writer) error { return copyTensor(w, r, info.Name) }
		if k, ok := changed[info.Name]; ok {
			t.Type, t.Size = gguf.TensorTypeF16, 2*int64(info.NumElements())
			write = func(w io.Writer) error { return writeMerged(w, r, &cfg, info.Name, k, a) }
		}
		t.Write = func(w io.Writer) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := write(w)
			if err == nil && progress != nil {
				progress(i+1, len(tensors))
			}
			return err
		}
		tensors[i] = t
	}
	return atomicfile.Write(out, 0o644, func(w io.Writer) error { return ggufile.Write(w, pairs, tensors) })
}

// ggufNames are the names of linear maps in GGUF files, by those of Hugging Face's models.
var ggufNames = map[string]string{
	"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
	"gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
}

// copyTensor writes a tensor's data as it is.
func copyTensor(w io.Writer, r *gguf.Reader, name string) error {
	data, _, err := r.ReadTensorRaw(name)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// writeMerged writes a matrix with its pair of the adapter merged into it, as float16.
func writeMerged(w io.Writer, r *gguf.Reader, c *Config, name string, k adapter.Key, a *adapter.Adapter) error {
	t, err := r.ReadTensor(nil, name)
	if err != nil {
		return err
	}
	values, err := floats(t)
	if err != nil {
		return err
	}
	heads := interleavedHeads(c, k.Target)
	if heads > 0 {
		plain := make([]float32, len(values))
		deinterleave(plain, values, heads, c.HeadDim)
		values = plain
	}
	mergePair(values, a.Pairs[k], a.Rank, float32(a.Scale()))
	if heads > 0 {
		mixed := make([]float32, len(values))
		interleave(mixed, values, heads, c.HeadDim)
		values = mixed
	}
	data := make([]byte, 0, 2*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint16(data, float16.FromFloat32(v).Bits())
	}
	_, err = w.Write(data)
	return err
}
