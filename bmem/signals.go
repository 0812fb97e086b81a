package bmem

import (
	"math"
	"slices"

	"github.com/budgetmem/budgetmem/bmem/retrieve"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// The signals that are known once the notes are there, before the answer is written.
const (
	// EvidenceTop is the largest probability of a retrieved turn to be evidence, EvidenceMargin its distance to the second largest,
	// and EvidenceShare the share of the sum of all retrieved turns' probabilities that the quoted turns hold. They are known where
	// retrieval gives probabilities, and the share where the notes quote turns.
	EvidenceTop    = "evidence_top"
	EvidenceMargin = "evidence_margin"
	EvidenceShare  = "evidence_share"
	// RetrieverAgreement is the share of the retrieved chunks that are among the best both by vectors alone and by words alone; known
	// in hybrid retrieval.
	RetrieverAgreement = "retriever_agreement"
	// QuotedTurns is the number of turns that the notes quote, known where they do, and NotesTokens the notes' length in tokens of
	// the embedder.
	QuotedTurns = "quoted_turns"
	NotesTokens = "notes_tokens"
	// AsksList, AsksDate and AsksYesNo are 1 if the question asks for that by its words and else 0; known in English.
	AsksList  = "asks_list"
	AsksDate  = "asks_date"
	AsksYesNo = "asks_yes_no"
)

// The signals that an answer tells of itself.
const (
	// LogProbMean and LogProbMin are the mean and the least log-probability (natural logarithm) of the reply's tokens, and FirstMargin
	// is by how much the first token's is above that of the likeliest other one. They are known where the model tells them.
	LogProbMean = "logprob_mean"
	LogProbMin  = "logprob_min"
	FirstMargin = "first_margin"
	// SampleAgreement is the share of the sampled replies that give the answer; known where several were sampled.
	SampleAgreement = "sample_agreement"
	// RulesAgreement is the token F1 between a model's answer and the one that rules give to the same notes, and NotesSupport the share
	// of its words that the notes hold (tiers.Backing). They need no log-probabilities, so every model's answer has them.
	RulesAgreement = "rules_agreement"
	NotesSupport   = "notes_support"
	// FormPrefix begins the signals that an answer by rules has, one for each of tiers.Forms: 1 if it has the form and else 0.
	FormPrefix = "form_"
)

// Signals lists what a router of a memory that routes the answer decides on beside embeddings.
func Signals() []router.Signal {
	return []router.Signal{{Name: EvidenceTop, Scale: 1}, {Name: EvidenceMargin, Scale: 1}, {Name: EvidenceShare, Scale: 1}, {Name: RetrieverAgreement, Scale: 1},
		{Name: QuotedTurns, Scale: 10}, {Name: NotesTokens, Scale: 500}, {Name: AsksList, Scale: 1}, {Name: AsksDate, Scale: 1}, {Name: AsksYesNo, Scale: 1}}
}

// notesSignals returns what is known of the notes, by name. count measures texts in tokens.
func notesSignals(a ask, l text.Language, hits []retrieve.Hit, notes tiers.Output, count func(string) int) map[string]float64 {
	known := map[string]float64{NotesTokens: float64(count(notes.Text))}
	if notes.Quoted != nil {
		known[QuotedTurns] = float64(len(notes.Quoted))
	}
	if l == text.English {
		form := text.QuestionForm(a.question)
		known[AsksList], known[AsksDate], known[AsksYesNo] = indicator(form.List), indicator(form.Date), indicator(form.YesNo)
	}
	if (a.retrieval == retrieve.Hybrid || a.retrieval == retrieve.Rerank) && len(hits) > 0 {
		both := 0.0
		for _, h := range hits {
			both += indicator(h.ByVectors && h.ByWords)
		}
		known[RetrieverAgreement] = both / float64(len(hits))
	}
	evidenceSignals(hits, notes.Quoted, known)
	speakerSignals(l, a.question, hits, notes.Quoted, known)
	return known
}

func evidenceSignals(hits []retrieve.Hit, quoted []string, known map[string]float64) {
	var all []float64
	sum, ofQuoted := 0.0, 0.0
	for _, h := range hits {
		if len(h.TurnScores) != len(h.Turns) {
			return
		}
		for i, p := range h.TurnScores {
			all = append(all, p)
			sum += p
			if slices.Contains(quoted, h.Turns[i].ID) {
				ofQuoted += p
			}
		}
	}
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	top, second := all[len(all)-1], 0.0
	if len(all) > 1 {
		second = all[len(all)-2]
	}
	known[EvidenceTop], known[EvidenceMargin] = top, top-second
	if quoted != nil && sum > 0 {
		known[EvidenceShare] = min(1, ofQuoted/sum)
	}
}

// AnswerSignals returns what an answer tells of itself, by name such as LogProbMean; nil if it tells nothing.
func AnswerSignals(a tiers.Answer) map[string]float64 {
	known := map[string]float64{}
	if tokens := a.LogProbs; len(tokens) > 0 {
		sum, least := 0.0, 0.0
		for _, t := range tokens {
			sum += t.LogProb
			least = min(least, t.LogProb)
		}
		known[LogProbMean], known[LogProbMin] = sum/float64(len(tokens)), least
		if margin, ok := firstMargin(tokens[0]); ok {
			known[FirstMargin] = margin
		}
	}
	if len(a.Draws) > 0 {
		same := 0.0
		for _, d := range a.Draws {
			same += indicator(slices.Equal(text.Words(d.Text), text.Words(a.Text)))
		}
		known[SampleAgreement] = same / float64(len(a.Draws))
	}
	if a.Backed != nil {
		known[RulesAgreement], known[NotesSupport] = a.Backed.Rules, a.Backed.Notes
	}
	if a.Form != "" {
		for _, f := range tiers.Forms() {
			known[FormPrefix+string(f)] = indicator(f == a.Form)
		}
	}
	for name, v := range known {
		if math.IsNaN(v) || math.IsInf(v, 0) { // an endpoint's −∞
			delete(known, name)
		}
	}
	if len(known) == 0 {
		return nil
	}
	return known
}

func firstMargin(t llm.TokenLogProb) (margin float64, ok bool) {
	return t.LogProb - t.Second, t.Second != 0
}

func indicator(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
