package retrieve

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/tiers/text"
)

// translated is testdata/multilingual.json: one small history and its questions in several languages.
type translated struct {
	Answers   []int `json:"answers"`
	Languages map[text.Language]struct {
		Turns     []string `json:"turns"`
		Questions []string `json:"questions"`
	} `json:"languages"`
}

func readTranslated(t *testing.T) translated {
	t.Helper()
	data, err := os.ReadFile("testdata/multilingual.json")
	if err != nil {
		t.Fatal(err)
	}
	var all translated
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// name is the English name of a language of the file, which calls English "en".
func (translated) name(l text.Language) string {
	if l == "en" {
		l = text.English
	}
	return l.String()
}

// recallIn returns the share of questions whose turn is among the best k of a language's history, each turn a chunk of its
// own, for k of 1 and 5.
func (all translated) recallIn(t *testing.T, l text.Language, mode Mode, e embed.Embedder) (at1, at5 float64) {
	t.Helper()
	in := all.Languages[l]
	if len(in.Turns) != 16 || len(in.Questions) != len(all.Answers) {
		t.Fatalf("%s: %d turns, %d questions", l, len(in.Turns), len(in.Questions))
	}
	var chunks []chunk.Chunk
	for i, s := range in.Turns {
		id := fmt.Sprint(i)
		chunks = append(chunks, chunk.Chunk{ID: id, Session: id, Turns: []chunk.Turn{{ID: id, Session: id, Speaker: "Mel", Text: s}}})
	}
	ix := Index{Chunks: chunks, Language: DetectLanguage(chunks)}
	if want := l; ix.Language != want && (want != "en" || ix.Language != text.English) {
		t.Errorf("%s is taken for %s", l, ix.Language)
	}
	var err error
	if ix.TurnVectors, err = e.Embed(t.Context(), TurnTexts(chunks)); err != nil {
		t.Fatal(err)
	}
	ix.Vectors = ix.TurnVectors
	r, err := New(t.Context(), mode, ix)
	if err != nil {
		t.Fatal(err)
	}
	vectors, err := e.Embed(t.Context(), in.Questions)
	if err != nil {
		t.Fatal(err)
	}
	for i, q := range in.Questions {
		hits, err := r.Retrieve(t.Context(), Query{Text: q, Vector: vectors[i]}, 5)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(hits, func(h Hit) bool { return h.ID == fmt.Sprint(all.Answers[i]) && h.Score > 0 })
		at1 += indicator(at == 0) / float64(len(in.Questions))
		at5 += indicator(at >= 0) / float64(len(in.Questions))
	}
	return at1, at5
}

// In every language BM25 finds nearly as much as in English.
func TestBM25InManyLanguages(t *testing.T) {
	all := readTranslated(t)
	_, english := all.recallIn(t, "en", BM25, bagEmbedder{})
	for _, l := range slices.Sorted(maps.Keys(all.Languages)) {
		at1, at5 := all.recallIn(t, l, BM25, bagEmbedder{})
		t.Logf("%s: recall at 1 %.2f, at 5 %.2f", all.name(l), at1, at5)
		if at5 < english-0.1001 || at5 < 0.8 {
			t.Errorf("%s: recall at 5 is %.2f, in English %.2f", l, at5, english)
		}
	}
}

// Hybrid retrieval, whose weights and embedder are of English, keeps up by its words.
func TestHybridInManyLanguages(t *testing.T) {
	all := readTranslated(t)
	b := newBench(t)
	e := kept{b.embedder, b.store}
	_, english := all.recallIn(t, "en", Hybrid, e)
	for _, l := range slices.Sorted(maps.Keys(all.Languages)) {
		at1, at5 := all.recallIn(t, l, Hybrid, e)
		_, dense := all.recallIn(t, l, Dense, e)
		t.Logf("%s: recall at 1 %.2f, at 5 %.2f; dense at 5 %.2f", all.name(l), at1, at5, dense)
		if at5 < english-0.1001 || at5 < 0.8 {
			t.Errorf("%s: recall at 5 is %.2f, in English %.2f", l, at5, english)
		}
	}
}
