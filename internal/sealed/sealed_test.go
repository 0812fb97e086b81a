package sealed_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
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

func TestFile(t *testing.T) {
	object, err := json.MarshalIndent(map[string]any{"a": 1, "b": []string{"x", "<y>"}, "c": map[string]int{"d": 2}}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	file := sealed.SealFile(append(object, '\n'))
	if !json.Valid(file) || !bytes.HasSuffix(file, []byte("\"\n}\n")) {
		t.Errorf("not as it should be: %s", file)
	}
	for _, in := range [][]byte{file, object, bytes.TrimSpace(file), append([]byte("\n"), file...)} { // the second is of an earlier version
		if got, err := sealed.OpenFile(in); err != nil || !bytes.Equal(got, object) {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
	for i := range file {
		for bit := range 8 {
			file[i] ^= 1 << bit
			var v map[string]any
			got, err := sealed.OpenFile(file)
			if err == nil && json.Unmarshal(got, &v) == nil && !bytes.Equal(got, object) && !bytes.Contains(got, object[:len(object)-2]) {
				t.Errorf("byte %d, bit %d: the change was not noticed: %s", i, bit, got)
			}
			file[i] ^= 1 << bit
		}
	}
	newer := bytes.Replace(file, []byte("v1-"), []byte("v2-"), 1)
	if _, err := sealed.OpenFile(newer); !errors.Is(err, sealed.ErrFileDamaged) || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("a checksum of another form: %v", err)
	}
}
