package embed

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestOpenAI(t *testing.T) {
	broken := errors.New("no such model")
	replies := func(vectors [][]float32, err error) Func {
		return func(context.Context, []string) ([][]float32, error) { return vectors, err }
	}
	for name, c := range map[string]struct {
		call Func
		want string
	}{
		"error":      {replies(nil, broken), "no such model"},
		"no vector":  {replies(nil, nil), "0 vectors"},
		"no numbers": {replies([][]float32{{}}, nil), "1 vectors"},
	} {
		if _, err := NewOpenAI(t.Context(), "http://host/v1", "m", 0, c.call); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want a mention of %q", name, err, c.want)
		}
	}

	var reply [][]float32
	o, err := NewOpenAI(t.Context(), "http://host/v1", "m", 0, func(_ context.Context, texts []string) ([][]float32, error) {
		if slices.Equal(texts, []string{"width"}) {
			return [][]float32{{3, 4}}, nil
		}
		return reply, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if o.Dim() != 2 || o.ID() != "m@http://host/v1#2" {
		t.Errorf("dim %d, id %s", o.Dim(), o.ID())
	}
	reply = [][]float32{{3, 4}, {0, -2}}
	got, err := o.Embed(t.Context(), []string{"a", "b"})
	if err != nil || !slices.Equal(got[0], []float32{0.6, 0.8}) || !slices.Equal(got[1], []float32{0, -1}) {
		t.Errorf("got %v, %v", got, err)
	}
	for name, c := range map[string]struct {
		reply [][]float32
		want  string
	}{
		"too few":      {[][]float32{{1, 0}}, "1 vectors for 2 texts"},
		"wrong width":  {[][]float32{{1, 0}, {1}}, "vector 1 has width 1"},
		"zero":         {[][]float32{{1, 0}, {0, 0}}, "vector 1: length 0"},
		"not a number": {[][]float32{{float32(math.NaN()), 0}, {1, 0}}, "vector 0: length NaN"},
	} {
		reply = c.reply
		if _, err := o.Embed(t.Context(), []string{"a", "b"}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want a mention of %q", name, err, c.want)
		}
	}
}
