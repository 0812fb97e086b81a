package local

import (
	"errors"
	"slices"

	"github.com/gomlx/gomlx/core/tensors"
)

// kvRows are the new keys and values of one slot in the output of a step: data [planes, B, KVHeads, S, HeadDim].
type kvRows struct {
	data       []float32
	B, S, slot int
}

// plane returns the rows of a key or value head from position from of the step on.
func (r kvRows) plane(cfg *Config, plane, head, from int) []float32 {
	return r.data[(((plane*r.B+r.slot)*cfg.KVHeads+head)*r.S+from)*cfg.HeadDim:]
}

// fill copies n tokens of the step, from its position from on, into the block.
func (b *block) fill(cfg *Config, rows kvRows, from, n int) {
	for p := range cfg.planes() {
		for h := range cfg.KVHeads {
			copy(b.plane(cfg, p, h)[:n*cfg.HeadDim], rows.plane(cfg, p, h, from))
		}
	}
}

// plane returns the rows [blockTokens, HeadDim] of a key or value head.
func (b *block) plane(cfg *Config, plane, head int) []float32 {
	return b.data[(plane*cfg.KVHeads+head)*blockTokens*cfg.HeadDim:][:blockTokens*cfg.HeadDim]
}

// write copies the first n tokens of blocks, from the block skip on, to the start of a slot.
func (c *kvCache) write(cfg *Config, slot int, blocks []*block, skip, n int) error {
	return c.edit(func(plane int, data []float32) {
		for h := range cfg.KVHeads {
			rows := data[(slot*cfg.KVHeads+h)*c.T*cfg.HeadDim:][:c.T*cfg.HeadDim]
			for i := skip; i < len(blocks); i++ {
				at := i * blockTokens
				copy(rows[at*cfg.HeadDim:min(at+blockTokens, n)*cfg.HeadDim], blocks[i].plane(cfg, plane, h))
			}
		}
	})
}

// heldSlot is a slot of a cache and how many of its tokens are in use.
type heldSlot struct{ slot, n int }

// copySlots copies what is in use of a plane for up to fromT tokens to one for up to T: held[i] to slot i.
func copySlots(cfg *Config, to *tensors.Tensor, T int, from *tensors.Tensor, fromT int, held []heldSlot) error {
	var err error
	return errors.Join(tensors.MutableFlatData(to, func(dst []float32) {
		err = tensors.ConstFlatData(from, func(src []float32) {
			for i, s := range held {
				for h := range cfg.KVHeads {
					copy(dst[(i*cfg.KVHeads+h)*T*cfg.HeadDim:][:s.n*cfg.HeadDim], src[(s.slot*cfg.KVHeads+h)*fromT*cfg.HeadDim:])
				}
			}
		})
	}), err)
}

// scratch is the cache that prefill works on. held are the blocks whose contents are in each slot, so that what is there
// already is not copied again.
type scratch struct {
	cache *kvCache
	held  [][]*block
}

// assign gives each chunk the free slot that holds the longest prefix of its sequence.
func (s *scratch) assign(chunks []chunk) []int {
	slots := make([]int, len(chunks))
	taken := make([]bool, len(s.held))
	for i, c := range chunks {
		best, most := -1, -1
		for b, held := range s.held {
			if !taken[b] {
				if n := common(held, c.seq.blocks); n > most {
					best, most = b, n
				}
			}
		}
		slots[i], taken[best] = best, true
	}
	return slots
}

// load copies each sequence's cached keys and values into its slot.
func (s *scratch) load(cfg *Config, chunks []chunk, slots []int) error {
	for i, c := range chunks {
		slot, blocks := slots[i], c.seq.blocks
		skip := common(s.held[slot], blocks)
		if skip < len(blocks) {
			if err := s.cache.write(cfg, slot, blocks, skip, c.seq.n); err != nil {
				return err
			}
		}
		// What lies behind skip in the slot was overwritten or is not needed.
		s.held[slot] = slices.Clone(blocks)
	}
	return nil
}

// common is how many blocks a and b begin with alike.
func common(a, b []*block) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
