package datasets

import (
	"encoding/json"
	"slices"
	"testing"
)

const longMemEvalExample = `{"question_id":"q1","question_type":"temporal-reasoning","question":"How many?","question_date":"2023/05/30",
"answer":5,"answer_session_ids":["s2"],"haystack_dates":["d1","d2","d3"],"haystack_session_ids":["s1","s2","s1"],
"haystack_sessions":[[{"role":"user","content":"Hi"},{"role":"assistant","content":""}],
[{"role":"user","content":"Five of them","has_answer":true},{"role":"assistant","content":"I see"}],[{"role":"user","content":"Hi"}]]}`

func TestLongMemEvalRecord(t *testing.T) {
	var r longMemEvalRecord
	if err := json.Unmarshal([]byte(longMemEvalExample), &r); err != nil {
		t.Fatal(err)
	}
	if err := r.check(); err != nil {
		t.Fatal(err)
	}
	q, h := r.convert()
	var ids []string
	for _, turn := range h.Turns {
		ids = append(ids, turn.ID)
	}
	if want := []string{"s1:0", "s2:0", "s2:1", "s1~2:0"}; !slices.Equal(ids, want) {
		t.Errorf("turns %q, want %q: the empty turn left out, the repeated session renamed", ids, want)
	}
	if !slices.Equal(q.Gold, []string{"5"}) || !slices.Equal(q.Evidence, []string{"s2:0"}) || !slices.Equal(q.EvidenceSessions, []string{"s2"}) {
		t.Errorf("question is %+v", q)
	}
	if first := h.Turns[1]; first.Time != "d2" || first.Speaker != "user" || q.Date != "2023/05/30" {
		t.Errorf("date or speaker is wrong: %+v, %+v", first, q)
	}
}

// The publisher's file with all questions serves for the splits that are not shipped.
func TestLongMemEvalPublished(t *testing.T) {
	// Make such a file of the oracle's records: they have the same ids and form.
	var all []json.RawMessage
	err := load(t.Context(), oracleSpec.sources(test)[0], Options{}, func(r *rawRecord) error {
		all = append(all, json.RawMessage(*r))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put(t, dir, "longmemeval_s_cleaned.json.gz", gzipped(t, string(text)))
	d, err := Open("longmemeval", Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	train, err := d.Questions(t.Context(), Train)
	if err != nil || len(train) != 296 {
		t.Fatalf("%d training questions, %v; want 296", len(train), err)
	}
	if _, err := d.History(t.Context(), train[0].History); err != nil {
		t.Error(err)
	}
	without, err := Open("longmemeval", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Hash() == without.Hash() {
		t.Error("another training file leaves the hash as it was")
	}
}

// rawRecord is a record that stays as it is.
type rawRecord json.RawMessage

func (r *rawRecord) UnmarshalJSON(data []byte) error { *r = slices.Clone(data); return nil }

func (*rawRecord) check() error { return nil }
