package score

import (
	"errors"
	"math"
	"strings"
	"testing"
	"testing/quick"
)

func TestLookup(t *testing.T) {
	for _, name := range Names() {
		if m, err := Lookup(name); err != nil || m.Name != name || m.Summary == "" {
			t.Errorf("Lookup(%q) = %v, %v", name, m, err)
		}
	}
	_, err := Lookup("locomo-f")
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), `"locomo-f1"`) {
		t.Errorf("an unknown name gives %v; want ErrUnknown and the nearest name", err)
	}
}

func TestRuleByCategory(t *testing.T) {
	locomo, err := Lookup("locomo")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		category, prediction, gold string
		want                       float64
	}{
		{"1", "tea, coffee", "coffee, milk", 0.5},             // the best part for each gold part
		{"multi-hop", "tea, coffee", "coffee, milk", 0.5},     // the same by name
		{"Multi_Hop", "tea, coffee", "coffee, milk", 0.5},     // however it is written
		{"2", "tea, coffee", "coffee, milk", 0.5},             // the whole answer: one word of two
		{"4", "red tea", "red tea, milk", 0.8},                // 2/2 and 2/3
		{"3", "yes", "Yes; because she said so", 1},           // only what stands before the semicolon
		{"4", "yes", "Yes; because she said so", 1. / 3},      // elsewhere all of it
		{"5", "This is NOT mentioned anywhere.", "", 1},       // a refusal
		{"5", "No information available", "", 1},              // another
		{"adversarial", "A blue car", "a blue car", 0},        // an answer where there is none
		{"open-domain", "yes", "Yes; because she said so", 1}, // 3 by name
	} {
		r, err := locomo.Score(Item{Prediction: c.prediction, Gold: []string{c.gold}, Category: c.category})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, c.category+": "+c.prediction+" | "+c.gold, r.Score, c.want)
	}
	for _, category := range []string{"", "0", "6", "temporel"} {
		if _, err := locomo.Score(Item{Prediction: "a", Gold: []string{"a"}, Category: category}); !errors.Is(err, ErrCategory) {
			t.Errorf("category %q gives %v, want ErrCategory", category, err)
		}
	}
	if _, err := locomo.Score(Item{Prediction: "not mentioned", Category: "5"}); err != nil {
		t.Errorf("category 5 needs no gold answer: %v", err)
	}
}

func TestBestOfSeveralGolds(t *testing.T) {
	for _, m := range Metrics() {
		it := Item{Prediction: "blue car", Gold: []string{"red bike", "blue car", "car"}, Category: "4"}
		if r, err := m.Score(it); err != nil || math.Abs(r.Score-1) > 1e-9 {
			t.Errorf("%s = %v, %v; want 1, by the second of three answers", m.Name, r, err)
		}
		if _, err := m.Score(Item{Prediction: "blue car", Category: "4"}); !errors.Is(err, ErrNoGold) {
			t.Errorf("%s without a gold answer gives %v, want ErrNoGold", m.Name, err)
		}
	}
}

// Every metric stays in [0,1] and gives 1 for an answer equal to the gold one, if any word of it counts. Those that do
// not tell prediction from gold are symmetric.
func TestProperties(t *testing.T) {
	symmetric := map[string]bool{"locomo-f1": true, "token-set-f1": true, "hotpot": true, "exact": true}
	for _, m := range Metrics() {
		score := func(prediction, gold string) float64 {
			r, err := m.Score(Item{Prediction: prediction, Gold: []string{gold}, Category: "2"})
			if err != nil {
				t.Fatal(err)
			}
			return r.Score
		}
		check := func(a, b string, words []uint8) bool {
			a += wordsOf(words)
			b += wordsOf(words[len(words)/2:])
			ab, ba := score(a, b), score(b, a)
			inside := 0 <= ab && ab <= 1+1e-12 && 0 <= ba && ba <= 1+1e-12
			same := math.Abs(ab-ba) <= 1e-12
			return inside && (same || !symmetric[m.Name])
		}
		if err := quick.Check(check, &quick.Config{MaxCount: 300}); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		equal(t, m.Name+" of equal answers", score("On 7 May, she went", "On 7 May, she went"), 1)
	}
}

// wordsOf turns bytes into words of a small vocabulary, so that two strings often share some.
func wordsOf(numbers []uint8) string {
	vocabulary := strings.Fields("the a and yes no Tea, tea. coffee 7 may went going, . , cats cat's Paris")
	var b strings.Builder
	for _, n := range numbers {
		b.WriteString(" " + vocabulary[int(n)%len(vocabulary)])
	}
	return b.String()
}

func TestRetrievalEdges(t *testing.T) {
	ids := []string{"a", "b", "c"}
	equal(t, "nothing to find, Recall", Recall(ids, nil, 2), 1)
	equal(t, "nothing to find, NDCG", NDCG(ids, nil, 2), 0)
	equal(t, "k of 0", Recall(ids, []string{"a"}, 0), 0)
	equal(t, "k below 0", NDCG(ids, []string{"a"}, -1), 0)
	equal(t, "a gold id given twice", Recall(ids, []string{"a", "a", "z"}, 3), 0.5)
	equal(t, "a retrieved id given twice", NDCG([]string{"a", "a"}, []string{"a", "b"}, 2), 0.5)
}

// Answers in scripts without spaces are scored by their words and not as one.
func TestScoreOfUnspacedScripts(t *testing.T) {
	for _, name := range []string{"locomo-f1", "locomo-f1-max", "token-set-f1", "hotpot"} {
		m, err := Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		for prediction, want := range map[string][2]float64{"她的猫叫小黑。": {0.2, 0.8}, "小黑": {1, 1}, "大白": {0, 0}, "": {0, 0}} {
			r, err := m.Score(Item{Prediction: prediction, Gold: []string{"小黑"}})
			if err != nil || r.Score < want[0] || r.Score > want[1] {
				t.Errorf("%s of %q: %v (%v), want %v", name, prediction, r.Score, err, want)
			}
		}
	}
}
