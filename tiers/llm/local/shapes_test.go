package local

import (
	"slices"
	"testing"
)

func TestShapesAreFew(t *testing.T) {
	s := newShapeSet(4096)
	// A prompt that grows chunk by chunk needs two programs, not one for every length.
	for n := longS; n <= 1300; n += longS {
		s.choose(1, longS, n)
	}
	if want := []Shape{{1, longS, 512}, {1, longS, 1536}}; !slices.Equal(s.compiled, want) {
		t.Errorf("compiled %v, want %v", s.compiled, want)
	}
	// The first fits what comes often.
	for range patience + 1 {
		s.choose(1, longS, 1000)
	}
	if got := s.choose(1, longS, 1000); got != (Shape{1, longS, 1024}) {
		t.Errorf("after %d steps that need 1024, %v stands in", patience, got)
	}
	// Another batch size is another program, and the longest length holds the padding of the last chunk.
	if got := s.choose(manyB, manyS, 4090+manyS); got != (Shape{manyB, manyS, 4096 + longS}) {
		t.Errorf("got %v for the end of the context", got)
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
