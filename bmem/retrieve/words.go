package retrieve

import (
	"strings"
	"unicode"

	"github.com/kljensen/snowball/english"
)

// words cuts a text into runs of letters and digits, as written but without a possessive 's.
func words(text string) []string {
	fields := strings.FieldsFunc(apostrophes.Replace(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && r != '\''
	})
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

// apostrophes makes typographic apostrophes plain.
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

// isStop reports whether a lower-case word carries too little meaning to search for: stop words, contractions, single letters.
func isStop(w string) bool {
	return english.IsStopWord(w) || strings.Contains(w, "'") || len(w) == 1 && (w[0] < '0' || w[0] > '9')
}

// vocabulary numbers stems (Snowball, Porter 2). It remembers the words it has stemmed, since that is the slow part and words repeat.
type vocabulary struct {
	ofWord map[string]int32
	ofStem map[string]int32
}

func newVocabulary() *vocabulary {
	return &vocabulary{ofWord: map[string]int32{}, ofStem: map[string]int32{}}
}

// add returns the number of a lower-case word's stem, a new one if need be.
func (v *vocabulary) add(word string) int32 {
	if id, ok := v.ofWord[word]; ok {
		return id
	}
	stem := english.Stem(word, true)
	id, ok := v.ofStem[stem]
	if !ok {
		id = int32(len(v.ofStem))
		v.ofStem[stem] = id
	}
	v.ofWord[word] = id
	return id
}

// find returns the number of a lower-case word's stem, -1 if no text holds it. It changes nothing.
func (v *vocabulary) find(word string) int32 {
	if id, ok := v.ofWord[word]; ok {
		return id
	}
	if id, ok := v.ofStem[english.Stem(word, true)]; ok {
		return id
	}
	return -1
}
