package text

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"golang.org/x/text/unicode/norm"
)

// apostrophes makes typographic apostrophes plain, so that "don’t" and "don't" are one word.
var apostrophes = strings.NewReplacer("\u2019", "'", "\u2018", "'")

// Tokens returns the words and numbers of s in order, without a possessive 's. They keep their case; letters that Unicode can
// write in several ways (accents apart from their letter, wide and narrow forms, ligatures) come in one (NFKC).
//
// Scripts that put no spaces between words (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese) are cut as search engines
// without a dictionary do it, into overlapping pairs of neighbouring characters; Chinese characters, which are often words,
// and words of Katakana also stand alone. Korean has spaces, but its particles are written onto the words.
func Tokens(s string) []string {
	if tokens, ok := asciiTokens(s); ok {
		return tokens
	}
	return anyTokens(s)
}

func anyTokens(s string) []string {
	fields := strings.FieldsFunc(apostrophes.Replace(norm.NFKC.String(s)), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) && r != '\''
	})
	tokens := make([]string, 0, len(fields))
	for _, f := range fields {
		f = strings.Trim(f, "'")
		f = strings.TrimSuffix(strings.TrimSuffix(f, "'s"), "'S")
		switch {
		case f == "":
		case Unspaced(f):
			tokens = appendSegments(tokens, f)
		default:
			tokens = append(tokens, f)
		}
	}
	return tokens
}

// asciiTokens is Tokens for text that is ASCII, several times as quick; ok is false for other text.
func asciiTokens(s string) (tokens []string, ok bool) {
	tokens = make([]string, 0, len(s)/5+1)
	start := -1 // of the word that i is in
	for i := 0; i <= len(s); i++ {
		var c byte
		if i < len(s) {
			c = s[i]
		}
		switch {
		case c >= utf8.RuneSelf:
			return nil, false
		case c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '\'':
			if start < 0 {
				start = i
			}
		case start >= 0:
			f := strings.Trim(s[start:i], "'")
			if f = strings.TrimSuffix(strings.TrimSuffix(f, "'s"), "'S"); f != "" {
				tokens = append(tokens, f)
			}
			start = -1
		}
	}
	return tokens, true
}

// Words returns the Tokens of s in lower case.
func Words(s string) []string { return Tokens(strings.ToLower(s)) }

// Spaced returns s with spaces where Tokens cuts scripts that have none, and in place of their punctuation, for programs that
// know words by white space. Everything else stays as it is.
func Spaced(s string) string {
	if !Unspaced(s) {
		return s
	}
	var b strings.Builder
	for s != "" {
		n := strings.IndexFunc(s, unspaced)
		if n < 0 {
			n = len(s)
		}
		b.WriteString(widePunctuation.Replace(s[:n]))
		s = s[n:]
		end := strings.IndexFunc(s, func(r rune) bool { return !unspaced(r) && !unicode.IsMark(r) })
		if end < 0 {
			end = len(s)
		}
		if end > 0 {
			b.WriteString(" " + strings.Join(appendPairs(nil, s[:end]), " ") + " ")
		}
		s = s[end:]
	}
	return b.String()
}

var widePunctuation = strings.NewReplacer("。", " ", "，", ", ", "、", ", ", "！", " ", "？", " ", "「", " ", "」", " ", "・", " ", "：", " ", "；", " ")

// unspacedScripts are the scripts that Tokens cuts into pairs.
var unspacedScripts = []*unicode.RangeTable{unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar}

// Unspaced reports whether a letter of s is of a script that Tokens cuts into pairs.
func Unspaced(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return unspaced(r) && unicode.IsLetter(r) }) >= 0
}

// unspaced reports whether words of the character's script are not separated by spaces.
func unspaced(r rune) bool {
	if r < 0x0e00 || !unicode.IsLetter(r) && !unicode.IsMark(r) {
		return false
	}
	return unicode.In(r, unspacedScripts...) || r == 'ー' // the mark of a long vowel belongs to no script
}

// appendSegments cuts a word that holds characters of unspaced scripts.
func appendSegments(tokens []string, word string) []string {
	for word != "" {
		n := strings.IndexFunc(word, unspaced)
		if n < 0 {
			return append(tokens, word)
		}
		if n > 0 {
			tokens = append(tokens, word[:n])
			word = word[n:]
		}
		end := strings.IndexFunc(word, func(r rune) bool { return !unspaced(r) && !unicode.IsMark(r) })
		if end < 0 {
			end = len(word)
		}
		tokens, word = appendPairs(tokens, word[:end]), word[end:]
	}
	return tokens
}

// appendPairs cuts a run of characters of unspaced scripts into pieces, which are words of Katakana or single characters with
// their marks, and adds the pieces that can be words and all pairs.
func appendPairs(tokens []string, run string) []string {
	last := ""
	for rest, piece := run, ""; rest != ""; last = piece {
		first, size := utf8.DecodeRuneInString(rest)
		katakana := unicode.Is(unicode.Katakana, first)
		if katakana {
			piece, rest, _ = uniseg.FirstWordInString(rest, -1)
		} else {
			piece, rest, _, _ = uniseg.FirstGraphemeClusterInString(rest, -1)
		}
		if last != "" {
			tokens = append(tokens, last+piece)
		}
		if unicode.Is(unicode.Han, first) || katakana && len(piece) > size || piece == run {
			tokens = append(tokens, piece)
		}
	}
	return tokens
}
