package tokenizer

import (
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// splitter returns the length in bytes, at least 1, of the first word of s (not empty, valid UTF-8). Merges never cross
// the border of a word. The published definitions are regular expressions with a lookahead, quoted at each splitter; the
// hand-written scanners are about fifty times as fast as running those (BenchmarkSplit).
type splitter func(s string) int

// preTokenizer describes a value of tokenizer.ggml.pre.
type preTokenizer struct {
	split splitter
	// wholeWords: a word that is a token is that token, regardless of the merges.
	wholeWords bool
	// addBOS is the default where the metadata has no add_bos_token.
	addBOS bool
}

var preTokenizers = map[string]preTokenizer{
	"gpt-2":     {split: func(s string) int { return splitGPT2(s, false) }},
	"smollm":    {split: func(s string) int { return splitGPT2(s, true) }},
	"qwen2":     {split: func(s string) int { return splitLlama3(s, 1) }},
	"llama-bpe": {split: func(s string) int { return splitLlama3(s, 3) }, wholeWords: true, addBOS: true},
}

func knownPreTokenizers() string {
	return strings.Join(slices.Sorted(maps.Keys(preTokenizers)), ", ")
}

// class is a character's class for the splitters.
type class uint8

const (
	other  class = iota
	letter       // \p{L}
	number       // \p{N}
	space        // \s: the Unicode property White_Space
)

var asciiClass = func() (table [utf8.RuneSelf]class) {
	for r := range table {
		table[r] = unicodeClass(rune(r))
	}
	return table
}()

func unicodeClass(r rune) class {
	switch {
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// first returns the class of the first character of s and its length in bytes: 0 at the end of s.
func first(s string) (class, int) {
	if s == "" {
		return other, 0
	}
	if s[0] < utf8.RuneSelf {
		return asciiClass[s[0]], 1
	}
	r, n := utf8.DecodeRuneInString(s)
	return unicodeClass(r), n
}

// run returns the length in bytes of the longest prefix of s whose characters are all of class c, of at most max
// characters.
func run(s string, c class, max int) int {
	end := 0
	for range max {
		got, n := first(s[end:])
		if n == 0 || got != c {
			break
		}
		end += n
	}
	return end
}

const unbounded = int(^uint(0) >> 1)

// splitGPT2 is
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// and with loneDigits the same after every \p{N} has been cut out as a word of its own, which also ends the text before
// it: "  1" is then two spaces and a digit.
func splitGPT2(s string, loneDigits bool) int {
	if n := contraction(s, false); n > 0 {
		return n
	}
	blank := 0
	if s[0] == ' ' {
		blank = 1
	}
	switch c, n := first(s[blank:]); {
	case n == 0 || c == space:
	case c == number && loneDigits:
		if blank == 0 {
			return n
		}
	default:
		return blank + run(s[blank:], c, unbounded)
	}
	n := run(s, space, unbounded)
	if c, size := first(s[n:]); size == 0 || c == number && loneDigits {
		return n
	}
	return allButLast(s[:n])
}

// splitLlama3 is
//
//	(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
func splitLlama3(s string, digits int) int {
	if n := contraction(s, true); n > 0 {
		return n
	}
	c, n := first(s)
	switch {
	case c == letter:
		return run(s, letter, unbounded)
	case c == number:
		return run(s, number, digits)
	case s[0] != '\r' && s[0] != '\n':
		if letters := run(s[n:], letter, unbounded); letters > 0 {
			return n + letters
		}
	}
	blank := 0
	if s[0] == ' ' {
		blank = 1
	}
	if end := blank + run(s[blank:], other, unbounded); end > blank {
		for end < len(s) && (s[end] == '\r' || s[end] == '\n') {
			end++
		}
		return end
	}
	n = run(s, space, unbounded)
	if newline := strings.LastIndexAny(s[:n], "\r\n"); newline >= 0 {
		return newline + 1
	}
	if n == len(s) {
		return n
	}
	return allButLast(s[:n])
}

// allButLast returns the length of the blanks without the last one, which belongs to the word after them, or the length
// of the only one.
func allButLast(blanks string) int {
	_, last := utf8.DecodeLastRuneInString(blanks)
	if last == len(blanks) {
		return last
	}
	return len(blanks) - last
}

// contraction returns the length of the English contraction that s begins with, 0 for none.
func contraction(s string, anyCase bool) int {
	if s[0] != '\'' {
		return 0
	}
	for _, end := range [...]string{"s", "t", "re", "ve", "m", "ll", "d"} {
		if len(s) <= len(end) {
			continue
		}
		got := s[1 : 1+len(end)]
		if got == end || anyCase && asciiLower(got) == end {
			return 1 + len(end)
		}
	}
	return 0
}

// asciiLower keeps strings.EqualFold's long s and Kelvin sign out of it.
func asciiLower(s string) string {
	var buf [2]byte
	for i := range len(s) {
		buf[i] = s[i]
		if 'A' <= s[i] && s[i] <= 'Z' {
			buf[i] += 'a' - 'A'
		}
	}
	return string(buf[:len(s)])
}
