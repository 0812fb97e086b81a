package local

import (
	"testing"

	"github.com/budgetmem/budgetmem/internal/backend"
)

// The cache counts the blocks in use, once each, and makes no more than its limit while it can evict.
func TestPrefixCacheCountsWhatIsHeld(t *testing.T) {
	be, err := backend.Open("go", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer be.Finalize()
	cfg := &Config{Layers: 1, KVHeads: 1, HeadDim: 2}
	p := newPrefixCache(be, cfg, int64(4*slabBlocks*blockTokens*cfg.kvFloats()))
	defer p.finalize()
	if p.limit != slabBlocks {
		t.Fatalf("limit %d", p.limit)
	}
	tokens := make([]int32, blockTokens)
	put := func(first int32) *block {
		t.Helper()
		b, err := p.alloc()
		if err != nil {
			t.Fatal(err)
		}
		tokens[0] = first
		return p.put(key(nil, tokens), b)
	}
	var held []*block
	for i := range int32(slabBlocks) {
		if p.full() {
			t.Fatalf("full with %d of %d blocks", i, slabBlocks)
		}
		held = append(held, put(i))
	}
	again := put(0) // another sequence computed the same
	if again != held[0] || p.held != slabBlocks || !p.full() {
		t.Errorf("%d blocks held, want %d", p.held, slabBlocks)
	}
	p.release(again)
	if p.releaseAll(held); p.held != 0 || p.full() {
		t.Errorf("%d blocks held after all are given back", p.held)
	}
	made := p.made // the one over the limit took a second slab, for nothing could go
	for i := range int32(3 * slabBlocks) {
		p.release(put(1000 + i))
	}
	if p.made != made || p.held != 0 {
		t.Errorf("%d blocks made and %d held, want %d and 0", p.made, p.held, made)
	}
}
