package score

import (
	"math"

	"github.com/dlclark/regexp2"

	"github.com/budgetmem/budgetmem/internal/punkt"
	"github.com/budgetmem/budgetmem/internal/pytext"
)

// BLEU1 is the single-word BLEU that A-MEM and mem0 report: both sides lower-cased and split as NLTK's word_tokenize does,
// clipped word precision times the brevity penalty (K. Papineni and others, BLEU, 2002), smoothed as NLTK's method 1, which
// changes nothing here: with no word in common the score is 0. Two empty sides score 0.
func BLEU1(prediction, gold string) float64 {
	p, g := treebankWords(pytext.Lower(pytext.Strip(prediction))), treebankWords(pytext.Lower(pytext.Strip(gold)))
	_, precision, _ := overlap(p, g)
	if len(p) >= len(g) {
		return precision
	}
	return precision * math.Exp(1-float64(len(g))/float64(max(len(p), 1)))
}

// treebankWords splits text into sentences by Punkt (T. Kiss and J. Strunk, 2006; NLTK's English model) and those into
// words by the conventions of the Penn Treebank, as NLTK departs from them.
func treebankWords(text string) []string {
	var words []string
	for _, s := range punkt.Sentences(text) {
		words = append(words, sentenceWords(s)...)
	}
	return words
}

func sentenceWords(s string) []string {
	for _, r := range insideRules {
		s = r.replace(s)
	}
	s = " " + s + " " // so that the rules for a word's end need not look for the text's
	for _, r := range endRules {
		s = r.replace(s)
	}
	return pytext.Fields(s)
}

// wordRule sets off, by spaces, what is a word of its own.
type wordRule struct {
	find *regexp2.Regexp
	put  string
}

func (r wordRule) replace(s string) string {
	out, err := r.find.Replace(s, r.put, -1, -1)
	if err != nil {
		return s // only a time limit, which is not set, makes it fail
	}
	return out
}

func rulesOf(pairs ...string) []wordRule {
	var rules []wordRule
	for i := 0; i < len(pairs); i += 2 {
		rules = append(rules, wordRule{regexp2.MustCompile(pairs[i], regexp2.None), pairs[i+1]})
	}
	return rules
}

const apart = " $0 "

// The rules in the order they apply, for lower-case text. Word boundaries are spelled out, because Python's re does not
// count marks and connecting punctuation among the characters of a word and regexp2 does.
var insideRules = rulesOf(
	// Opening quotes.
	"[«“‘„]|`+", apart,
	`^"`, "``",
	"``", apart,
	`([ (\[{<])(?:"|'')`, "$1 `` ",
	`'(?![mtsdn])([\p{L}\p{N}_])(?![\p{L}\p{N}_])`, "' $1", // a quote before a letter that is no clitic
	// Punctuation: the last full stop with what closes after it, then colons and commas outside numbers, and the rest.
	`([^.])\.([\])}>"'»”’ ]*)\s*$`, "$1 . $2 ",
	`([:,])(\D)`, " $1 $2",
	`[:,]$`, apart,
	`\.{2,}`, apart,
	`[;@#$%&]`, apart,
	`([^.])\.([\])}>"']*)\s*$`, "$1 .$2 ",
	`[?!]`, apart,
	`([^'])' `, "$1 ' ",
	`\*`, apart,
	`[\][(){}<>]`, apart,
	`--`, apart,
)

var endRules = rulesOf(
	// Closing quotes.
	`[»”’]`, apart,
	`''|"`, " '' ",
	`\s+`, " ",
	// Clitics.
	`([^' ])('[smd]?) `, "$1 $2 ",
	`([^' ])('ll|'re|'ve|n't) `, "$1 $2 ",
	// Words written as one.
	`(?<![\p{L}\p{N}_])(?:(can)(not)|(d)('ye)|(gim)(me)|(gon)(na)|(got)(ta)|(lem)(me)|(more)('n)|(wan)(na)(?=\s))(?![\p{L}\p{N}_])`,
	" $1$3$5$7$9$11$13$15 $2$4$6$8$10$12$14$16 ",
	` ('t)(is|was)(?![\p{L}\p{N}_])`, " $1 $2 ",
)
