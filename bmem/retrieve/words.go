package retrieve

import (
	"strings"
	"unicode"

	"github.com/kljensen/snowball/english"
)

// words cuts a text into runs of letters and digits, as written but without a possessive 's.
func words(text string) []string {
	text = apostrophes.Replace(text)
	fields := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '\'' && !unicode.IsMark(r) })
	kept := fields[:0]
	for _, w := range fields {
		w = strings.Trim(w, "'")
		w = strings.TrimSuffix(strings.TrimSuffix(w, "'s"), "'S")
		if w != "" {
			kept = append(kept, w)
		}
	}
	return kept
}

var apostrophes = strings.NewReplacer("\u2019", "'", "\u2018", "'")

// contentWords returns the lower-cased words of a text that carry meaning, or all of them if none does.
func contentWords(text string) []string {
	var all, content []string
	for _, w := range words(text) {
		w = strings.ToLower(w)
		all = append(all, w)
		if !isStop(w) {
			content = append(content, w)
		}
	}
	if len(content) == 0 {
		return all
	}
	return content
}

// isStop reports whether a lower-case word carries too little meaning to search for.
func isStop(w string) bool {
	return english.IsStopWord(w) || strings.Contains(w, "'") || len(w) == 1 && (w[0] < '0' || w[0] > '9')
}

// stem is the Snowball (Porter 2) stem of a lower-case word.
func stem(w string) string { return english.Stem(w, true) }
