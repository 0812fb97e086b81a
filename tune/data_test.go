package tune

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// How much of the evidence was retrieved and quoted, also where a quotation is cut.
func TestEvidence(t *testing.T) {
	history := []chunk.Turn{
		{ID: "1", Speaker: "Ann", Text: "I moved to Rome last May, into a flat above a bakery that opens at five."},
		{ID: "2", Speaker: "Bob", Text: "Lovely! I have never been to Italy, but I should like to go one day."},
		{ID: "3", Speaker: "Ann", Text: "You could stay with us; the sofa in the kitchen is nearly as long as you are."},
	}
	gold := goldLines(history, []string{"1", "3"})
	for _, c := range []struct {
		name      string
		retrieved string // one id a character
		notes     []string
		want      Evidence
	}{
		{"nothing", "", nil, Evidence{}},
		{"another turn", "2", goldLines(history, []string{"2"}), Evidence{}},
		{"retrieved only", "213", nil, Evidence{Retrieved: 1}},
		{"one of two", "23", gold[1:], Evidence{Retrieved: 0.5, Quoted: 0.5}},
		{"cut", "13", []string{gold[0][:60] + "…", gold[1]}, Evidence{Retrieved: 1, Quoted: 1}},
	} {
		retrieved := []bmem.Found{{Turns: strings.Split(c.retrieved, "")}}
		if got := evidence([]string{"1", "3"}, gold, retrieved, c.notes); got == nil || *got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	for _, c := range []struct {
		notes, turn string
		want        bool
	}{
		{"[May] Ann said, \"Hi! I moved.\"", "[May] Ann said, \"Hi! I moved.\"", true},
		{"[May] Ann said, \"Hi! I moved to Rome.\"", "[May] Ann said, \"Hi! I moved to Oslo.\"", false},
		{"[May] Ann said, \"… I moved to Rome. …\"", "[May] Ann said, \"Hi there! I moved to Rome. It is warm.\"", true},
		{"[May] Ann said, \"Hi! … It is warm.\"", "[May] Ann said, \"Hi! I moved to Rome. It is warm.\"", true},
		{"[May] Ann said, \"Hi! … It is cold.\"", "[May] Ann said, \"Hi! I moved to Rome. It is warm.\"", false},
		{"[May] Bob said, \"… It is warm.\"", "[May] Ann said, \"Hi! I moved to Rome. It is warm.\"", false},
		{"[May] Bob said, \"Hi!\"\n[May] Ann said, \"I play.\n [shared picture: a drum kit]\"", "[May] Ann said, \"I play.\n [shared picture: a drum kit]\"", true},
		{"[May] Ann said, \"\nI swim.\"", "[May] Ann said, \"\nI play.\"", false},
		{"[May] Ann said, \"… I play. [shared picture: a drum kit]\"", "[May] Ann said, \"Hi! I play.\n [shared picture: a drum kit]\"", true},
		{"[May] Ann said, \"… I play. [shared picture: a drum kit]\"", "[May] Ann said, \"Hi! I play.\n>  [shared picture: a drum kit]\"", true},
		{"[May] Ann said, \"Well… yes.\"", "[May] Ann said, \"Well… yes.\"", true},
	} {
		if got := quotes(strings.Split(c.notes, "\n"), c.turn); got != c.want {
			t.Errorf("%s quote %s: %v", c.notes, c.turn, got)
		}
	}
	if got := evidence(nil, nil, []bmem.Found{{Turns: []string{"1"}}}, gold); got != nil {
		t.Errorf("without known evidence: %v", got)
	}
}

// The shares are means over the examples of a variant that have known evidence.
func TestEvidenceShares(t *testing.T) {
	got := evidenceShares([]Example{
		{Variant: Retrieved, Evidence: &Evidence{Retrieved: 1, Quoted: 1}},
		{Variant: Retrieved, Evidence: &Evidence{Retrieved: 0.5, Quoted: 0.25}},
		{Variant: GoldOnly, Evidence: &Evidence{Retrieved: 0, Quoted: 1}},
		{Variant: Retrieved}, // of a question without known evidence
	})
	want := map[string]EvidenceShares{
		Retrieved: {2, Evidence{Retrieved: 0.75, Quoted: 0.625}, 0.5},
		GoldOnly:  {1, Evidence{Retrieved: 0, Quoted: 1}, 1},
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// What is retrieved beside the evidence are whole turns: no line of one that is evidence is left.
func TestWithout(t *testing.T) {
	gold := []string{"[May] Ann said, \"I play.\n [shared picture: a drum kit]\"", "[May] Ann said, \"I moved. It rained. I slept.\""}
	lines := strings.Split(gold[0]+"\n[May] Bob said, \"Hi!\"\n[May] Ann said, \"I moved. … I slept.\"", "\n")
	if got := without(lines, gold); !slices.Equal(got, []string{"[May] Bob said, \"Hi!\""}) {
		t.Errorf("left: %q", got)
	}
}
