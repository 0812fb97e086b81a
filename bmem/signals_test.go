package bmem

import (
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/retrieve"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/text"
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

// A question that asks one speaker for what another one said is told by who said what the notes quote.
func TestSpeakerSignals(t *testing.T) {
	turn := func(id, speaker, said string) chunk.Turn { return chunk.Turn{ID: id, Speaker: speaker, Text: said} }
	hits := []retrieve.Hit{{Chunk: chunk.Chunk{Turns: []chunk.Turn{turn("1", "Ann", "I adopted a puppy."), turn("2", "Ben Wood", "Nice! I like tea.")}}},
		{Chunk: chunk.Chunk{Turns: []chunk.Turn{turn("3", "Ann", "Ben, do you like coffee?"), turn("4", "", "A document about puppies.")}}}}
	for _, c := range []struct {
		question            string
		quoted              []string
		share, words, leads float64 // words and leads by sign
	}{
		{"What did Ann adopt?", []string{"1", "3"}, 1, 1, 1},
		{"What did Ben adopt?", []string{"1", "2"}, 0.5, 0, -1},
		{"What did Ben adopt?", []string{"1"}, 0, 0, -1},
		{"What was adopted?", []string{"1", "2"}, 1, 1, 1}, // nobody is named
		{"What did Ann and Ben adopt?", []string{"2"}, 1, 1, 1},
	} {
		got := map[string]float64{}
		speakerSignals("", c.question, hits, c.quoted, got)
		if got[SpeakerShare] != c.share || sign(got[SpeakerWords]) != c.words || sign(got[SpeakerLead]) != c.leads || len(got) != 3 {
			t.Errorf("%s has %v, want %v", c.question, got, c)
		}
	}
	got := map[string]float64{}
	for _, quoted := range [][]string{nil, {}, {"4"}} { // 4 is what nobody said
		clear(got)
		if speakerSignals("", "What did Ann adopt?", hits, quoted, got); len(got) != 2 {
			t.Errorf("notes that quote %v: %v", quoted, got)
		}
	}
	clear(got)
	hits[0].Turns, hits[1].Turns = nil, hits[1].Turns[1:]
	if speakerSignals("", "What did Ann adopt?", hits, []string{"4"}, got); len(got) != 0 {
		t.Errorf("documents: %v", got)
	}
}

func TestNamedSpeakers(t *testing.T) {
	for _, c := range []struct {
		question string
		speakers []string
		want     string
	}{
		{"What did Ann adopt?", []string{"Ann", "Ben"}, "Ann"},
		{"what did ann's sister say to BEN?", []string{"Ann", "Ben"}, "Ann Ben"},
		{"What did she adopt?", []string{"Ann", "Ben"}, ""},
		{"What did Ann Lee adopt?", []string{"Ann Lee", "Ben Lee"}, "Ann Lee"},
		{"What did the Lees adopt?", []string{"Ann Lee", "Ben Lee"}, "Ann Lee Ben Lee"},
		{"What did Speaker 2 adopt?", []string{"Speaker 1", "Speaker 2"}, "Speaker 2"},
		{"What did Will adopt?", []string{"Will", "Ben"}, "Will"},
		{"Will Ben come?", []string{"Will", "Ben"}, "Ben"},
		{"When will Ben come?", []string{"Will", "Ben"}, "Ben"},
		{"小红养了什么?", []string{"小红", "小明"}, "小红"},
	} {
		speakers := map[string]bool{}
		for _, s := range c.speakers {
			speakers[s] = true
		}
		if got := strings.Join(slices.Sorted(maps.Keys(namedSpeakers(text.English, c.question, speakers))), " "); got != c.want {
			t.Errorf("%s names %q, want %q", c.question, got, c.want)
		}
	}
}

func sign(v float64) float64 {
	if v == 0 {
		return 0
	}
	return math.Copysign(1, v)
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
