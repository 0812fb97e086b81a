package tiers

import (
	"regexp"
	"unicode"
	"unicode/utf8"

	"github.com/budgetmem/budgetmem/tiers/text"
)

// wordsRE finds words as text.Words does, with their capitals.
var wordsRE = regexp.MustCompile(`[\p{L}\p{N}]+`)

// numberingRE finds the numbers of passages and lines in a memory block, which nobody said.
var numberingRE = regexp.MustCompile(`(?m)^(?:Passage \d+|\[\d+\])`)

// grounded keeps the facts that a memory block bears out, and says how many it left out. Small models invent people and dates, or
// repeat the example of their instruction, and what they say so reads like the rest. A fact stays if
//
//   - every name and number in it stands in the memory or the question,
//   - so does at least half of its content words (by their stems: a fact may use words of its own), and
//   - one of these is not the question's: it says something.
//
// A word with a capital is held for a name. That a sentence begins with one tells nothing, but is checked all the same if
// strict: facts about somebody begin with the name.
func grounded(l text.Language, facts []string, memory, question string, strict bool) (kept []string, dropped int) {
	asked, said := l.Stems(question), l.Stems(numberingRE.ReplaceAllString(memory, ""))
	known := func(stem string) bool { return said[stem] || asked[stem] }
	for _, fact := range facts {
		stems := l.Stems(fact)
		found, new := 0, 0
		for s := range stems {
			if known(s) {
				found++
			}
			if said[s] && !asked[s] {
				new++
			}
		}
		ok := 2*found >= len(stems) && new > 0
		for i, word := range wordsRE.FindAllString(fact, -1) {
			first, _ := utf8.DecodeRuneInString(word)
			if named := unicode.IsDigit(first) || unicode.IsUpper(first) && (strict || i > 0); !named {
				continue
			}
			for s := range l.Stems(word) { // none for a stopword
				ok = ok && known(s)
			}
		}
		if ok {
			kept = append(kept, fact)
		}
	}
	return kept, len(facts) - len(kept)
}

// undated reports that a fact is no temporal one: that no date is in it, or nothing else is.
func undated(fact string) bool {
	dates := text.FindDates(fact)
	rest := []byte(fact)
	for _, d := range dates {
		for i := d.Start; i < d.End; i++ {
			rest[i] = ' '
		}
	}
	return len(dates) == 0 || len(text.English.Stems(string(rest))) == 0
}
