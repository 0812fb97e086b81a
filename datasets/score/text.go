package score

import (
	"strings"
	"unicode"
)

// asciiPunctuation is Python's string.punctuation.
const asciiPunctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

func removePunctuation(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && strings.ContainsRune(asciiPunctuation, r) {
			return -1
		}
		return r
	}, s)
}

// wordRegex tells the word characters of Python's third-party module regex, which LoCoMo's script uses: letters, marks,
// decimal digits, connecting punctuation and joiners, but not ² or ½.
func wordRegex(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
}

// wordRe tells the word characters of Python's own module re, which HotpotQA's script uses: letters, all numbers, and
// the underscore, but no marks.
func wordRe(r rune) bool { return r == '_' || unicode.In(r, unicode.L, unicode.N) }

// removeWords replaces by a space each of the given words that stands between word boundaries, word telling what a word
// character is.
func removeWords(s string, word func(rune) bool, remove ...string) string {
	var b strings.Builder
	b.Grow(len(s))
	for s != "" {
		n := strings.IndexFunc(s, word)
		if n < 0 {
			n = len(s)
		}
		b.WriteString(s[:n])
		s = s[n:]
		n = strings.IndexFunc(s, func(r rune) bool { return !word(r) })
		if n < 0 {
			n = len(s)
		}
		run := s[:n]
		for _, w := range remove {
			if run == w {
				run = " "
				break
			}
		}
		b.WriteString(run)
		s = s[n:]
	}
	return b.String()
}
