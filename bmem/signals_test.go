package bmem

import (
	"math"
	"reflect"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/retrieve"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
)

func TestNotesSignals(t *testing.T) {
	hits := []retrieve.Hit{
		{Chunk: chunk.Chunk{Turns: []chunk.Turn{{ID: "1"}, {ID: "2"}}}, TurnScores: []float64{0.6, 0.1}, ByVectors: true, ByWords: true},
		{Chunk: chunk.Chunk{Turns: []chunk.Turn{{ID: "3"}}}, TurnScores: []float64{0.3}, ByWords: true},
	}
	count := func(s string) int { return len(s) }
	a := ask{question: "When did Ann move?", retrieval: retrieve.Hybrid}
	want := map[string]float64{EvidenceTop: 0.6, EvidenceMargin: 0.3, EvidenceShare: 0.9, RetrieverAgreement: 0.5, QuotedTurns: 2, NotesTokens: 5,
		AsksDate: 1, AsksList: 0, AsksYesNo: 0}
	got := notesSignals(a, "", hits, tiers.Output{Text: "notes", Quoted: []string{"1", "3"}}, count)
	for name, v := range want {
		if math.Abs(got[name]-v) > 1e-12 {
			t.Errorf("%s is %v, want %v", name, got[name], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("signals %v", got)
	}
	for _, s := range Signals() {
		if _, ok := want[s.Name]; !ok {
			t.Errorf("routers look at %s, which nobody measures", s.Name)
		}
	}
	// What is not known is absent: probabilities in other modes, quotes in words of their own, forms in other languages.
	hits[0].TurnScores = nil
	a.retrieval = retrieve.Dense
	if got := notesSignals(a, "de", hits, tiers.Output{Text: "notes"}, count); !reflect.DeepEqual(got, map[string]float64{NotesTokens: 5}) {
		t.Errorf("signals %v", got)
	}
}

func TestAnswerSignals(t *testing.T) {
	got := AnswerSignals(tiers.Answer{Text: "Bern", LogProbs: []llm.TokenLogProb{{LogProb: -0.5, Second: -1.5}, {LogProb: -0.1}},
		Draws: []tiers.Draw{{Text: "Bern"}, {Text: "bern."}, {Text: "Basel"}, {Text: "Bern"}}, Backed: &tiers.Backing{Rules: 0.5, Notes: 1}})
	for name, v := range map[string]float64{RulesAgreement: 0.5, NotesSupport: 1, LogProbMean: -0.3, LogProbMin: -0.5, FirstMargin: 1, SampleAgreement: 0.75} {
		if math.Abs(got[name]-v) > 1e-12 {
			t.Errorf("%s is %v, want %v", name, got[name], v)
		}
	}
	got = AnswerSignals(tiers.Answer{Text: "2 June 2023", Form: tiers.ToldDate})
	if len(got) != len(tiers.Forms()) || got[FormPrefix+"told_date"] != 1 || got[FormPrefix+"words"] != 0 {
		t.Errorf("an answer by rules has %v", got)
	}
	if got := AnswerSignals(tiers.Answer{Text: "Bern"}); got != nil {
		t.Errorf("an answer that tells nothing has %v", got)
	}
	if got := AnswerSignals(tiers.Answer{LogProbs: []llm.TokenLogProb{{LogProb: math.Inf(-1)}}}); got != nil {
		t.Errorf("infinite numbers: %v", got)
	}
}
