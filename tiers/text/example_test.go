package text_test

import (
	"fmt"

	"github.com/budgetmem/budgetmem/tiers/text"
)

func ExampleFindDates() {
	said, _ := text.ParseTime("1:14 pm on 25 May, 2023")
	for _, e := range text.FindDates("I ran a charity race last Saturday, and we're going camping next month.") {
		fmt.Printf("%s: %s\n", e.Text, e.Resolve(said))
	}
	// Output:
	// last Saturday: the Saturday before 25 May 2023
	// next month: June 2023
}

func ExampleTagger_Clauses() {
	var t text.Tagger
	for _, c := range t.Clauses("My daughter plays the violin, but I haven't tried it.", text.Setting{Speaker: "Ann"}) {
		fmt.Println(c.Subject, "|", c.Relation, "|", c.Object)
	}
	// Output:
	// Ann's daughter | plays | the violin
}
