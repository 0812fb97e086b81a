package datasets

import (
	"slices"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
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

func hasID(id string) func(chunk.Turn) bool { return func(t chunk.Turn) bool { return t.ID == id } }
