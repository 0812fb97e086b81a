// Package punkt splits English text into sentences by the Punkt algorithm (T. Kiss and J. Strunk, Unsupervised Multilingual
// Sentence Boundary Detection, Computational Linguistics 32, 2006), with NLTK's English model and to NLTK's result.
package punkt

import (
	"strings"
	"sync"

	"gopkg.in/neurosnap/sentences.v1"
	"gopkg.in/neurosnap/sentences.v1/data"

	"github.com/budgetmem/budgetmem/internal/pytext"
)

// The model is taken from a Go package, but not its splitter, which differs from NLTK where a full stop is followed by
// another mark.
var model = sync.OnceValue(func() *sentences.Storage {
	text, err := data.Asset("data/english.json")
	if err != nil {
		panic("punkt: the English model is not in its package: " + err.Error())
	}
	m, err := sentences.LoadTraining(text)
	if err != nil {
		panic("punkt: the English model: " + err.Error())
	}
	return m
})

// Where the model has seen a word in upper or lower case: bits of Storage.OrthoContext.
const (
	seenUpperInside = 1 << 2
	seenUpper       = 1<<1 | 1<<2 | 1<<3
	seenLowerFirst  = 1 << 4
	seenLower       = 1<<4 | 1<<5 | 1<<6
)

// Sentences returns the sentences of text in order, without the white space between them. Text that holds only white
// space has none. It is safe for concurrent use.
func Sentences(text string) []string {
	runes := []rune(strings.TrimRightFunc(text, pytext.IsSpace))
	spans := split(runes)
	var out []string
	skip := 0
	for i, s := range spans {
		s.start += skip
		skip = 0
		// Closing quotes and brackets after a break belong to the sentence before it.
		if i+1 < len(spans) {
			next := spans[i+1]
			if marks, all := closing(runes[next.start:next.end]); marks > 0 {
				s.end, skip = next.start+marks, all
			}
		}
		if sentence := pytext.Strip(string(runes[min(s.start, s.end):s.end])); sentence != "" {
			out = append(out, sentence)
		}
	}
	return out
}

// span is a part of a text in characters.
type span struct{ start, end int }

// split cuts text after each mark that ends a sentence.
func split(text []rune) []span {
	var out []span
	start := 0
	for _, c := range candidates(text) {
		if hasBreak(tokens(text[c.word:c.end])) {
			out = append(out, span{start, c.mark + 1})
			start = c.next
		}
	}
	return append(out, span{min(start, len(text)), len(text)})
}

// closing measures the closing quotes and brackets at the start of text: their number, and their length with the white
// space after them. Both are 0 when a word follows at once.
func closing(text []rune) (marks, all int) {
	for marks < len(text) && strings.ContainsRune(`"')]}`, text[marks]) {
		marks++
	}
	all = marks
	for all < len(text) && pytext.IsSpace(text[all]) {
		all++
	}
	if marks < all || marks == len(text) || strings.HasPrefix(string(text[marks:min(marks+2, len(text))]), "--") {
		return marks, all
	}
	return 0, 0
}

// candidate is a mark that may end a sentence, with its surroundings.
type candidate struct {
	word, mark int // where the word before the mark starts, and the mark
	next, end  int // where the text continues after a break, and the end of what follows the mark closely
}

// candidates finds the marks . ? ! that something follows, one for every word before them: the last.
func candidates(text []rune) []candidate {
	var out []candidate
	before := span{} // the word before the last mark found
	for i, r := range text {
		if r != '.' && r != '?' && r != '!' {
			continue
		}
		c := candidate{mark: i, next: i + 1, end: i + 1}
		if !c.follow(text) {
			continue
		}
		c.word = before.start
		for j := i - 1; j > before.end; j-- { // a space right at before.end is passed over, as NLTK does
			if strings.ContainsRune(" \t\n\r\v\f", text[j]) {
				c.word = j + 1
				break
			}
		}
		if n := len(out); n > 0 && before.end > c.word {
			out = out[:n-1] // the same word continues
		}
		out = append(out, c)
		before = span{c.word, i}
	}
	return out
}

// follow sets next and end by what comes after the mark; it reports false if that is neither a mark set off from words
// nor white space and a word.
func (c *candidate) follow(text []rune) bool {
	i := c.mark + 1
	if i < len(text) && isNonWord(text[i]) {
		c.end = i + 1
		return true
	}
	for i < len(text) && pytext.IsSpace(text[i]) {
		i++
	}
	if i == c.mark+1 || i == len(text) {
		return false
	}
	c.next = i
	for i < len(text) && !pytext.IsSpace(text[i]) {
		i++
	}
	c.end = i
	return true
}

// hasBreak reports whether a sentence ends before the last token.
func hasBreak(tokens []token) bool {
	for i := range tokens {
		tokens[i].classify()
	}
	for i := range len(tokens) - 1 {
		tokens[i].reconsider(&tokens[i+1])
		if tokens[i].sentenceEnd {
			return true
		}
	}
	return false
}
