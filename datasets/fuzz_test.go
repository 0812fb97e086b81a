package datasets

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// Whatever a data file holds, it is refused with its name, or every question has a text and an answer and its evidence
// names turns that exist.
func checkParsed(t *testing.T, q Question, h History) {
	t.Helper()
	if q.ID == "" || q.Text == "" || len(q.Gold) == 0 || q.History != h.ID {
		t.Fatalf("incomplete question %+v", q)
	}
	for _, id := range q.Evidence {
		if !slices.ContainsFunc(h.Turns, func(turn chunk.Turn) bool { return turn.ID == id }) {
			t.Fatalf("%s: evidence %q names no turn", q.ID, id)
		}
	}
}

func checkRefused(t *testing.T, err error) {
	t.Helper()
	if err != nil && !strings.HasPrefix(err.Error(), "f.json: ") {
		t.Fatalf("error does not name the file: %v", err)
	}
}

func FuzzLoCoMo(f *testing.F) {
	f.Add([]byte(`[{"sample_id":"c","conversation":{"speaker_a":"A","session_1":[{"speaker":"A","dia_id":"D1:1","text":"Hi","blip_caption":"a cat"}],
	"session_1_date_time":"8 May"},"qa":[{"question":"Who?","answer":2022,"evidence":["D1:01; D9:9"],"category":2},{"question":"x","category":5}]}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkRefused(t, decode(t.Context(), "f.json", bytes.NewReader(data), func(c *locomoConversation) error {
			h := c.history()
			for _, q := range c.questions(h) {
				checkParsed(t, q, h)
			}
			return nil
		}))
	})
}

func FuzzLongMemEval(f *testing.F) {
	f.Add([]byte(longMemEvalExample))
	f.Add([]byte(`[null]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkRefused(t, decode(t.Context(), "f.json", bytes.NewReader(data), func(r *longMemEvalRecord) error {
			q, h := r.convert()
			checkParsed(t, q, h)
			return nil
		}))
	})
}

func FuzzHotpotQA(f *testing.F) {
	f.Add([]byte(`[{"_id":"d","question":"Which?","answer":"Ed","type":"bridge","supporting_facts":[["Ed",1],["Ed",[0,7],["s"],{}]],
	"gold_titles":["Ed"],"context":[["Ed",["Ed was."," He made."]],["B","One. Two."],["B",[]]]}]`))
	f.Add([]byte(`{"_id":"d","question":"Which?","answer":"Ed","type":"comparison","gold_titles":["Ed","Z"],"context":[["Ed","Mr. A. B. said. Go!"]]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkRefused(t, decode(t.Context(), "f.json", bytes.NewReader(data), func(r *hotpotRecord) error {
			checkParsed(t, r.question(), r.history(r.Context))
			return nil
		}))
	})
}
