package datasets

import (
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// In MemAgent's setting every question has 200 different documents, its own among them, in an order that repeats.
func TestHotpot200(t *testing.T) {
	small, err := Open("hotpotqa", Options{})
	if err != nil {
		t.Fatal(err)
	}
	large, err := Open("hotpotqa-200", Options{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := Open("hotpotqa-200", Options{})
	if err != nil {
		t.Fatal(err)
	}
	questions, err := small.Test(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(questions) != 200 || questions[0].ID != "5a8b57f25542995d1e6f1371" {
		t.Fatalf("%d questions from %s; want the first 200 dev questions", len(questions), questions[0].ID)
	}
	goldPlaces := map[int]bool{}
	for _, q := range questions {
		own, padded := documentsOf(t, small, q.ID), documentsOf(t, large, q.ID)
		if len(padded) != 200 {
			t.Fatalf("%s has %d documents", q.ID, len(padded))
		}
		for _, title := range own {
			if !slices.Contains(padded, title) {
				t.Errorf("%s: document %q is lost", q.ID, title)
			}
		}
		if !slices.Equal(padded, documentsOf(t, again, q.ID)) {
			t.Errorf("%s: the draw does not repeat", q.ID)
		}
		for _, title := range q.EvidenceSessions {
			goldPlaces[slices.Index(padded, title)] = true
		}
	}
	if len(goldPlaces) < 100 {
		t.Errorf("gold documents stand in %d places only; they are not shuffled in", len(goldPlaces))
	}
}

// documentsOf lists a history's documents in order.
func documentsOf(t *testing.T, d Dataset, id string) []string {
	t.Helper()
	h, err := d.History(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, turn := range h.Turns {
		if turn.Session != turn.ID {
			continue // a sentence
		}
		if slices.Contains(out, turn.Session) || turn.Text != turn.Session {
			t.Fatalf("%s: title turn %+v", id, turn)
		}
		out = append(out, turn.Session)
	}
	return out
}

// The official files, of which the shipped ones are a part, are read from the data folder.
func TestHotpotFull(t *testing.T) {
	const dev = `[{"_id":"d1","question":"Which?","answer":"Ed","type":"bridge","level":"hard",
	 "supporting_facts":[["Ed Wood",1],["Ed Wood",9],["Nobody",0]],
	 "context":[["Ed Wood",["Ed was."," He made films."]],["Other",["Else."]]]}]`
	dir := t.TempDir()
	put(t, dir, "hotpot_dev_distractor_v1.json", []byte(dev))
	var train strings.Builder
	for i := range 400 {
		train.WriteString(strings.Replace(dev[1:len(dev)-1], "d1", "t"+strings.Repeat("x", i), 1))
	}
	put(t, dir, "hotpot_train_v1.1.json", []byte(train.String()))
	d, err := Open("hotpotqa-full", Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	held, err := d.Test(t.Context())
	if err != nil || len(held) != 1 {
		t.Fatalf("%d test questions, %v", len(held), err)
	}
	q := held[0]
	if !slices.Equal(q.Evidence, []string{"Ed Wood#1"}) || q.EvidenceDropped != 2 || !slices.Equal(q.EvidenceSessions, []string{"Ed Wood"}) {
		t.Errorf("evidence of %+v; want Ed Wood#1 and two dropped", q)
	}
	h, err := d.History(t.Context(), q.History)
	if err != nil {
		t.Fatal(err)
	}
	if text := (chunk.Chunk{Turns: h.Turns[:3]}).Text(); text != "Ed Wood\nEd was.\nHe made films." {
		t.Errorf("the document reads %q", text)
	}
	parts := map[Split]int{}
	for _, split := range []Split{Train, Validation} {
		questions, err := d.Questions(t.Context(), split)
		if err != nil {
			t.Fatal(err)
		}
		parts[split] = len(questions)
	}
	if parts[Train]+parts[Validation] != 400 || parts[Validation] < 5 || parts[Validation] > 45 {
		t.Errorf("training and validation questions: %v; want 400 in all and about 20 for validation", parts)
	}
}
