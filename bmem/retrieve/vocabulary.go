package retrieve

import (
	"strings"

	"github.com/budgetmem/budgetmem/tiers/text"
)

// vocabulary numbers the stems of a memory's language. It remembers what it found out about each word, since stemming is the
// slow part and words repeat.
type vocabulary struct {
	language text.Language
	known    map[string]entry
	stems    int32 // how many
}

// entry is what is known of a string as a word that is written so, and as a stem. Both lie in one map, since most stems are words.
type entry struct {
	word word
	stem int32 // its number plus one; 0 if it is no stem
}

// word packs what is known of a word; 0 is nothing.
type word uint32

// stopWord is the stem of words that carry no meaning.
const stopWord = -1

func newWord(stem int32, number, time bool) word {
	w := word(stem+2) << 2
	if number {
		w |= 1
	}
	if time {
		w |= 2
	}
	return w
}

// stem is the number of the word's stem, or stopWord.
func (w word) stem() int32 { return int32(w>>2) - 2 }

// number says whether it is a number.
func (w word) number() bool { return w&1 != 0 }

// time says whether it names a time, such as "yesterday" or "2022".
func (w word) time() bool { return w&2 != 0 }

func newVocabulary(l text.Language) *vocabulary {
	return &vocabulary{language: l, known: map[string]entry{}}
}

// add returns the number of a lower-case word's stem, a new one if need be.
func (v *vocabulary) add(word string) int32 {
	stem := v.language.Stem(word)
	e := v.known[stem]
	if e.stem == 0 {
		v.stems++
		e.stem = v.stems
		if stem != word {
			stem = strings.Clone(stem) // not a piece of a text that would be kept with it
		}
		v.known[stem] = e
	}
	return e.stem - 1
}

// look returns what is known of a word, after having looked at it the first time.
func (v *vocabulary) look(w string) word {
	known := v.known[w].word
	if known == 0 {
		w = strings.Clone(w) // not a piece of a text that would be kept with it
		lower := strings.ToLower(w)
		digits := strings.Trim(w, "0123456789") == ""
		stem := int32(stopWord)
		if !v.language.IsStop(lower) {
			stem = v.add(lower)
		}
		known = newWord(stem, digits || numberWords[lower], digits && len(w) == 4 && w > "1500" && w < "2100" || w == "May" || timeWords[lower])
		v.known[w] = entry{known, v.known[w].stem}
	}
	return known
}

// addAll returns the numbers of the stems of the words that are no stop words.
func (v *vocabulary) addAll(words []string) []int32 {
	var ids []int32
	for _, w := range words {
		if stem := v.look(w).stem(); stem != stopWord {
			ids = append(ids, stem)
		}
	}
	return ids
}

// find returns the number of a lower-case word's stem, -1 if no text holds it. It changes nothing.
func (v *vocabulary) find(word string) int32 {
	if known := v.known[word].word; known != 0 {
		return known.stem()
	}
	return v.known[v.language.Stem(word)].stem - 1
}
