package local

import (
	"slices"
	"testing"
)

func TestShapesAreFew(t *testing.T) {
	s := newShapeSet(4096, 16)
	// A prompt that grows chunk by chunk needs two programs, not one for every length.
	for n := longS; n <= 1300; n += longS {
		s.prefill(1, longS, n)
	}
	if want := []Shape{{1, longS, 512}, {1, longS, 1536}}; !slices.Equal(s.compiled, want) {
		t.Errorf("compiled %v, want %v", s.compiled, want)
	}
	// The first fits what comes often.
	for range patience + 1 {
		s.prefill(1, longS, 1000)
	}
	if got := s.prefill(1, longS, 1000); got != (Shape{1, longS, 1024}) {
		t.Errorf("after %d steps that need 1024, %v stands in", patience, got)
	}
	// Another batch size is another program, and the longest length holds the padding of the last chunk.
	if got := s.prefill(manyB, manyS, 4090+manyS); got != (Shape{manyB, manyS, 4096 + longS}) {
		t.Errorf("got %v for the end of the context", got)
	}
}

// The slots of decode follow the number of replies, and long replies get few, so that memory is bounded.
func TestDecodeShapes(t *testing.T) {
	for _, c := range []struct {
		maxBatch int
		slots    []int
	}{{1, []int{2}}, {2, []int{2}}, {4, []int{2, 4}}, {6, []int{2, 4, 6}}, {16, []int{4, 8, 12, 16}}} {
		if got := newShapeSet(4096, c.maxBatch).slots; !slices.Equal(got, c.slots) {
			t.Errorf("slots %v for up to %d replies, want %v", got, c.maxBatch, c.slots)
		}
	}
	s := newShapeSet(4096, 16)
	if got := s.decode(1, 300); got != (Shape{8, 1, 512}) {
		t.Errorf("%v for the first reply", got)
	}
	for range patience {
		s.decode(1, 200)
	}
	if got := s.decode(1, 200); got != (Shape{4, 1, 256}) {
		t.Errorf("after %d steps of one short reply, %v", patience, got)
	}
	for n := 1; n <= 16; n++ {
		for _, length := range []int{100, 1000, 1500, 2000, 3000, 4096} {
			shape := newShapeSet(4096, 16).decode(n, length)
			if shape.B < n || shape.T < length {
				t.Errorf("%d replies of %d tokens do not fit %v", n, length, shape)
			}
			if s.admits(n, length) && shape.B*shape.T > poolTokens {
				t.Errorf("%d replies of %d tokens are let in, and take %v", n, length, shape)
			}
		}
	}
	if !s.admits(16, 1000) || s.admits(16, 2000) || !s.admits(8, 2000) || s.admits(8, 4000) || !s.admits(4, 4096) {
		t.Error("more is let in, or less, than poolTokens says")
	}
}

func TestCutAtStop(t *testing.T) {
	for _, c := range []struct {
		text  string
		stops []string
		want  string
		found bool
	}{
		{"abc", nil, "abc", false},
		{"abc", []string{""}, "abc", false},
		{"a\nb\nc", []string{"\n"}, "a", true},
		{"one two", []string{"two", "one"}, "", true},
	} {
		if got, found := cutAtStop(c.text, c.stops); got != c.want || found != c.found {
			t.Errorf("cutAtStop(%q, %q) = %q, %v", c.text, c.stops, got, found)
		}
	}
}
