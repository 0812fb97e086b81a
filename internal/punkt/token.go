package punkt

import (
	"slices"
	"strings"
	"unicode"

	"github.com/budgetmem/budgetmem/internal/pytext"
)

// token is a word, or a mark set off from words, classified by its own form.
type token struct {
	text []rune
	kind string // lower case, numbers as "##number##"

	sentenceEnd, abbreviation, ellipsis bool
}

const number = "##number##"

// tokens splits text into words and marks. Full stops stay with the word before them.
func tokens(text []rune) []token {
	var out []token
	for i := 0; i < len(text); {
		if pytext.IsSpace(text[i]) {
			i++
			continue
		}
		end := wordEnd(text, i)
		t := token{text: text[i:end]}
		t.kind = pytext.Lower(string(t.text))
		if isNumeric([]rune(t.kind)) {
			t.kind = number
		}
		out = append(out, t)
		i = end
	}
	return out
}

// wordEnd returns where the token that starts at i ends. White space in an ellipsis such as ". . ." does not end it.
func wordEnd(text []rune, i int) int {
	if n := multiMark(text[i:]); n > 0 {
		return i + n
	}
	end := i + 1
	if strings.ContainsRune("(\"`{[:;&#*@)}]-,", text[i]) {
		return end
	}
	for !endsWord(text[end:]) && !(text[end] == ',' && endsWord(text[end+1:])) {
		end++
	}
	return end
}

// endsWord reports whether rest starts with what cannot go on in a word, or is empty.
func endsWord(rest []rune) bool {
	return len(rest) == 0 || pytext.IsSpace(rest[0]) || isNonWord(rest[0]) || multiMark(rest) > 0
}

func isNonWord(r rune) bool { return strings.ContainsRune(`)";}]*:@'({[?!`, r) }

// multiMark returns the length of the dash or ellipsis that text starts with: two or more hyphens, two or more full stops,
// or three or more with a space between; 0 if there is none.
func multiMark(text []rune) int {
	if len(text) < 2 || text[0] != '-' && text[0] != '.' {
		return 0
	}
	if n := runLength(text); n >= 2 {
		return n
	}
	n, stops := 0, 0
	for text[0] == '.' && n+2 < len(text) && pytext.IsSpace(text[n+1]) && text[n+1] != '\n' && text[n+2] == '.' {
		n += 2
		stops++
	}
	if stops < 2 {
		return 0
	}
	return n + 1
}

// runLength is how often the first character is repeated at the start of text.
func runLength(text []rune) int {
	n := 1
	for n < len(text) && text[n] == text[0] {
		n++
	}
	return n
}

// isNumeric reports whether a token is digits with commas, full stops and hyphens in between, perhaps signed.
func isNumeric(t []rune) bool {
	if len(t) > 0 && t[0] == '-' {
		t = t[1:]
	}
	if len(t) > 0 && (t[0] == '.' || t[0] == ',') {
		t = t[1:]
	}
	return len(t) > 0 && unicode.Is(unicode.Nd, t[0]) &&
		!slices.ContainsFunc(t, func(r rune) bool { return !unicode.Is(unicode.Nd, r) && r != ',' && r != '.' && r != '-' })
}

func (t token) endsInStop() bool { return t.text[len(t.text)-1] == '.' }

// isInitial reports whether the token is a single letter and a full stop.
func (t token) isInitial() bool {
	return len(t.text) == 2 && t.text[1] == '.' &&
		(t.text[0] == '_' || unicode.IsLetter(t.text[0]) || unicode.IsNumber(t.text[0]) && !unicode.Is(unicode.Nd, t.text[0]))
}

func (t token) isUpper() bool {
	return unicode.IsUpper(t.text[0]) || unicode.Is(unicode.Other_Uppercase, t.text[0])
}

func (t token) isLower() bool {
	return unicode.IsLower(t.text[0]) || unicode.Is(unicode.Other_Lowercase, t.text[0])
}

// kindNoStop is the kind without the full stop at its end.
func (t token) kindNoStop() string {
	if len(t.kind) > 1 {
		return strings.TrimSuffix(t.kind, ".")
	}
	return t.kind
}

// kindInSentence is the kind without a full stop that ends the sentence.
func (t token) kindInSentence() string {
	if t.sentenceEnd {
		return t.kindNoStop()
	}
	return t.kind
}

// classify decides by the token alone.
func (t *token) classify() {
	switch text := string(t.text); {
	case text == "." || text == "?" || text == "!":
		t.sentenceEnd = true
	case t.text[0] == '.' && runLength(t.text) == len(t.text):
		t.ellipsis = true
	case t.endsInStop() && !strings.HasSuffix(text, ".."):
		word := pytext.Lower(strings.TrimSuffix(text, "."))
		last := word[strings.LastIndexByte(word, '-')+1:]
		t.abbreviation = model().AbbrevTypes.Has(word) || model().AbbrevTypes.Has(last)
		t.sentenceEnd = !t.abbreviation
	}
}

// reconsider decides again by the token after: by fixed pairs of words, by how the model has seen the next word written,
// and by the words it knows to start sentences.
func (t *token) reconsider(next *token) {
	if !t.endsInStop() {
		return
	}
	kind, nextKind, initial := t.kindNoStop(), next.kindInSentence(), t.isInitial()
	if model().Collocations.Has(kind + "," + nextKind) {
		t.sentenceEnd, t.abbreviation = false, true
		return
	}
	starts := next.startsSentence()
	if (t.abbreviation || t.ellipsis) && !initial &&
		(starts == yes || next.isUpper() && model().SentStarters.Has(nextKind)) {
		t.sentenceEnd = true
		return
	}
	if !initial && kind != number {
		return
	}
	if starts == no || starts == unknown && initial && next.isUpper() && model().OrthoContext[nextKind]&seenLower == 0 {
		t.sentenceEnd, t.abbreviation = false, true
	}
}

type answer int

const (
	unknown answer = iota
	yes
	no
)

// startsSentence reports whether a token starts a sentence, by its case and the cases the model has seen it in.
func (t token) startsSentence() answer {
	if len(t.text) == 1 && strings.ContainsRune(";:,.!?", t.text[0]) {
		return no
	}
	switch seen := model().OrthoContext[t.kindInSentence()]; {
	case t.isUpper() && seen&seenLower != 0 && seen&seenUpperInside == 0:
		return yes
	case t.isLower() && (seen&seenUpper != 0 || seen&seenLowerFirst == 0):
		return no
	}
	return unknown
}
