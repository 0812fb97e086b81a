package text

import (
	"regexp"
	"strings"
	"sync"
	"unicode"

	"github.com/jdkato/prose/v2"
)

// token is a word with its Penn Treebank part-of-speech tag.
type token struct {
	Text string
	Tag  string
}

// verb reports whether the token is a verb form or a modal.
func (t token) verb() bool { return strings.HasPrefix(t.Tag, "VB") || t.Tag == "MD" }

// noun reports whether the token is a noun or a name.
func (t token) noun() bool { return strings.HasPrefix(t.Tag, "NN") }

// Tagger finds parts of speech. Its model takes about 0.1 s to load, which happens at the first use. The zero value works
// and is safe for concurrent use.
type Tagger struct {
	once  sync.Once
	model *prose.Model
}

var (
	negationRE    = regexp.MustCompile(`(?i)\b(\p{L}+)n't\b`)
	contractionRE = regexp.MustCompile(`(?i)(\p{L})'(d|ll|m|re|s|ve)\b`)
	informalRE    = regexp.MustCompile(`(?i)\b(gonna|wanna|gotta|kinda|'cause|btw)\b`)
	punctRE       = regexp.MustCompile(`([,;:!?()\[\]"“”…]|\.+(?:\s|$)|\s[–—-]\s|[–—])`)
)

var informal = map[string]string{"gonna": "going to", "wanna": "want to", "gotta": "have to", "kinda": "rather",
	"'cause": "because", "btw": ""}

// plain spells a sentence so that the tagger knows its words: contractions parted, chat forms written out, punctuation
// parted from words.
func plain(sentence string) string {
	s := apostrophes.Replace(sentence)
	s = informalRE.ReplaceAllStringFunc(s, func(w string) string { return informal[strings.ToLower(w)] })
	s = negationRE.ReplaceAllStringFunc(s, func(w string) string {
		switch stem := w[:len(w)-3]; strings.ToLower(stem) {
		case "ca":
			return stem + "n not"
		case "wo":
			return "will not"
		default:
			return stem + " not"
		}
	})
	s = contractionRE.ReplaceAllString(s, "$1 '$2")
	return punctRE.ReplaceAllString(s, " $1 ")
}

// tag returns the tagged tokens of one sentence. The first word is tagged in lower case unless keep has it: the tagger
// takes nearly every capitalised word for a name. A sentence that the tagger cannot digest gives no tokens.
func (t *Tagger) tag(sentence string, keep map[string]bool) (tokens []token) {
	t.once.Do(func() {
		// The model is reachable only through a document that was made with it.
		if doc, err := prose.NewDocument("", prose.WithExtraction(false), prose.WithSegmentation(false)); err == nil {
			t.model = doc.Model
		}
	})
	if t.model == nil {
		return nil
	}
	text := strings.TrimSpace(plain(sentence))
	if first, rest, _ := strings.Cut(text, " "); !keep[first] && first != "I" {
		text = strings.ToLower(first) + " " + rest
	}
	// prose slices by the byte lengths of lower-cased text, which panics where case changes the length ("İ").
	defer func() {
		if recover() != nil {
			tokens = nil
		}
	}()
	doc, err := prose.NewDocument(text, prose.UsingModel(t.model), prose.WithExtraction(false), prose.WithSegmentation(false))
	if err != nil {
		return nil
	}
	for _, tok := range doc.Tokens() {
		tokens = append(tokens, retag(tok, tokens))
	}
	return tokens
}

// retag corrects what the tagger, trained on newspapers, gets wrong in chat and what clauses depend on.
func retag(tok prose.Token, before []token) token {
	out := token{Text: tok.Text, Tag: tok.Tag}
	low := strings.ToLower(tok.Text)
	switch {
	case low == "'s" && len(before) > 0 && (before[len(before)-1].Tag == "PRP" || pronounLike[strings.ToLower(before[len(before)-1].Text)]):
		out.Tag = "VBZ"
	case low == "'s" && len(before) > 0 && before[len(before)-1].noun():
		out.Tag = "POS"
	case low == "'d" || low == "'ll":
		out.Tag = "MD"
	case low == "'ve" || low == "'m" || low == "'re":
		out.Tag = "VBP"
	case low == "i":
		out.Tag = "PRP"
	case low == "not" || low == "never":
		out.Tag = "RB"
	case !hasWordChar(tok.Text):
		out.Tag = "." // any mark
	case interjections[low] && (len(before) == 0 || !hasWordChar(before[len(before)-1].Text) || before[len(before)-1].Tag == "UH"):
		out.Tag = "UH"
	case auxiliaries[low] && !out.verb():
		out.Tag = "VBP"
	}
	return out
}

func hasWordChar(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) >= 0
}

var (
	pronounLike   = set("that there here what who it he she this how where when let everything everyone everybody something")
	interjections = set(`wow hey hi hello thanks yeah yep yup yes no nope oh ah aww aw woah whoa woohoo haha hah ok okay sure congrats
congratulations bye cool awesome yay totally definitely absolutely exactly well please sorry lol omg`)
	auxiliaries = set("am is are was were be been being do does did have has had will would can could shall should may might must")
)
