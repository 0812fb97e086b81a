// Package text holds the linguistic methods that the rule-based tiers are made of: words and sentences, part-of-speech
// tags, names, clauses (subject, relation, object), date expressions and their resolution, and key phrases. Words,
// stop words and stems are known in many languages (see Language), all else in English only.
//
// Tags come from prose's averaged-perceptron tagger. Its named-entity recogniser is not used: on chat it
// takes interjections for places ("Wow", "Thanks"). Dates that stand alone ("6 July 2020") are read by go-dateparser; its
// search in running text is not used, because it takes "we" for Wednesday and does not know "last Saturday".
package text

import (
	"regexp"
	"strings"

	"github.com/rivo/uniseg"
)

// Sentences splits s by the Unicode sentence rules, and joins what those part wrongly after a title or an initial.
func Sentences(s string) []string {
	var out []string
	state, rest, piece := -1, s, ""
	for rest != "" {
		piece, rest, state = uniseg.FirstSentenceInString(rest, state)
		piece = strings.TrimSpace(piece)
		switch {
		case piece == "":
		case len(out) > 0 && endsInAbbreviation(out[len(out)-1]):
			out[len(out)-1] += " " + piece
		default:
			out = append(out, piece)
		}
	}
	return out
}

var abbreviationRE = regexp.MustCompile(`(?:^|[\s(])(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|No|Mt|[A-Z])\.$`)

func endsInAbbreviation(s string) bool { return abbreviationRE.MatchString(s) }

// Overlap returns the share of the given words that are in the set, 0 for no words.
func Overlap(words []string, set map[string]bool) float64 {
	if len(words) == 0 {
		return 0
	}
	n := 0
	for _, w := range words {
		if set[w] {
			n++
		}
	}
	return float64(n) / float64(len(words))
}

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// stopwords are function words, auxiliaries with their contractions, and the question words: what a question shares with
// any text.
var stopwords = set(`a an the and or but nor so yet if then else than as at by for from in into of off on onto out over to up
with without within about above after again against all along also although always am among any are aren't around be because
been before being below between both can can't cannot could couldn't did didn't do does doesn't doing don't down during each
either ever every few further get gets getting got had hadn't has hasn't have haven't having he he'd he'll he's her here
hers herself him himself his how however i i'd i'll i'm i've is isn't it it'd it'll its itself just let let's like may me might
more most much must my myself neither never no not now only other our ours ourselves own per quite rather really said same
shall she she'd she'll should shouldn't since some still such that that'll their theirs them themselves there these they
they'd they'll they're they've this those though through thus too under until upon us very via was wasn't we we'd we'll we're
we've were weren't what when where whether which while who whom whose why will won't would wouldn't you you'd you'll you're
you've your yours yourself yourselves s t d ll m re ve`)
