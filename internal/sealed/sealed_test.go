package sealed_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/budgetmem/budgetmem/internal/sealed"
)

func TestSeal(t *testing.T) {
	for _, object := range []string{`{"a":1}`, `{"text":"it says \",\"sum\":\"v1-0123456789abcdef\"}"}`, `{"sum":"v1-0123456789abcdef"}`} {
		line := sealed.Seal([]byte(object))
		var r sealed.Reader
		if got, err := r.Open(line); err != nil || string(got) != object {
			t.Errorf("%s came back as %s, %v", object, got, err)
		}
		if !json.Valid(line) {
			t.Errorf("%s is no JSON", line)
		}
	}
}

// Whatever bit of the second of two lines changes, it is noticed.
func TestFlippedBits(t *testing.T) {
	first := sealed.Seal([]byte(`{"a":1}`))
	line := sealed.Seal([]byte(`{"policy":"low","dollars":0.25}`))
	for i := range line {
		for bit := range 8 {
			damaged := append([]byte(nil), line...)
			damaged[i] ^= 1 << bit
			var r sealed.Reader
			if _, err := r.Open(first); err != nil {
				t.Fatal(err)
			}
			if got, err := r.Open(damaged); !errors.Is(err, sealed.ErrDamaged) {
				t.Errorf("bit %d of byte %d: %s, %v", bit, i, got, err)
			}
		}
	}
}

func TestEarlierLines(t *testing.T) {
	var r sealed.Reader
	for _, line := range []string{`{"a":1}`, `{}`, ``, `}`} {
		if got, err := r.Open([]byte(line)); err != nil || string(got) != line {
			t.Errorf("%q: %q, %v", line, got, err)
		}
	}
	if _, err := r.Open(sealed.Seal([]byte(`{"b":2}`))); err != nil {
		t.Error(err)
	}
	if _, err := r.Open([]byte(`{"a":1}`)); !errors.Is(err, sealed.ErrDamaged) {
		t.Errorf("a line without a checksum behind one with: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(`{"a":1}`), []byte(`{"a":1,"sum":"v1-0123456789abcdef"}`))
	f.Fuzz(func(t *testing.T, object, line []byte) {
		var r sealed.Reader
		_, _ = r.Open(line)
		if len(object) < 2 || object[len(object)-1] != '}' {
			return
		}
		if got, err := new(sealed.Reader).Open(sealed.Seal(object)); err != nil || string(got) != string(object) {
			t.Errorf("%q came back as %q, %v", object, got, err)
		}
	})
}
