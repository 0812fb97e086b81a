package score

import (
	"slices"

	"github.com/budgetmem/budgetmem/internal/pytext"
)

// stem is the Porter stemmer (M. F. Porter, An algorithm for suffix stripping, 1980) as NLTK runs it by default, that is
// with NLTK's departures from the paper: a list of irregular forms, words of one or two letters left alone, "ies" and
// "ied" to "ie" in words of four letters, y to i only after a consonant, and more careful rules in steps 2 and 5. LoCoMo's
// F1 is defined on its output. The word is lower-cased first.
func stem(word string) string {
	if s, ok := irregular[word]; ok {
		return s
	}
	length := len([]rune(word))
	w := []rune(pytext.Lower(word))
	if length <= 2 {
		return string(w)
	}
	for _, step := range []func([]rune) []rune{step1a, step1b, step1c, step2, step3, step4, step5a, step5b} {
		w = step(w)
	}
	return string(w)
}

var irregular = map[string]string{
	"sky": "sky", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news",
	"innings": "inning", "inning": "inning", "outings": "outing", "outing": "outing",
	"cannings": "canning", "canning": "canning", "howe": "howe",
	"proceed": "proceed", "exceed": "exceed", "succeed": "succeed",
}

// A rule replaces a suffix if the stem before it meets the condition; nil means always.
type rule struct {
	suffix, replacement string
	condition           func(stem []rune) bool
}

// apply runs the first rule whose suffix fits; when its condition fails the word stays, without a look at the rest.
func apply(w []rune, rules []rule) []rune {
	for _, r := range rules {
		if stem, ok := cutSuffix(w, r.suffix); ok {
			if r.condition == nil || r.condition(stem) {
				return join(stem, r.replacement)
			}
			return w
		}
	}
	return w
}

func step1a(w []rune) []rune {
	if stem, ok := cutSuffix(w, "ies"); ok && len(w) == 4 {
		return join(stem, "ie")
	}
	return apply(w, []rule{{"sses", "ss", nil}, {"ies", "i", nil}, {"ss", "ss", nil}, {"s", "", nil}})
}

func step1b(w []rune) []rune {
	if stem, ok := cutSuffix(w, "ied"); ok {
		if len(w) == 4 {
			return join(stem, "ie")
		}
		return join(stem, "i")
	}
	if stem, ok := cutSuffix(w, "eed"); ok {
		if measure(stem) > 0 {
			return join(stem, "ee")
		}
		return w
	}
	stem, ok := cutSuffix(w, "ed")
	if !ok || !hasVowel(stem) {
		if stem, ok = cutSuffix(w, "ing"); !ok || !hasVowel(stem) {
			return w
		}
	}
	switch {
	case hasSuffix(stem, "at"), hasSuffix(stem, "bl"), hasSuffix(stem, "iz"):
		return join(stem, "e")
	case endsDouble(stem):
		if last := stem[len(stem)-1]; last != 'l' && last != 's' && last != 'z' {
			return stem[:len(stem)-1]
		}
		return stem
	case measure(stem) == 1 && endsCVC(stem):
		return join(stem, "e")
	}
	return stem
}

func step1c(w []rune) []rune {
	return apply(w, []rule{{"y", "i", func(stem []rune) bool { return len(stem) > 1 && consonant(stem, len(stem)-1) }}})
}

var rules2 = []rule{
	{"ational", "ate", measured}, {"tional", "tion", measured}, {"enci", "ence", measured}, {"anci", "ance", measured},
	{"izer", "ize", measured}, {"bli", "ble", measured}, {"alli", "al", measured}, {"entli", "ent", measured},
	{"eli", "e", measured}, {"ousli", "ous", measured}, {"ization", "ize", measured}, {"ation", "ate", measured},
	{"ator", "ate", measured}, {"alism", "al", measured}, {"iveness", "ive", measured}, {"fulness", "ful", measured},
	{"ousness", "ous", measured}, {"aliti", "al", measured}, {"iviti", "ive", measured}, {"biliti", "ble", measured},
	{"fulli", "ful", measured},
	// The l counts as part of the stem here, so that "geologi" is cut but "logi" is not.
	{"logi", "log", func(stem []rune) bool { return measure(join(stem, "l")) > 0 }},
}

func step2(w []rune) []rune {
	for {
		stem, ok := cutSuffix(w, "alli")
		if !ok || !measured(stem) {
			return apply(w, rules2)
		}
		w = join(stem, "al") // and once more, since "-al" may end a longer suffix
	}
}

func step3(w []rune) []rune {
	return apply(w, []rule{
		{"icate", "ic", measured}, {"ative", "", measured}, {"alize", "al", measured}, {"iciti", "ic", measured},
		{"ical", "ic", measured}, {"ful", "", measured}, {"ness", "", measured},
	})
}

func step4(w []rune) []rune {
	rules := make([]rule, 0, len(suffixes4))
	for _, s := range suffixes4 {
		condition := func(stem []rune) bool { return measure(stem) > 1 }
		if s == "ion" {
			condition = func(stem []rune) bool {
				return measure(stem) > 1 && (hasSuffix(stem, "s") || hasSuffix(stem, "t"))
			}
		}
		rules = append(rules, rule{s, "", condition})
	}
	return apply(w, rules)
}

var suffixes4 = []string{
	"al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
	"ous", "ive", "ize",
}

func step5a(w []rune) []rune {
	stem, ok := cutSuffix(w, "e")
	if m := measure(stem); ok && (m > 1 || m == 1 && !endsCVC(stem)) {
		return stem
	}
	return w
}

func step5b(w []rune) []rune {
	if hasSuffix(w, "ll") && measure(w[:len(w)-1]) > 1 {
		return w[:len(w)-1]
	}
	return w
}

// consonant reports whether w[i] is one: any character but a, e, i, o, u, and y after a consonant.
func consonant(w []rune, i int) bool {
	// A run of y's alternates, so walk back to its start instead of recursing.
	start := i
	for start > 0 && w[start] == 'y' {
		start--
	}
	first := !isVowel(w[start])
	return first == ((i-start)%2 == 0)
}

func isVowel(r rune) bool { return r == 'a' || r == 'e' || r == 'i' || r == 'o' || r == 'u' }

// measure is Porter's m: how often a vowel is followed by a consonant.
func measure(w []rune) int {
	m, before := 0, true
	for i, r := range w {
		now := !isVowel(r)
		if r == 'y' {
			now = i == 0 || !before
		}
		if now && !before {
			m++
		}
		before = now
	}
	return m
}

func measured(stem []rune) bool { return measure(stem) > 0 }

func hasVowel(w []rune) bool {
	for i, r := range w {
		// The first y after anything but a vowel is one itself.
		if isVowel(r) || r == 'y' && i > 0 {
			return true
		}
	}
	return false
}

func endsDouble(w []rune) bool {
	n := len(w)
	return n >= 2 && w[n-1] == w[n-2] && consonant(w, n-1)
}

// endsCVC: consonant, vowel, consonant other than w, x, y; or the whole word is a vowel and a consonant.
func endsCVC(w []rune) bool {
	n := len(w)
	if n == 2 {
		return !consonant(w, 0) && consonant(w, 1)
	}
	return n >= 3 && consonant(w, n-3) && !consonant(w, n-2) && consonant(w, n-1) &&
		w[n-1] != 'w' && w[n-1] != 'x' && w[n-1] != 'y'
}

func hasSuffix(w []rune, suffix string) bool {
	_, ok := cutSuffix(w, suffix)
	return ok
}

// cutSuffix returns w without an ASCII suffix.
func cutSuffix(w []rune, suffix string) (stem []rune, ok bool) {
	n := len(w) - len(suffix)
	if n < 0 {
		return w, false
	}
	for i := range len(suffix) {
		if w[n+i] != rune(suffix[i]) {
			return w, false
		}
	}
	return w[:n], true
}

// join never writes into the array that stem may share with another slice.
func join(stem []rune, suffix string) []rune { return slices.Concat(stem, []rune(suffix)) }
