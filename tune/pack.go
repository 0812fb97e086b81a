package tune

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// sequence is an example in tokens: the prompt and behind it the answer.
type sequence struct {
	tokens []int32
	prompt int // tokens of the prompt
}

func (s sequence) answer() int { return len(s.tokens) - s.prompt }

// pack is sequences computed together, one behind the other.
type pack struct {
	members []int // indices of sequences
	size    int   // tokens it has room for
}

// minusInf hides a score it is added to: exp of the sum is 0.
const minusInf = float32(-1e30)

// packer puts sequences into packs. A program is compiled for each size of pack, so that there are few.
type packer struct {
	seqs   []sequence
	tokens int // of a pack, unless a sequence is longer
	rows   int // answers' tokens of a pack
}

// newPacker checks that every sequence fits into some pack of at most context tokens.
func newPacker(seqs []sequence, tokens, context int) (*packer, error) {
	p := &packer{seqs: seqs, tokens: tokens, rows: max(16, tokens/16)}
	for i, s := range seqs {
		if len(s.tokens) > context {
			return nil, fmt.Errorf("example %d has %d tokens with its answer, the model's context is %d", i+1, len(s.tokens), context)
		}
		p.rows = max(p.rows, (s.answer()+15)/16*16)
	}
	return p, nil
}

// size is the room of the smallest pack that holds n tokens.
func (p *packer) size(n int) int {
	size := p.tokens
	for size < n {
		size *= 2
	}
	return size
}

// fitted shrinks packs to the room that their sequences need, in steps of an eighth: what is padding is computed too.
func (p *packer) fitted(packs []pack) []pack {
	for i, k := range packs {
		n, step := 0, k.size/8
		for _, m := range k.members {
			n += len(p.seqs[m].tokens)
		}
		packs[i].size = (n + step - 1) / step * step
	}
	return packs
}

// inOrder fills one pack after the other, in the order of the sequences.
func (p *packer) inOrder() []pack {
	var packs []pack
	room := 0
	for i, s := range p.seqs {
		if len(s.tokens) > room {
			packs = append(packs, pack{size: p.size(len(s.tokens))})
			room = packs[len(packs)-1].size
		}
		last := &packs[len(packs)-1]
		last.members = append(last.members, i)
		room -= len(s.tokens)
	}
	return p.fitted(packs)
}

// batch packs the sequences of one step, the longest first, each into the first pack with room for it and its answer.
func (p *packer) batch(members []int) []pack {
	members = slices.SortedStableFunc(slices.Values(members), func(a, b int) int { return cmp.Compare(len(p.seqs[b].tokens), len(p.seqs[a].tokens)) })
	var packs []pack
	var room, rows []int
	for _, m := range members {
		s := p.seqs[m]
		at := 0
		for at < len(packs) && (room[at] < len(s.tokens) || rows[at] < s.answer()) {
			at++
		}
		if at == len(packs) {
			size := p.size(len(s.tokens))
			packs, room, rows = append(packs, pack{size: size}), append(room, size), append(rows, p.rows)
		}
		packs[at].members = append(packs[at].members, m)
		room[at] -= len(s.tokens)
		rows[at] -= s.answer()
	}
	return p.fitted(packs)
}

// layout is what a pack's program is given beside vectors and weights.
type layout struct {
	tokens   []int32
	position []int32
	mask     []float32 // [size, size]
	rows     []int32   // after which an answer's token comes; the last of size for padding
	next     []int32
	weight   []float32 // 0 for padding
}

// layout arranges a pack. The weights make the loss the mean over the step's n examples of each one's mean over its answer's
// tokens.
func (p *packer) layout(k pack, n int) layout {
	l := layout{tokens: make([]int32, k.size), position: make([]int32, k.size), mask: make([]float32, k.size*k.size),
		rows: make([]int32, p.rows), next: make([]int32, p.rows), weight: make([]float32, p.rows)}
	for i := range l.mask {
		l.mask[i] = minusInf
	}
	for i := range k.size {
		l.mask[i*k.size+i] = 0 // padding sees itself, so that no softmax is empty
	}
	start, row := 0, 0
	for _, m := range k.members {
		s := p.seqs[m]
		copy(l.tokens[start:], s.tokens)
		for i := range s.tokens {
			l.position[start+i] = int32(i)
			clear(l.mask[(start+i)*k.size+start:][:i+1])
		}
		for i := s.prompt; i < len(s.tokens) && row < p.rows; i++ {
			l.rows[row], l.next[row] = int32(start+i-1), s.tokens[i]
			l.weight[row] = 1 / float32(s.answer()*n)
			row++
		}
		start += len(s.tokens)
	}
	return l
}

// hash identifies the sequences, in hexadecimal digits.
func (p *packer) hash() string {
	h := sha256.New()
	for _, s := range p.seqs {
		fmt.Fprintln(h, s.prompt, s.tokens)
	}
	return hex.EncodeToString(h.Sum(nil))
}
