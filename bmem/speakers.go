package bmem

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/retrieve"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// The signals of who said what. Where a question names somebody who speaks in the retrieved turns, the turns of that speaker should answer
// it; if another speaker's match it better, it may ask the one for what the other said, which the memory does not answer. Where it names
// nobody who speaks there, all turns count as those of whom it means. Known where turns have speakers.
const (
	// SpeakerShare is the share of the quoted turns that those whom the question means said; known where the notes quote such turns.
	SpeakerShare = "speaker_share"
	// SpeakerWords is the share of the question's content words that the best retrieved turn of theirs has, the words weighted by their
	// rarity among the retrieved turns, and SpeakerLead by how much it is above that of the best turn of another speaker.
	SpeakerWords = "speaker_words"
	SpeakerLead  = "speaker_lead"
)

// spoken is a retrieved turn that somebody said.
type spoken struct {
	id, speaker string
	stems       map[string]bool
}

// speakerSignals adds the signals of who said what to known.
func speakerSignals(l text.Language, question string, hits []retrieve.Hit, quoted []string, known map[string]float64) {
	var turns []spoken
	speakers := map[string]bool{}
	for _, h := range hits {
		for _, t := range h.Turns {
			if t.Speaker != "" {
				turns = append(turns, spoken{t.ID, t.Speaker, l.Stems(t.Text)})
				speakers[t.Speaker] = true
			}
		}
	}
	if len(turns) == 0 {
		return
	}
	meant := namedSpeakers(l, question, speakers)
	asked := l.Stems(question)
	for speaker := range meant {
		for s := range l.Stems(speaker) {
			delete(asked, s)
		}
	}
	words := slices.Sorted(maps.Keys(asked))
	weights, total := rarities(words, turns)
	own, others, said, all := 0.0, 0.0, 0.0, 0.0
	for _, t := range turns {
		share := 0.0
		for i, w := range words {
			if t.stems[w] {
				share += weights[i] / total
			}
		}
		mine := len(meant) == 0 || meant[t.speaker]
		if mine {
			own = max(own, share)
		} else {
			others = max(others, share)
		}
		if slices.Contains(quoted, t.id) {
			all, said = all+1, said+indicator(mine)
		}
	}
	known[SpeakerWords], known[SpeakerLead] = own, own-others
	if all > 0 {
		known[SpeakerShare] = said / all
	}
}

// namedSpeakers are the speakers whom a question names: by a word that no other speaker's name has, or where it has none of these, by any word
// of the name. A name that is a stop word, such as Will, has a capital and does not begin the question; one in a script without spaces is
// found anywhere.
func namedSpeakers(l text.Language, question string, speakers map[string]bool) map[string]bool {
	asked := map[string]bool{}
	for i, w := range text.Tokens(question) {
		lower := strings.ToLower(w)
		if !l.IsStop(lower) || i > 0 && w != lower {
			asked[l.Stem(lower)] = true
		}
	}
	having := map[string]int{} // how many names have a word
	words := map[string][]string{}
	for speaker := range speakers {
		for _, w := range text.Words(speaker) {
			if s := l.Stem(w); !slices.Contains(words[speaker], s) {
				words[speaker] = append(words[speaker], s)
				having[s]++
			}
		}
	}
	own, shared := map[string]bool{}, map[string]bool{}
	for speaker, of := range words {
		if text.Unspaced(speaker) && strings.Contains(question, speaker) {
			own[speaker] = true
		}
		for _, w := range of {
			switch {
			case !asked[w] || text.Unspaced(speaker):
			case having[w] == 1:
				own[speaker] = true
			default:
				shared[speaker] = true
			}
		}
	}
	if len(own) > 0 {
		return own
	}
	return shared
}

// rarities weighs words by the logarithm of how few of the turns have them; total is at least a little above 0.
func rarities(words []string, turns []spoken) (weights []float64, total float64) {
	weights, total = make([]float64, len(words)), 1e-9
	for i, w := range words {
		having := 0.0
		for _, t := range turns {
			having += indicator(t.stems[w])
		}
		weights[i] = math.Log(1 + float64(len(turns))/(1+having))
		total += weights[i]
	}
	return weights, total
}
