package closers

import (
	"errors"
	"slices"
	"testing"
)

func TestStack(t *testing.T) {
	var s Stack
	var order []int
	first, third := errors.New("first"), errors.New("third")
	for i, err := range []error{first, nil, third} {
		s.Add(func() error { order = append(order, i); return err })
	}
	if err := s.Close(); !errors.Is(err, first) || !errors.Is(err, third) {
		t.Errorf("error %v, want both failures", err)
	}
	if want := []int{2, 1, 0}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	if err := s.Close(); err != nil || len(order) != 3 {
		t.Errorf("closed twice: %v, %v", err, order)
	}
}
