package local

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/dtypes/float16"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/go-huggingface/models/gguf"
	"github.com/gomlx/gomlx/core/tensors"
)

// weights holds the model as float32 tensors in the layout of the file, matrices [out, in]: XLA multiplies by them as
// fast as by [in, out], and nothing has to be transposed at load. The vectors of tokens are not here: see embedding.
type weights struct {
	head  *tensors.Tensor // [vocab, dim]
	norm  *tensors.Tensor // [dim], before the head
	layer [][]*tensors.Tensor

	shared *Shared // what some of them belong to; nil if none do
}

// part is a tensor of the file, or several with the same input stacked along the output axis so that one product
// computes them all.
type part struct {
	names []string
	heads []int // for each name, how many heads of Llama's interleaved rotation are in it; 0 for none
	dims  []int
	dst   **tensors.Tensor
	own   bool // not shared with other models
}

// loadWeights dequantises the tensors of f on all cores, those aside that other models share.
func loadWeights(be compute.Backend, f *gguf.File, c *Config, sh sharing) (*weights, error) {
	w := &weights{layer: make([][]*tensors.Tensor, c.Layers), shared: sh.with}
	head := "output.weight"
	if c.Tied {
		head = embeddingName
	}
	parts := []part{
		{names: []string{head}, dims: []int{c.Vocab, c.Dim}, dst: &w.head},
		{names: []string{"output_norm.weight"}, dims: []int{c.Dim}, dst: &w.norm},
	}
	qHeads, kHeads := interleavedHeads(c, "q_proj"), interleavedHeads(c, "k_proj")
	qkv := (c.Heads + 2*c.KVHeads) * c.HeadDim
	for l := range c.Layers {
		name := func(s string) string { return fmt.Sprintf("blk.%d.%s", l, s) }
		layer := []part{
			{names: []string{name("attn_norm.weight")}, dims: []int{c.Dim}},
			{names: []string{name("attn_q.weight"), name("attn_k.weight"), name("attn_v.weight")},
				heads: []int{qHeads, kHeads, 0}, dims: []int{qkv, c.Dim}},
			{names: []string{name("attn_output.weight")}, dims: []int{c.Dim, c.Heads * c.HeadDim}},
			{names: []string{name("ffn_norm.weight")}, dims: []int{c.Dim}},
			{names: []string{name("ffn_gate.weight"), name("ffn_up.weight")}, dims: []int{2 * c.FF, c.Dim}},
			{names: []string{name("ffn_down.weight")}, dims: []int{c.Dim, c.FF}},
		}
		if c.Bias {
			layer = append(layer, part{names: []string{name("attn_q.bias"), name("attn_k.bias"), name("attn_v.bias")},
				heads: []int{qHeads, kHeads, 0}, dims: []int{qkv}})
		}
		w.layer[l] = make([]*tensors.Tensor, len(layer))
		for i := range layer {
			layer[i].dst, layer[i].own = &w.layer[l][i], !sh.shares(c, l, i)
		}
		parts = append(parts, layer...)
	}
	if err := loadParts(be, f, c, parts, sh); err != nil {
		w.finalize()
		return nil, err
	}
	return w, nil
}

func loadParts(be compute.Backend, f *gguf.File, c *Config, parts []part, sh sharing) error {
	r, err := gguf.NewReader(f)
	if err != nil {
		return err
	}
	defer r.Close()
	work := make(chan part)
	errs := make([]error, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for p := range work {
				if errs[i] == nil {
					errs[i] = p.obtain(sh, func() error { return p.load(be, r, f, c) })
				}
			}
		})
	}
	for _, p := range parts {
		work <- p
	}
	close(work)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if _, ok := f.GetTensorInfo("rope_freqs.weight"); ok {
		t, err := r.ReadTensor(nil, "rope_freqs.weight")
		if err != nil {
			return err
		}
		if c.RopeFactors, err = floats(t); err != nil {
			return fmt.Errorf("tensor rope_freqs.weight: %w", err)
		}
		if len(c.RopeFactors) != c.HeadDim/2 {
			return fmt.Errorf("tensor rope_freqs.weight has %d values, want %d", len(c.RopeFactors), c.HeadDim/2)
		}
	}
	return nil
}

// obtain loads the part, or takes it from the models that share it.
func (p part) obtain(sh sharing, load func() error) error {
	if p.own || sh.with == nil {
		return load()
	}
	t, err := sh.with.take(weightKey{sh.file, p.names[0]}, func() (*tensors.Tensor, error) {
		err := load()
		return *p.dst, err
	})
	if err == nil {
		*p.dst = t
	}
	return err
}

// load reads the part into a new tensor of the backend.
func (p part) load(be compute.Backend, r *gguf.Reader, f *gguf.File, c *Config) error {
	size := 0
	for _, name := range p.names {
		info, ok := f.GetTensorInfo(name)
		if !ok {
			return fmt.Errorf("tensor %s is missing", name)
		}
		size += int(info.NumElements())
	}
	shape := shapes.Make(dtypes.Float32, p.dims...)
	if size != shape.Size() {
		return fmt.Errorf("tensor %s has %d values, want %v", p.names, size, p.dims)
	}
	var err error
	info, _ := f.GetTensorInfo(p.names[0])
	if len(p.names) == 1 && (info.Type.IsQuantized() || info.Type == gguf.TensorTypeF32) {
		// The common case needs no copy.
		*p.dst, err = r.ReadTensor(be, p.names[0])
		return err
	}
	t, err := tensors.FromShapeForBackend(be, 0, shape)
	if err != nil {
		return err
	}
	*p.dst = t
	ferr := tensors.MutableFlatData(t, func(flat []float32) {
		for i, name := range p.names {
			var src *tensors.Tensor
			var values []float32
			if src, err = r.ReadTensor(nil, name); err != nil {
				return
			}
			if values, err = floats(src); err != nil {
				err = fmt.Errorf("tensor %s: %w", name, err)
				return
			}
			if p.heads != nil && p.heads[i] > 0 {
				deinterleave(flat[:len(values)], values, p.heads[i], c.HeadDim)
			} else {
				copy(flat, values)
			}
			flat = flat[len(values):]
		}
	})
	return errors.Join(err, ferr)
}

// floats returns the values of a float32, float16 or bfloat16 tensor and frees it.
func floats(t *tensors.Tensor) ([]float32, error) {
	defer t.FinalizeAll()
	switch t.DType() {
	case dtypes.Float32:
		return tensors.MustCopyFlatData[float32](t), nil
	case dtypes.Float16:
		return widen(tensors.MustCopyFlatData[float16.Float16](t)), nil
	case dtypes.BFloat16:
		return widen(tensors.MustCopyFlatData[bfloat16.BFloat16](t)), nil
	}
	return nil, fmt.Errorf("values of type %s are not supported", t.DType())
}

func widen[T interface{ Float32() float32 }](src []T) []float32 {
	dst := make([]float32, len(src))
	for i, v := range src {
		dst[i] = v.Float32()
	}
	return dst
}

// interleavedHeads is how many heads a linear map, by its name in Hugging Face's models, has whose two halves the file interleaves.
// Converted Llama files do so for queries and keys; Qwen2 files do not.
func interleavedHeads(c *Config, target string) int {
	switch {
	case c.Arch == "llama" && target == "q_proj":
		return c.Heads
	case c.Arch == "llama" && target == "k_proj":
		return c.KVHeads
	}
	return 0
}

// deinterleave undoes the order in which converted Llama files keep the rows of every query and key head: rows 2i and
// 2i+1 of a head become rows i and i+headDim/2, the halves that this package's rotation pairs up.
func deinterleave(dst, src []float32, heads, headDim int) {
	width := len(src) / (heads * headDim)
	for h := range heads {
		for i := range headDim {
			to := h*headDim + i/2 + i%2*(headDim/2)
			copy(dst[to*width:][:width], src[(h*headDim+i)*width:])
		}
	}
}

// interleave undoes deinterleave.
func interleave(dst, src []float32, heads, headDim int) {
	width := len(src) / (heads * headDim)
	for h := range heads {
		for i := range headDim {
			from := h*headDim + i/2 + i%2*(headDim/2)
			copy(dst[(h*headDim+i)*width:][:width], src[from*width:])
		}
	}
}

// finalize frees the tensors that were loaded; those that are shared, if nobody else uses them.
func (w *weights) finalize() {
	all := []*tensors.Tensor{w.head, w.norm}
	for _, layer := range w.layer {
		all = append(all, layer...)
	}
	for _, t := range all {
		if t != nil && !w.shared.release(t) {
			t.FinalizeAll()
		}
	}
}
