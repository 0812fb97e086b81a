package tokenizer

import (
	"fmt"
	"math"
	"strings"
	"sync"
)

// byteRunes maps every byte to the character that stands for it in the vocabulary of a byte-level model: printable
// Latin-1 characters stand for themselves, the others for the characters from U+0100 on (GPT-2's rule).
var byteRunes = func() (table [256]rune) {
	next := rune(256)
	for b := range rune(256) {
		if '!' <= b && b <= '~' || '¡' <= b && b <= '¬' || '®' <= b && b <= 'ÿ' {
			table[b] = b
			continue
		}
		table[b] = next
		next++
	}
	return table
}()

// runeBytes is the inverse of byteRunes.
var runeBytes = func() map[rune]byte {
	inverse := make(map[rune]byte, 256)
	for b, r := range byteRunes {
		inverse[r] = byte(b)
	}
	return inverse
}()

// appendRaw appends the bytes that a token's text in the vocabulary stands for.
func appendRaw(dst []byte, text string) []byte {
	for _, r := range text {
		if b, ok := runeBytes[r]; ok {
			dst = append(dst, b)
		} else {
			dst = append(dst, string(r)...)
		}
	}
	return dst
}

// noToken marks a byte that the vocabulary has no token for.
const noToken = -1

// merged is the outcome of joining two tokens; merges of lower rank come first.
type merged struct{ rank, id int32 }

// bpe merges the bytes of a word into tokens.
type bpe struct {
	bytes  [256]int32
	merges map[uint64]merged // by pair
	words  map[string]int32  // words that are tokens regardless of the merges; nil for most models
	cache  wordCache
}

// pair is the key of two neighbouring tokens.
func pair(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

// newBPE builds the merge table from the vocabulary and the rules "LEFT RIGHT" in the order of their rank.
func newBPE(ids map[string]int32, rules []string, wholeWords bool) (*bpe, error) {
	if len(rules) == 0 {
		return nil, fmt.Errorf("%s is missing or empty", keyMerges)
	}
	b := &bpe{merges: make(map[uint64]merged, len(rules))}
	b.cache.words = map[string][]int32{}
	for i, r := range byteRunes {
		id, ok := ids[string(r)]
		if !ok {
			id = noToken
		}
		b.bytes[i] = id
	}
	var text []byte
	for rank, rule := range rules {
		left, right, ok := strings.Cut(rule, " ")
		if !ok {
			return nil, fmt.Errorf("%s[%d] is %q: want two tokens with a blank between them", keyMerges, rank, rule)
		}
		text = append(append(text[:0], left...), right...)
		l, okL := ids[left]
		r, okR := ids[right]
		id, okID := ids[string(text)]
		if !okL || !okR || !okID {
			return nil, fmt.Errorf("%s[%d] is %q: %s lacks a side of it or the outcome", keyMerges, rank, rule, keyTokens)
		}
		if _, twice := b.merges[pair(l, r)]; !twice {
			b.merges[pair(l, r)] = merged{int32(rank), id}
		}
	}
	if wholeWords {
		b.words = make(map[string]int32, len(ids))
		for text, id := range ids {
			b.words[string(appendRaw(nil, text))] = id
		}
	}
	return b, nil
}

// encode appends the tokens of one word to out.
func (b *bpe) encode(out []int32, word string) []int32 {
	if len(word) == 1 {
		return b.appendByte(out, word[0])
	}
	if id, ok := b.words[word]; ok {
		return append(out, id)
	}
	if ids, ok := b.cache.get(word); ok {
		return append(out, ids...)
	}
	start := len(out)
	out = b.merge(out, word)
	b.cache.put(word, out[start:])
	return out
}

func (b *bpe) appendByte(out []int32, c byte) []int32 {
	if b.bytes[c] == noToken {
		return out
	}
	return append(out, b.bytes[c])
}

// symbol is a token of the word being merged, in a list linked by positions.
type symbol struct {
	id         int32
	prev, next int32 // -1 at the ends
	rank       int32 // of the merge with the next symbol
	outcome    int32 // the result of that merge
}

// none is the rank of a symbol that does not merge with the next one, or was merged into the one before.
const none = math.MaxInt32

// merge applies the merges to word, lowest rank first and leftmost among equals, in O(n log n).
func (b *bpe) merge(out []int32, word string) []int32 {
	symbols := make([]symbol, len(word))
	for i := range symbols {
		symbols[i] = symbol{id: b.bytes[word[i]], prev: int32(i) - 1, next: int32(i) + 1}
	}
	symbols[len(word)-1].next = -1
	todo := make(mergeQueue, 0, len(word))
	rate := func(at int32) {
		s := &symbols[at]
		s.rank = none
		if s.next < 0 {
			return
		}
		if m, ok := b.merges[pair(s.id, symbols[s.next].id)]; ok {
			s.rank, s.outcome = m.rank, m.id
			todo.push(uint64(m.rank)<<32 | uint64(at))
		}
	}
	for i := range symbols {
		rate(int32(i))
	}
	for len(todo) > 0 {
		top := todo.pop()
		at := int32(uint32(top))
		left := &symbols[at]
		if left.rank != int32(top>>32) {
			continue // one of the two has changed since
		}
		right := &symbols[left.next]
		left.id, left.next, right.rank = left.outcome, right.next, none
		if left.next >= 0 {
			symbols[left.next].prev = at
		}
		rate(at)
		if left.prev >= 0 {
			rate(left.prev)
		}
	}
	for at := int32(0); at >= 0; at = symbols[at].next {
		if id := symbols[at].id; id != noToken {
			out = append(out, id)
		}
	}
	return out
}

// mergeQueue is a binary heap of rank<<32 | position, the smallest on top.
type mergeQueue []uint64

func (q *mergeQueue) push(x uint64) {
	h := append(*q, x)
	at := len(h) - 1
	for up := (at - 1) / 2; at > 0 && x < h[up]; up = (at - 1) / 2 {
		h[at] = h[up]
		at = up
	}
	h[at] = x
	*q = h
}

func (q *mergeQueue) pop() uint64 {
	h := *q
	top, x := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	at := 0
	for down := 1; down < len(h); down = 2*at + 1 {
		if down+1 < len(h) && h[down+1] < h[down] {
			down++
		}
		if x <= h[down] {
			break
		}
		h[at] = h[down]
		at = down
	}
	if len(h) > 0 {
		h[at] = x
	}
	*q = h
	return top
}

// Words of text repeat: a cache of this many short ones answers most of them.
const (
	maxCachedWords = 1 << 16
	maxCachedLen   = 48
)

// wordCache remembers the tokens of words already merged. When full it starts over.
type wordCache struct {
	mu    sync.RWMutex
	words map[string][]int32
}

func (c *wordCache) get(word string) ([]int32, bool) {
	c.mu.RLock()
	ids, ok := c.words[word]
	c.mu.RUnlock()
	return ids, ok
}

func (c *wordCache) put(word string, ids []int32) {
	if len(word) > maxCachedLen {
		return
	}
	// Copies: a slice of a long text would keep all of it in memory.
	word, ids = strings.Clone(word), append([]int32(nil), ids...)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.words) >= maxCachedWords {
		clear(c.words)
	}
	c.words[word] = ids
}
