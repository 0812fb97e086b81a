package local

import (
	"container/list"
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/tensors"
)

// blockTokens is how many tokens' keys and values are kept and shared as a unit.
const blockTokens = 16

// block holds the keys and values of blockTokens consecutive tokens: for each plane, [KVHeads, blockTokens, HeadDim].
type block struct {
	id   uint64
	key  blockKey
	data []float32
	refs int           // sequences in flight that use it
	used *list.Element // place in the order of use; nil while it is not in the cache
}

// blockKey names a block by what it was computed from: the block before it (and so, all before that) and its own tokens.
type blockKey struct {
	parent uint64 // 0 at the start
	tokens [blockTokens]int32
}

// prefixCache keeps the keys and values of prompts that were computed, so that a prompt which begins alike does not
// compute its beginning again. Blocks that are in no use go, the least recently used first, when the bytes are spent.
// It belongs to the scheduler's goroutine.
type prefixCache struct {
	be     compute.Backend
	floats int // of a block
	limit  int // blocks to hold at most, if those in use allow it
	blocks map[blockKey]*block
	order  *list.List // of *block, most recently used first
	free   [][]float32
	slabs  []*tensors.Tensor
	made   int
	held   int // blocks in use by sequences
	nextID uint64
}

func newPrefixCache(be compute.Backend, cfg *Config, bytes int64) *prefixCache {
	floats := blockTokens * cfg.kvFloats()
	return &prefixCache{be: be, floats: floats, limit: int(bytes / int64(4*floats)), blocks: map[blockKey]*block{}, order: list.New()}
}

// key returns the key of the block of tokens that follows parent, which may be nil.
func key(parent *block, tokens []int32) blockKey {
	k := blockKey{tokens: [blockTokens]int32(tokens)}
	if parent != nil {
		k.parent = parent.id
	}
	return k
}

// get returns the block with the given key and takes a reference to it, or nil.
func (p *prefixCache) get(k blockKey) *block {
	b := p.blocks[k]
	if b != nil {
		if b.refs == 0 {
			p.held++
		}
		b.refs++
	}
	return b
}

// full reports whether sequences in flight use all blocks.
func (p *prefixCache) full() bool { return p.held >= p.limit }

// slabBlocks is how many blocks are allocated at a time. Their memory is the backend's and not the Go heap's, where as
// much again would be set aside for the garbage collector.
const slabBlocks = 32

// alloc returns an empty block with one reference, which is not in the cache yet.
func (p *prefixCache) alloc() (*block, error) {
	for len(p.free) == 0 && p.made >= p.limit && p.evict() {
	}
	if len(p.free) == 0 {
		slab, err := tensors.FromShapeForBackend(p.be, 0, shapes.Make(dtypes.Float32, slabBlocks*p.floats))
		if err != nil {
			return nil, fmt.Errorf("allocating memory for the prefix cache: %w", err)
		}
		p.slabs = append(p.slabs, slab)
		p.made += slabBlocks
		// The slab is never handed to a program, so its memory stays where it is until finalize.
		if err := tensors.MutableFlatData(slab, func(flat []float32) {
			for i := range slabBlocks {
				p.free = append(p.free, flat[i*p.floats:][:p.floats:p.floats])
			}
		}); err != nil {
			return nil, err
		}
	}
	last := len(p.free) - 1
	b := &block{data: p.free[last], refs: 1}
	p.free = p.free[:last]
	p.held++
	return b, nil
}

// evict frees the least recently used block that nobody holds; false if there is none.
func (p *prefixCache) evict() bool {
	for el := p.order.Back(); el != nil; el = el.Prev() {
		if b := el.Value.(*block); b.refs == 0 {
			p.order.Remove(el)
			delete(p.blocks, b.key)
			p.free = append(p.free, b.data)
			return true
		}
	}
	return false
}

// put enters a filled block under k. When the cache already has one, computed meanwhile by another sequence, that one
// is returned with a reference instead and b is freed.
func (p *prefixCache) put(k blockKey, b *block) *block {
	if other := p.get(k); other != nil {
		p.release(b)
		return other
	}
	p.nextID++
	b.id, b.key = p.nextID, k
	b.used = p.order.PushFront(b)
	p.blocks[k] = b
	return b
}

// release drops a reference. A block without references that is not in the cache is free.
func (p *prefixCache) release(b *block) {
	if b.refs--; b.refs == 0 {
		p.held--
	}
	switch {
	case b.used != nil:
		p.order.MoveToFront(b.used)
	case b.refs == 0:
		p.free = append(p.free, b.data)
	}
}

// releaseAll gives back the blocks of a sequence, the last first: a block is of no use without those before it, so it
// has to go sooner than they.
func (p *prefixCache) releaseAll(blocks []*block) {
	for _, b := range slices.Backward(blocks) {
		p.release(b)
	}
}

func (p *prefixCache) finalize() {
	for _, s := range p.slabs {
		s.FinalizeAll()
	}
	p.slabs, p.free, p.blocks = nil, nil, nil
}
