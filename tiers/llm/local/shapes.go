package local

import "slices"

// Shape is the size of a compiled decoder program: S tokens for each of B sequences with a cache of T positions.
type Shape struct {
	B int `json:"sequences"`
	S int `json:"tokens"`
	T int `json:"cache"`
}

// The shapes of prefill: one long prompt at a time, a short rest of one, or many short ones together.
const (
	longS        = 256
	shortS       = 64
	manyB, manyS = 8, 32
)

// shapeSet picks the compiled shape that serves a step. Compiling takes seconds, and a program made for a longer cache
// gives the same numbers, only slower. So when nothing compiled fits, a generous shape is compiled; and a
// closer one is compiled when a larger one has stood in for it often enough that this pays.
type shapeSet struct {
	lengths  []int // cache lengths, ascending
	generous []int // the cache lengths among them to begin with
	slots    []int // numbers of replies to decode at a time, ascending
	compiled []Shape
	wanted   map[Shape]int
	// onCompile, if not nil, is called with each new shape.
	onCompile func(Shape)
}

// patience is how many times a larger shape stands in for a smaller one before that one is compiled.
const patience = 12

// poolTokens is how many tokens the caches of decode and of prefill of many may have room for, over all their slots, so
// that a few long prompts do not take the memory of many: 16 replies of a thousand tokens, or four of a full context of 4096.
// Running replies that outgrow it continue.
const (
	poolTokens = 17 << 10
	manyTokens = 12 << 10
)

// newShapeSet makes cache lengths for sequences of up to context tokens and a chunk's padding, and numbers of slots for up
// to maxBatch replies.
func newShapeSet(context, maxBatch int) *shapeSet {
	longest := context + longS
	s := &shapeSet{wanted: map[Shape]int{}}
	for step := max(2, maxBatch/4); len(s.slots) == 0 || s.slots[len(s.slots)-1] < maxBatch; {
		s.slots = append(s.slots, min((len(s.slots)+1)*step, max(2, maxBatch)))
	}
	for _, t := range []int{256, 512, 1024, 1536, 2048, 3072, 4096, 6144} {
		if t < longest {
			s.lengths = append(s.lengths, t)
		}
	}
	s.lengths = append(s.lengths, longest)
	for _, t := range []int{512, 1536, 2048, 3072} {
		if t < longest {
			s.generous = append(s.generous, t)
		}
	}
	s.generous = append(s.generous, longest)
	return s
}

// fit returns the smallest of the ascending sizes that holds n.
func fit(sizes []int, n int) int {
	i, _ := slices.BinarySearch(sizes, n)
	return sizes[min(i, len(sizes)-1)]
}

// decode returns the shape that decodes n replies of up to length tokens.
func (s *shapeSet) decode(n, length int) Shape {
	B := fit(s.slots, n)
	// As with lengths, every other number of slots to begin with.
	roomy := s.slots[min(slices.Index(s.slots, B)|1, len(s.slots)-1)]
	return s.choose(B, roomy, 1, length)
}

// admits reports whether n replies of up to length tokens fit poolTokens. A single one always does.
func (s *shapeSet) admits(n, length int) bool {
	return n <= 1 || fit(s.slots, n)*fit(s.lengths, length) <= poolTokens
}

// prefill returns the shape that computes S tokens of B prompts with caches of at least n positions.
func (s *shapeSet) prefill(B, S, n int) Shape { return s.choose(B, B, S, n) }

// choose returns the shape that runs a step of S tokens for B sequences with caches of at least n positions, with roomy
// slots when nothing compiled fits.
func (s *shapeSet) choose(B, roomy, S, n int) Shape {
	want := Shape{B, S, fit(s.lengths, n)}
	var best Shape
	for _, c := range s.compiled {
		if c.S == S && c.B >= B && c.T >= want.T && (best == Shape{} || c.B*c.T < best.B*best.T) {
			best = c
		}
	}
	if best == want {
		return best
	}
	s.wanted[want]++
	switch {
	case best == Shape{}:
		want.B, want.T = roomy, fit(s.generous, n)
		if S == 1 && want.B*want.T > poolTokens {
			want.B, want.T = B, fit(s.lengths, n)
		}
	case s.wanted[want] <= patience:
		return best
	}
	s.compiled = append(s.compiled, want)
	if s.onCompile != nil {
		s.onCompile(want)
	}
	return want
}
