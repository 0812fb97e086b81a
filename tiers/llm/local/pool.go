package local

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// pool is the replies being generated, one a slot of a cache that moves to another size, in slots and in tokens, when they
// need it.
type pool struct {
	eng    *engine
	shapes *shapeSet
	cache  *kvCache
	slots  []*sequence // len is cache.B; nil where free
	idling int         // steps since a smaller cache would have done
}

const (
	// headroom is how many tokens every reply can grow by before a new cache is needed.
	headroom = 64
	// shrinkAfter is how many steps a smaller cache must have been enough before the pool moves to it.
	shrinkAfter = 32
)

func (p *pool) running() int {
	n := 0
	for _, seq := range p.slots {
		if seq != nil {
			n++
		}
	}
	return n
}

// longest is how many tokens the longest reply has, of those that run and those of joining.
func (p *pool) longest(joining []*sequence) int {
	longest := 0
	for _, seq := range slices.Concat(p.slots, joining) {
		if seq != nil {
			longest = max(longest, seq.n)
		}
	}
	return longest
}

// admits reports whether there is memory for joining beside the running replies.
func (p *pool) admits(joining []*sequence) bool {
	return p.shapes.admits(p.running()+len(joining), p.longest(joining)+headroom)
}

// join lets computed prompts take part in the next step.
func (p *pool) join(seqs []*sequence) error {
	if err := p.resize(seqs); err != nil {
		return err
	}
	slot := 0
	for _, seq := range seqs {
		for p.slots[slot] != nil {
			slot++
		}
		if err := p.cache.write(p.eng.cfg, slot, seq.blocks, 0, seq.n); err != nil {
			return err
		}
		p.slots[slot] = seq
	}
	return nil
}

// resize moves to a cache with room for what runs and for joining: at once when it must grow, after a while when it could
// shrink.
func (p *pool) resize(joining []*sequence) error {
	n, longest := p.running()+len(joining), p.longest(joining)
	if p.cache != nil && p.cache.B >= n && p.cache.T > longest {
		shape := p.shapes.decode(n, longest+1)
		if shape.B*shape.T >= p.cache.B*p.cache.T {
			p.idling = 0
			return nil
		}
		if p.idling++; p.idling < shrinkAfter {
			return nil
		}
	}
	shape := p.shapes.decode(n, longest+headroom)
	p.idling = 0
	if p.cache != nil && shape.B == p.cache.B && shape.T == p.cache.T {
		return nil
	}
	if p.cache == nil {
		var err error
		p.cache, err = p.eng.newCache(shape.B, shape.T)
		p.slots = make([]*sequence, shape.B)
		return err
	}
	slots := make([]*sequence, shape.B)
	var held []heldSlot
	for slot, seq := range p.slots {
		if seq != nil {
			slots[len(held)] = seq
			held = append(held, heldSlot{slot, seq.n})
		}
	}
	if err := p.eng.resizeCache(p.cache, shape.B, shape.T, held); err != nil {
		p.cache = nil // the slots still hold the sequences, which get the error
		return err
	}
	p.slots = slots
	return nil
}

// step computes the next token of every reply and returns the sequences that are complete.
func (p *pool) step() ([]*sequence, error) {
	if err := p.resize(nil); err != nil {
		return nil, err
	}
	cfg, B := p.eng.cfg, p.cache.B
	tokens, pos0 := make([]int32, B), make([]int32, B)
	for b, seq := range p.slots {
		if seq != nil {
			tokens[b], pos0[b] = seq.ids[seq.n], int32(seq.n)
		}
	}
	var hidden []float32
	var rows []int // the slot of each row of hidden
	err := p.eng.forward(tokens, pos0, p.cache, func(all, kv []float32) error {
		for b, seq := range p.slots {
			if seq != nil {
				hidden = append(hidden, all[b*cfg.Dim:][:cfg.Dim]...)
				rows = append(rows, b)
			}
		}
		return p.cache.edit(func(plane int, data []float32) {
			for _, b := range rows {
				row := kvRows{kv, B, 1, b}
				for h := range cfg.KVHeads {
					at := ((b*cfg.KVHeads+h)*p.cache.T + p.slots[b].n) * cfg.HeadDim
					copy(data[at:][:cfg.HeadDim], row.plane(cfg, plane, h, 0))
				}
			}
		})
	})
	if err != nil {
		return nil, err
	}
	var finished []*sequence
	err = p.eng.headOn(hidden, func(row int, logits column) {
		b := rows[row]
		seq := p.slots[b]
		seq.n++
		token := sample(logits, seq.temperature, seq.rng, seq.allowed)
		if seq.rate {
			seq.ratings = append(seq.ratings, rate(logits, token))
		}
		if seq.extend(token) {
			finished = append(finished, seq)
			p.slots[b] = nil
		}
	})
	return finished, err
}

// drop removes the replies for which gone is true.
func (p *pool) drop(gone func(*sequence) bool) {
	for b, seq := range p.slots {
		if seq != nil && gone(seq) {
			p.slots[b] = nil
		}
	}
}

func (p *pool) finalize() {
	p.cache.finalize()
	p.cache, p.slots = nil, nil
}

// sample picks one of the allowed tokens, of all if allowed is nil: the likeliest at temperature 0, the first of equals;
// else by the softmax of logits/temperature.
func sample(logits column, temperature float64, rng *rand.Rand, allowed func(int32) bool) int32 {
	likeliest := func(allowed func(int32) bool) int {
		best, top := -1, float32(math.Inf(-1))
		for i := range logits.len() {
			if x := logits.at(i); x > top && (allowed == nil || allowed(int32(i))) {
				best, top = i, x
			}
		}
		return max(best, 0)
	}
	best := likeliest(nil)
	if allowed != nil && !allowed(int32(best)) {
		best = likeliest(allowed)
	}
	if temperature <= 0 {
		return int32(best)
	}
	top := logits.at(best)
	weights := make([]float64, logits.len())
	total := 0.0
	for i := range weights {
		if allowed == nil || allowed(int32(i)) {
			weights[i] = math.Exp(float64(logits.at(i)-top) / temperature)
			total += weights[i]
		}
	}
	left := rng.Float64() * total
	for i, w := range weights {
		if left -= w; left < 0 {
			return int32(i)
		}
	}
	return int32(best)
}

// rating is a token that was written, with what the softmax of the logits says of it.
type rating struct {
	llm.TokenLogProb
	id  int32
	top [2]int32 // the likeliest tokens, the likeliest first; their log-probabilities are in Top
}

// rate rates a token.
func rate(logits column, token int32) rating {
	r := rating{id: token}
	best := [2]float32{float32(math.Inf(-1)), float32(math.Inf(-1))}
	for i := range logits.len() {
		switch x := logits.at(i); {
		case x > best[0]:
			best[0], best[1] = x, best[0]
			r.top[0], r.top[1] = int32(i), r.top[0]
		case x > best[1]:
			best[1], r.top[1] = x, int32(i)
		}
	}
	sum := 0.0
	for i := range logits.len() {
		sum += math.Exp(float64(logits.at(i) - best[0]))
	}
	norm := float64(best[0]) + math.Log(sum)
	r.LogProb = float64(logits.at(int(token))) - norm
	for i, x := range best {
		r.Top[i].LogProb = float64(x) - norm
	}
	if r.Second = r.Top[0].LogProb; r.top[0] == token {
		r.Second = r.Top[1].LogProb
	}
	return r
}
