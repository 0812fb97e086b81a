package datasets

import (
	"slices"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/datasets/score"
)

func TestLoCoMo(t *testing.T) {
	d, err := Open("locomo", Options{})
	if err != nil {
		t.Fatal(err)
	}
	train, err := d.Questions(t.Context(), Train)
	if err != nil {
		t.Fatal(err)
	}
	validation, err := d.Questions(t.Context(), Validation)
	if err != nil {
		t.Fatal(err)
	}
	held, err := d.Test(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The counts of REFERENCE: 314 test questions, 1540 of categories 1 to 4 in all.
	if len(train) != 885 || len(validation) != 341 || len(held) != 314 {
		t.Errorf("%d, %d and %d questions; want 885, 341 and 314", len(train), len(validation), len(held))
	}
	count := map[string]int{}
	dropped := 0
	for _, q := range slices.Concat(train, validation, held) {
		count[q.Category]++
		dropped += q.EvidenceDropped
		h, err := d.History(t.Context(), q.History)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range q.Evidence {
			if !slices.ContainsFunc(h.Turns, hasID(id)) {
				t.Errorf("%s: evidence %s names no turn", q.ID, id)
			}
		}
		if len(q.Gold) != 1 || q.Gold[0] == "" || q.Text == "" {
			t.Errorf("%s: empty question or answer", q.ID)
		}
	}
	want := map[string]int{"multi-hop": 282, "temporal": 321, "open-domain": 96, "single-hop": 841}
	for c, n := range want {
		if count[c] != n {
			t.Errorf("%d %s questions, want %d", count[c], c, n)
		}
	}
	if dropped != 4 {
		t.Errorf("%d evidence ids dropped, want 4 (D10:19, D, D:11:26, D4:36)", dropped)
	}
}

// The fifth category: 446 questions, each scored by whether the answer is a refusal.
func TestLoCoMoUnanswerable(t *testing.T) {
	d, err := Open("locomo-unanswerable", Options{})
	if err != nil {
		t.Fatal(err)
	}
	metric, err := score.Lookup(d.Metric())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, split := range splits {
		questions, err := d.(*dataset).Questions(t.Context(), split)
		if split == test {
			questions, err = d.Test(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		n += len(questions)
		for _, q := range questions {
			if q.Category != "adversarial" || !q.Abstention {
				t.Errorf("%s: category %s, abstention %v", q.ID, q.Category, q.Abstention)
			}
			for prediction, want := range map[string]float64{q.Gold[0]: 1, "a blue car": 0} {
				got, err := metric.Score(score.Item{Prediction: prediction, Gold: q.Gold, Category: q.Category})
				if err != nil || got.Score != want {
					t.Errorf("%s: %q scores %v (%v), want %v", q.ID, prediction, got.Score, err, want)
				}
			}
		}
	}
	if n != 446 {
		t.Errorf("%d questions, want 446", n)
	}
}

func hasID(id string) func(chunk.Turn) bool { return func(t chunk.Turn) bool { return t.ID == id } }
