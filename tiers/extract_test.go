package tiers

import (
	"context"
	"math"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// Answers by rules come from the turn that stands last, which is the likeliest.
func TestAnswerByRules(t *testing.T) {
	const notes = `[8 May 2022] James said, "Wow, organizing that tournament must have been a lot of work!"
[8 May 2022] John said, "Hey James! I've been organizing something with my friends yesterday (7 May 2022). [shared picture: a photo of a controller]"`
	for _, c := range []struct {
		name, question, notes, want string
		form                        Form
	}{
		{"a relative date, resolved", "When did John organize the tournament?", notes, "7 May 2022", ToldDate},
		{"the day of the turn", "When did Ann adopt Rex?", `[3 June 2023] Ann said, "I adopted Rex!"`, "3 June 2023", SaidDate},
		{"a date of its own", "When did they marry?", `[3 June 2023] Ann said, "They married in 1993."`, "1993", ToldDate},
		{"a year", "In which year did Ann adopt Rex?", `[3 June 2023] Ann said, "I adopted Rex!"`, "2023", SaidDate},
		{"a month", "What month did Ann adopt Rex?", `[3 June 2023] Ann said, "I adopted Rex!"`, "June 2023", SaidDate},
		{"a year in a document", "When was the bridge built?", "[Old Bridge] The bridge was built in 1874 by the town.", "1874", ToldDate},
		{"when inside a question asks for no date", "Who was there when Ann moved?", `[3 June 2023] Ann said, "Carla Ruiz helped me."`, "Carla Ruiz", Names},
		{"a number", "How many dogs does Ann have?", `[3 June 2023] Ann said, "I have three dogs."`, "three", Number},
		{"yes or no", "Does Ann like tea?", `[3 June 2023] Ann said, "I drink tea all day."`, "Yes", Yes},
		{"one of two", "Which is older, Old Bridge or New Bridge?", "[New Bridge] New Bridge was built in 1900.\n[Old Bridge] Old Bridge was built in 1874.", "Old Bridge", Option},
		{"a name", "What is the name of Ann's dog?", `[3 June 2023] Ann said, "This is Rex, my dog."`, "Rex", Names},
		{"words that the question lacks", "What did Ann plant in the garden?", `[3 June 2023] Ann said, "Hello! I planted two rose bushes in the garden."`, "two rose bushes", Words},
		{"near a day", "When did Ann move?", `[3 June 2023] Ann said, "I moved last week (the week before 3 June 2023)."`, "the week before 3 June 2023", RelativeDate},
		{"no notes", "When did Ann move?", "", "", ""},
		{"blank notes", "Who moved?", " \n\n", "", ""},
	} {
		if got, form := extractAnswer(Input{Query: c.question, Notes: c.notes}); got != c.want || form != c.form {
			t.Errorf("%s: %q, %s, want %q, %s", c.name, got, form, c.want, c.form)
		}
	}
}

// The tier by rules asks no model and needs none.
func TestAnswerByRulesIsFree(t *testing.T) {
	spec, err := ParseSpec("free", []byte(`
modules:
  filter: &two
    - {tier: low, method: keywords}
    - {tier: mid, method: evidence}
  summary:
    - {tier: low, method: brief}
    - {tier: mid, method: quotes}
  answer:
    - {tier: low, method: rules}
    - {tier: mid, method: reply, model: large}
`))
	if err != nil {
		t.Fatal(err)
	}
	set, err := spec.Build(Deps{Models: map[string]llm.Client{"large": unasked{}}})
	if err != nil {
		t.Fatal(err)
	}
	in := Input{Query: "When did Ann move?", Notes: `[3 June 2023] Ann said, "I moved yesterday (2 June 2023)."`}
	low := set[Answering][0]
	if dollars, err := low.WorstCase(t.Context(), in); err != nil || dollars != 0 {
		t.Errorf("%v, %v", dollars, err)
	}
	out, err := low.Run(context.Background(), in)
	if err != nil || out.Text != "2 June 2023" || out.Answer.Text != out.Text || out.Step.Usage.Calls != 0 || out.Step.Model != "" || out.Step.Served != "low" {
		t.Errorf("%+v, %v", out, err)
	}
}

// unasked is a model that a test must not ask.
type unasked struct{ llm.Client }

func (unasked) Model() string { return "unasked" }

// No notes and question make the rules fail.
func FuzzAnswerByRules(f *testing.F) {
	f.Add("When did Ann move?", `[3 June 2023] Ann said, "I moved yesterday (2 June 2023)."`)
	f.Add("A or B?", "[] \n[x] said, \"\"")
	f.Fuzz(func(_ *testing.T, question, notes string) {
		extractAnswer(Input{Query: question, Notes: notes})
	})
}

// What the notes tell of a model's answer: whether rules agree with it, and whether its words are there.
func TestBacking(t *testing.T) {
	in := Input{Query: "What is the name of Ann's dog?", Notes: `[3 June 2023] Ann said, "This is Rex, my dog."`}
	for answer, want := range map[string]Backing{
		"Rex":      {Rules: 1, Notes: 1},
		"rex.":     {Rules: 1, Notes: 1},
		"Rex Bell": {Rules: 2. / 3, Notes: 0.5},
		"my dog":   {Notes: 1},
		"Fido":     {},
		"...":      {},
		"":         {},
	} {
		if got := *backing(answer, in); math.Abs(got.Rules-want.Rules) > 1e-12 || math.Abs(got.Notes-want.Notes) > 1e-12 {
			t.Errorf("%q has %+v, want %+v", answer, got, want)
		}
	}
	if got := *backing("Rex", Input{Query: in.Query}); got != (Backing{}) {
		t.Errorf("without notes: %+v", got)
	}
}
