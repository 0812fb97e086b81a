package text

import (
	"embed"
	"iter"
	"path"
	"strings"
	"sync"
	"unicode"

	"github.com/blevesearch/snowballstem"
	"github.com/blevesearch/snowballstem/arabic"
	"github.com/blevesearch/snowballstem/danish"
	"github.com/blevesearch/snowballstem/dutch"
	"github.com/blevesearch/snowballstem/english"
	"github.com/blevesearch/snowballstem/finnish"
	"github.com/blevesearch/snowballstem/french"
	"github.com/blevesearch/snowballstem/german"
	"github.com/blevesearch/snowballstem/hungarian"
	"github.com/blevesearch/snowballstem/italian"
	"github.com/blevesearch/snowballstem/norwegian"
	"github.com/blevesearch/snowballstem/portuguese"
	"github.com/blevesearch/snowballstem/romanian"
	"github.com/blevesearch/snowballstem/russian"
	"github.com/blevesearch/snowballstem/spanish"
	"github.com/blevesearch/snowballstem/swedish"
	"github.com/blevesearch/snowballstem/turkish"
)

// Language is the ISO 639-1 code of a language, which decides which words carry meaning and which forms belong to one word.
// The zero value is English.
type Language string

const (
	// English is the language that everything in this package knows.
	English Language = ""
	// Unknown is a language that Detect does not know. Its words are compared as they are written.
	Unknown Language = "und"
)

// stemmers are the Snowball stemmers by language.
var stemmers = map[Language]func(*snowballstem.Env) bool{
	English: english.Stem, "ar": arabic.Stem, "da": danish.Stem, "de": german.Stem, "es": spanish.Stem, "fi": finnish.Stem, "fr": french.Stem,
	"hu": hungarian.Stem, "it": italian.Stem, "nl": dutch.Stem, "no": norwegian.Stem, "pt": portuguese.Stem, "ro": romanian.Stem,
	"ru": russian.Stem, "sv": swedish.Stem, "tr": turkish.Stem,
}

// unspacedLanguages have no endings to take off: Tokens cuts them into pairs of characters.
var unspacedLanguages = map[Language]bool{"zh": true, "ja": true, "ko": true, "th": true, "lo": true, "km": true, "my": true}

// languageNames are the names of the languages that Detect can return.
var languageNames = map[Language]string{
	English: "English", Unknown: "an unknown language", "ar": "Arabic", "bg": "Bulgarian", "ca": "Catalan", "cs": "Czech", "da": "Danish",
	"de": "German", "el": "Greek", "es": "Spanish", "eu": "Basque", "fa": "Persian", "fi": "Finnish", "fr": "French", "gl": "Galician",
	"hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "km": "Khmer",
	"ko": "Korean", "lo": "Lao", "my": "Burmese", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian",
	"ru": "Russian", "sv": "Swedish", "th": "Thai", "tr": "Turkish", "zh": "Chinese",
}

// Stop words come from the Snowball project and from Apache Lucene, by way of bleve; those of Chinese, Japanese, Korean and
// Thai are this project's own.
//
//go:embed stopwords/*.txt
var stopwordFiles embed.FS

// stopwordsOf returns the stop words of every language, which are read once.
var stopwordsOf = sync.OnceValue(func() map[Language]map[string]bool {
	all := map[Language]map[string]bool{English: stopwords}
	files, err := stopwordFiles.ReadDir("stopwords")
	if err != nil {
		panic(err) // the folder is part of the binary
	}
	for _, f := range files {
		data, err := stopwordFiles.ReadFile(path.Join("stopwords", f.Name()))
		if err != nil {
			panic(err)
		}
		all[Language(strings.TrimSuffix(f.Name(), ".txt"))] = set(string(data))
	}
	return all
})

// String is the language's English name.
func (l Language) String() string {
	if name, ok := languageNames[l]; ok {
		return name
	}
	return string(l)
}

// Limits says in a sentence what this program lacks for the language; "" if nothing.
func (l Language) Limits() string {
	_, stems := stemmers[l]
	switch {
	case l == English:
		return ""
	case l == Unknown:
		return "the language of this memory is not recognised: words are found only as they are written, and notes and dates are made for English"
	case !stems && !unspacedLanguages[l]:
		return "this memory is in " + l.String() + ", of which no word endings are known: words are found only in the form in which they are written"
	}
	return ""
}

// Stem returns the stem of a lower-case word, so that "camped" and "camping" meet.
func (l Language) Stem(w string) string {
	stem, ok := stemmers[l]
	if !ok || len(w) <= 2 || len(w) > maxStemmed {
		return w
	}
	env := snowballstem.NewEnv(w)
	stem(env)
	return env.Current()
}

// maxStemmed is the longest word that is stemmed, in bytes. What is longer is no word of a language.
const maxStemmed = 100

// IsStop reports whether a lower-case word carries too little meaning to match on: function words, contractions, single
// Latin letters.
func (l Language) IsStop(w string) bool {
	if len(w) == 1 {
		return w[0] < '0' || w[0] > '9'
	}
	return stopwordsOf()[l][w] || l == English && contracted(w)
}

func contracted(w string) bool {
	_, ending, ok := strings.Cut(w, "'")
	if !ok {
		return false
	}
	switch ending {
	case "d", "ll", "m", "re", "t", "ve":
		return true
	}
	return false
}

// ContentWords returns the Words of s that are no stop words.
func (l Language) ContentWords(s string) []string {
	words := Words(s)
	kept := words[:0]
	for _, w := range words {
		if !l.IsStop(w) {
			kept = append(kept, w)
		}
	}
	return kept
}

// Stems returns the set of stems of the content words of s.
func (l Language) Stems(s string) map[string]bool {
	set := map[string]bool{}
	for _, w := range l.ContentWords(s) {
		set[l.Stem(w)] = true
	}
	return set
}

const (
	// sampleWords is how many words Detect looks at.
	sampleWords = 20_000
	// leastWords is how many words of an alphabet it takes to call a language unknown.
	leastWords = 12
	// leastStops is the share of stop words that running text in a language has at least; it is usually a third or more.
	leastStops = 0.1
)

// Detect returns the language of a history from the scripts that it is written in and, for languages with an alphabet, from
// their stop words. Too few words to tell, and none at all, are English.
func Detect(texts iter.Seq[string]) Language {
	var d Detector
	for s := range texts {
		if !d.Add(s) {
			break
		}
	}
	return d.Language()
}

// Detector is Detect for a history that grows. The zero value has seen nothing.
type Detector struct {
	scripts, stops map[Language]int
	words, letters int
}

// Add looks at the next text. It returns false, and looks at none any more, when enough words were seen.
func (d *Detector) Add(s string) bool {
	if d.words+d.letters/5 > 2*sampleWords {
		return false
	}
	if d.scripts == nil {
		d.scripts, d.stops = map[Language]int{}, map[Language]int{}
	}
	for _, w := range strings.Fields(strings.ToLower(s)) {
		for _, r := range w {
			if l, ok := languageOf(r); ok {
				d.scripts[l]++
			} else if unicode.IsLetter(r) {
				d.letters++
			}
		}
	}
	for _, w := range Words(s) {
		if first := []rune(w)[0]; !unicode.IsLetter(first) || unspaced(first) {
			continue
		}
		d.words++
		for l, list := range stopwordsOf() {
			if list[w] {
				d.stops[l]++
			}
		}
	}
	return true
}

// Language returns the language of the texts so far.
func (d *Detector) Language() Language {
	words, letters := d.words, d.letters
	if l, n := most(d.scripts); n*2 > letters { // a character of these scripts says about as much as two letters
		if l == "zh" && d.scripts["ja"]*20 > n || l == "ja" {
			return "ja"
		}
		return l
	}
	best, n := most(d.stops)
	switch {
	case d.stops[English] >= n || words < leastWords && n < 2:
		return English
	case float64(n) < leastStops*float64(words):
		if words < leastWords {
			return English
		}
		return Unknown
	}
	return best
}

// languageOf returns the language that a script without spaces is used for. Chinese characters are also used in Japanese.
func languageOf(r rune) (Language, bool) {
	switch {
	case r < 0x0e00:
		return "", false
	case unicode.Is(unicode.Han, r):
		return "zh", true
	case unicode.In(r, unicode.Hiragana, unicode.Katakana):
		return "ja", true
	case unicode.Is(unicode.Hangul, r):
		return "ko", true
	case unicode.Is(unicode.Thai, r):
		return "th", true
	case unicode.Is(unicode.Lao, r):
		return "lo", true
	case unicode.Is(unicode.Khmer, r):
		return "km", true
	case unicode.Is(unicode.Myanmar, r):
		return "my", true
	}
	return "", false
}

// most returns the language that was counted most often, the first by its code among equals.
func most(counts map[Language]int) (Language, int) {
	best, n := English, 0
	for l, c := range counts {
		if c > n || c == n && l < best {
			best, n = l, c
		}
	}
	return best, n
}
