package local

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/internal/osmem"
)

// engine runs the decoder's programs on a backend. It belongs to one goroutine, the scheduler's.
type engine struct {
	be                  compute.Backend
	cfg                 *Config
	decodeN             int // N of decode, see graph.go
	w                   *weights
	embed               *embedding
	args                []any // norm and the layers' weights, in the order that forward expects
	body, logits, score *Exec
	compiled            map[Shape]bool // of body
}

// headRows and scoreRows are how many rows the two heads take at a time.
const (
	headRows  = 16
	scoreRows = 64
)

// newEngine takes over w and embed, if it succeeds. It decodes up to maxBatch replies at a time.
func newEngine(be compute.Backend, cfg *Config, maxBatch int, w *weights, embed *embedding) (*engine, error) {
	e := &engine{be: be, cfg: cfg, decodeN: max(2, maxBatch), w: w, embed: embed, args: []any{w.norm}, compiled: map[Shape]bool{}}
	for _, layer := range w.layer {
		for _, t := range layer {
			e.args = append(e.args, t)
		}
	}
	var err error
	if e.body, err = NewExec(be, cfg.forward); err != nil {
		return nil, fmt.Errorf("preparing the decoder's graph: %w", err)
	}
	if e.logits, err = NewExec(be, headLogits); err != nil {
		return nil, fmt.Errorf("preparing the head's graph: %w", err)
	}
	if e.score, err = NewExec(be, headScores); err != nil {
		return nil, fmt.Errorf("preparing the scoring graph: %w", err)
	}
	e.body.SetMaxCache(-1)
	return e, nil
}

func (e *engine) finalize() error {
	e.body.Finalize()
	e.logits.Finalize()
	e.score.Finalize()
	e.w.finalize()
	return e.embed.reader.Close()
}

// kvCache is the keys and values of up to B sequences of up to T tokens, in memory that the backend reads in place.
type kvCache struct {
	B, T   int
	planes []any // *tensors.Tensor [B, KVHeads, T, HeadDim]: key and value of layer 0, of layer 1, …
}

func (e *engine) newCache(B, T int) (*kvCache, error) {
	c := &kvCache{B: B, T: T}
	for range e.cfg.planes() {
		t, err := e.newPlane(B, T)
		if err != nil {
			c.finalize()
			return nil, err
		}
		c.planes = append(c.planes, t)
	}
	return c, nil
}

func (e *engine) newPlane(B, T int) (*tensors.Tensor, error) {
	t, err := tensors.FromShapeForBackend(e.be, 0, shapes.Make(dtypes.Float32, B, e.cfg.KVHeads, T, e.cfg.HeadDim))
	if err != nil {
		return nil, fmt.Errorf("allocating a cache of %d sequences of %d tokens: %w", B, T, err)
	}
	return t, nil
}

// resizeCache moves c to B slots of T tokens: the first held[i].n tokens of its slot held[i].slot to slot i. It moves one
// plane after the other and frees the old one, so that there are never two whole caches in memory. On error c is gone.
func (e *engine) resizeCache(c *kvCache, B, T int, held []heldSlot) error {
	from := c.T
	c.B, c.T = B, T
	for i, old := range c.planes {
		t, err := e.newPlane(B, T)
		if err == nil {
			err = copySlots(e.cfg, t, T, old.(*tensors.Tensor), from, held)
		}
		old.(*tensors.Tensor).FinalizeAll()
		c.planes[i] = t
		if err != nil {
			c.planes = slices.DeleteFunc(c.planes, func(p any) bool { return p.(*tensors.Tensor) == nil })
			c.finalize()
			return err
		}
	}
	return nil
}

func (c *kvCache) finalize() {
	if c == nil {
		return
	}
	for _, t := range c.planes {
		t.(*tensors.Tensor).FinalizeAll()
	}
}

// edit calls fn with the floats of each plane in turn.
func (c *kvCache) edit(fn func(plane int, data []float32)) error {
	for i, t := range c.planes {
		if err := tensors.MutableFlatData(t.(*tensors.Tensor), func(data []float32) { fn(i, data) }); err != nil {
			return err
		}
	}
	return nil
}

// forward runs S tokens of each of cache.B sequences, tokens [B*S] and pos0 [B] their first positions, and calls use with
// hidden [B, S, Dim] and the new keys and values kv [planes, B, KVHeads, S, HeadDim], valid only during the call.
func (e *engine) forward(tokens, pos0 []int32, cache *kvCache, use func(hidden, kv []float32) error) error {
	S := len(tokens) / cache.B
	mask, err := tensors.FromShapeForBackend(e.be, 0, shapes.Make(dtypes.Float32, cache.B, S, cache.T))
	if err != nil {
		return fmt.Errorf("allocating a mask: %w", err)
	}
	defer mask.FinalizeAll()
	if err := tensors.MutableFlatData(mask, func(flat []float32) { fillMask(flat, pos0, S, cache.T) }); err != nil {
		return err
	}
	N := cache.B
	if S == 1 {
		N = max(N, e.decodeN)
	}
	x, err := tensors.FromShapeForBackend(e.be, 0, shapes.Make(dtypes.Float32, N, S, e.cfg.Dim))
	if err != nil {
		return fmt.Errorf("allocating vectors of tokens: %w", err)
	}
	defer x.FinalizeAll()
	var looked error
	if err := errors.Join(tensors.MutableFlatData(x, func(flat []float32) {
		looked = e.embed.fill(flat, tokens)
		clear(flat[len(tokens)*e.cfg.Dim:])
	}), looked); err != nil {
		return err
	}
	first := make([]int32, N)
	copy(first, pos0)
	in := []any{x, tensors.FromFlatDataAndDimensions(first, N), mask}
	in = append(append(in, e.args...), cache.planes...)
	out, err := e.body.Call(in...)
	if err != nil {
		return fmt.Errorf("running the decoder on %d×%d tokens with a cache of %d: %w", cache.B, S, cache.T, err)
	}
	defer out[0].FinalizeAll()
	defer out[1].FinalizeAll()
	if shape := (Shape{cache.B, S, cache.T}); !e.compiled[shape] {
		e.compiled[shape] = true
		osmem.GiveBack() // compiling leaves much garbage
	}
	var used error
	err = tensors.ConstFlatData(out[0], func(hidden []float32) {
		if err := tensors.ConstFlatData(out[1], func(kv []float32) { used = use(hidden, kv) }); err != nil {
			used = err
		}
	})
	return errors.Join(err, used)
}

// column is one column of a row-major matrix: values data[i*stride].
type column struct {
	data   []float32
	stride int
}

func (c column) len() int         { return (len(c.data) + c.stride - 1) / c.stride }
func (c column) at(i int) float32 { return c.data[i*c.stride] }

// headOn calls use with the logits of every row of hidden [n, Dim]. They are valid only during the call.
func (e *engine) headOn(hidden []float32, use func(row int, logits column)) error {
	return e.grouped(hidden, headRows, func(first int, rows *tensors.Tensor, n int) error {
		out, err := e.logits.Call(rows, e.w.head)
		if err != nil {
			return fmt.Errorf("running the output head: %w", err)
		}
		defer out[0].FinalizeAll()
		return tensors.ConstFlatData(out[0], func(flat []float32) {
			for i := range n {
				use(first+i, column{flat[i:], headRows})
			}
		})
	})
}

// scores returns the log-probability of next[i] after the i-th row of hidden [n, Dim].
func (e *engine) scores(hidden []float32, next []int32) ([]float32, error) {
	result := make([]float32, len(next))
	err := e.grouped(hidden, scoreRows, func(first int, rows *tensors.Tensor, n int) error {
		ids := make([]int32, scoreRows)
		copy(ids, next[first:first+n])
		out, err := e.score.Call(rows, e.w.head, ids)
		if err != nil {
			return fmt.Errorf("running the scoring head: %w", err)
		}
		defer out[0].FinalizeAll()
		return tensors.ConstFlatData(out[0], func(flat []float32) { copy(result[first:], flat[:n]) })
	})
	return result, err
}

// grouped cuts hidden [n, Dim] into tensors of size rows, the last padded.
func (e *engine) grouped(hidden []float32, size int, fn func(first int, rows *tensors.Tensor, n int) error) error {
	dim := e.cfg.Dim
	for first := 0; first*dim < len(hidden); first += size {
		part := hidden[first*dim : min(len(hidden), (first+size)*dim)]
		padded := make([]float32, size*dim)
		copy(padded, part)
		rows := tensors.FromFlatDataAndDimensions(padded, size, dim)
		err := fn(first, rows, len(part)/dim)
		rows.FinalizeAll()
		if err != nil {
			return err
		}
	}
	return nil
}
