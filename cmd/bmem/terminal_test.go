package main

import (
	"bytes"
	"testing"
)

// However output is cut into pieces, no control character, and no byte that is one to a terminal of eight bits, gets through.
func TestTerminal(t *testing.T) {
	const text = "a\x1b[31mred\x07\u009b1m\xc2b\xff\x9bc\tgrün 日本\r\nnext\n"
	const want = "a\uFFFD[31mred\uFFFD\uFFFD1m\uFFFDb\uFFFDc\tgrün 日本\nnext\n"
	for size := 1; size <= len(text); size++ {
		var got bytes.Buffer
		out := &terminal{w: &got}
		for from := 0; from < len(text); from += size {
			piece := text[from:min(from+size, len(text))]
			if n, err := out.Write([]byte(piece)); n != len(piece) || err != nil {
				t.Fatal(n, err)
			}
		}
		// A carriage return that ends a piece stands alone; a run of wrong bytes may be one mark or two.
		if s := normal(got.String()); s != normal(want) {
			t.Errorf("in pieces of %d: %q, want %q", size, s, want)
		}
	}
}

// normal has one mark for several, and none before a line break.
func normal(s string) string {
	var out []rune
	for _, r := range s {
		switch {
		case r == '\uFFFD' && len(out) > 0 && out[len(out)-1] == r:
			continue
		case r == '\n' && len(out) > 0 && out[len(out)-1] == '\uFFFD':
			out = out[:len(out)-1]
		}
		out = append(out, r)
	}
	return string(out)
}
