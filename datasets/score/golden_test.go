package score

import (
	"compress/gzip"
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/internal/pytext"
)

// readGz decodes a compressed JSON file of testdata.
func readGz(t *testing.T, name string, into any) {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(into); err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, what string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 1e-9) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

// The published scores of a public set of predictions for all questions of LoCoMo's categories 1 to 4.
func TestPublishedPredictions(t *testing.T) {
	var all []struct {
		Gold     string
		Pred     string
		Category int
		LoCoMo   float64 `json:"locomo_f1"`
		Set      float64 `json:"mem0_f1"`
		BLEU     float64 `json:"bleu1"`
	}
	readGz(t, "locomo_predictions.json.gz", &all)
	if len(all) != 1540 {
		t.Fatalf("%d predictions, want 1540", len(all))
	}
	locomo, err := Lookup("locomo")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		r, err := locomo.Score(Item{Prediction: p.Pred, Gold: []string{p.Gold}, Category: LoCoMoCategories[p.Category-1]})
		if err != nil {
			t.Fatal(err)
		}
		pair := "(" + p.Pred + ", " + p.Gold + ")"
		equal(t, "locomo"+pair, r.Score, p.LoCoMo)
		equal(t, "token-set-f1"+pair, TokenSetF1(p.Pred, p.Gold), p.Set)
		equal(t, "bleu1"+pair, BLEU1(p.Pred, p.Gold), p.BLEU)
	}
}

func TestStem(t *testing.T) {
	var stems map[string]string
	readGz(t, "porter_stems.json.gz", &stems)
	if len(stems) != 2530 {
		t.Fatalf("%d pairs, want 2530", len(stems))
	}
	for word, want := range stems {
		if got := stem(word); got != want {
			t.Errorf("stem(%q) = %q, want %q", word, got, want)
		}
	}
}

// What Python says of awkward strings; golden.py made the file.
func TestGolden(t *testing.T) {
	var golden struct {
		Cases []struct {
			Pred, Gold   string
			LoCoMo       float64    `json:"locomo_f1"`
			LoCoMoMax    float64    `json:"locomo_f1_max"`
			Set          float64    `json:"set_f1"`
			BLEU         float64    `json:"bleu1"`
			Hotpot       [4]float64 // F1, precision, recall, exact match
			LoCoMoTokens []string   `json:"locomo_tokens"`
			HotpotNormal string     `json:"hotpot_normal"`
			Words        []string
		}
		Ranks []struct {
			IDs, Gold []string
			K         int
			NDCG      float64
			RecallAll float64 `json:"recall_all"`
			Recall    float64
		}
		Numbers [][2]string
	}
	readGz(t, "golden.json.gz", &golden)
	if len(golden.Cases) < 1000 || len(golden.Ranks) == 0 || len(golden.Numbers) == 0 {
		t.Fatal("the golden file is too small")
	}
	for _, c := range golden.Cases {
		if got := locomoTokens(c.Pred); !slices.Equal(got, c.LoCoMoTokens) {
			t.Errorf("LoCoMo's tokens of %q = %q, want %q", c.Pred, got, c.LoCoMoTokens)
		}
		if got := hotpotNormal(c.Pred); got != c.HotpotNormal {
			t.Errorf("HotpotQA's form of %q = %q, want %q", c.Pred, got, c.HotpotNormal)
		}
		if got := treebankWords(pytext.Lower(pytext.Strip(c.Pred))); !slices.Equal(got, c.Words) {
			t.Errorf("words of %q = %q, want %q", c.Pred, got, c.Words)
		}
		pair := "(" + c.Pred + ", " + c.Gold + ")"
		equal(t, "LoCoMoF1"+pair, LoCoMoF1(c.Pred, c.Gold), c.LoCoMo)
		equal(t, "LoCoMoF1Max"+pair, LoCoMoF1Max(c.Pred, c.Gold), c.LoCoMoMax)
		equal(t, "TokenSetF1"+pair, TokenSetF1(c.Pred, c.Gold), c.Set)
		equal(t, "BLEU1"+pair, BLEU1(c.Pred, c.Gold), c.BLEU)
		f1, precision, recall := HotpotF1(c.Pred, c.Gold)
		for i, got := range []float64{f1, precision, recall, Exact(c.Pred, c.Gold)} {
			equal(t, []string{"hotpot F1", "precision", "recall", "exact match"}[i]+pair, got, c.Hotpot[i])
		}
	}
	for _, c := range golden.Ranks {
		equal(t, "NDCG", NDCG(c.IDs, c.Gold, c.K), c.NDCG)
		equal(t, "RecallAll", RecallAll(c.IDs, c.Gold, c.K), c.RecallAll)
		equal(t, "Recall", Recall(c.IDs, c.Gold, c.K), c.Recall)
	}
	for _, c := range golden.Numbers {
		if got := numberText(json.Number(c[0])); got != c[1] {
			t.Errorf("number %s as text = %q, want %q", c[0], got, c[1])
		}
	}
}

// A stemmer that walks the word for every letter would take minutes here.
func TestStemLongWord(t *testing.T) {
	word := strings.Repeat("y", 200_000) + "ational"
	if got := stem(word); !strings.HasPrefix(got, "yy") {
		t.Errorf("stem of a long word starts with %.10q", got)
	}
}
