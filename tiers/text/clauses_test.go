package text

import (
	"reflect"
	"strings"
	"sync"
	"testing"
)

func TestClauses(t *testing.T) {
	var tagger Tagger
	in := Setting{Speaker: "Ann", Listener: "Bob"}
	for _, c := range []struct {
		text string
		want []string
	}{
		{"I went to a support group yesterday and it was so powerful.", []string{"Ann | went to | a support group yesterday"}},
		{"I haven't done pottery yet.", []string{"Ann | has not done | pottery yet"}},
		{"Took a short trip last week to Rome.", []string{"Ann | took | a short trip last week to Rome"}},
		{"My daughter plays the violin.", []string{"Ann's daughter | plays | the violin"}},
		{"Your dog has eaten my shoes!", []string{"Bob's dog | has eaten | Ann's shoes"}},
		{"We roasted marshmallows and shared stories.", []string{"Ann and others | roasted | marshmallows", "Ann and others | shared | stories"}},
		{"What did you do last week?", nil},
		{"Keep up the great work!", nil},
		{"Wow, Bob! Thanks!", nil},
		{"It was great.", nil},
		{"Last month I got a new job.", []string{"Ann | got | a new job"}},
	} {
		var got []string
		for _, cl := range tagger.Clauses(c.text, in) {
			got = append(got, cl.Subject+" | "+cl.Relation+" | "+cl.Object)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q:\n got %q\nwant %q", c.text, got, c.want)
		}
	}
	doc := tagger.Clauses("He was born in Vienna.", Setting{Title: "Franz Schubert"})
	if len(doc) != 1 || doc[0].Subject != "Franz Schubert" {
		t.Errorf("in a document: %+v, want Franz Schubert as the subject", doc)
	}
}

func TestNames(t *testing.T) {
	for text, want := range map[string][]string{
		"Hey Mel! I moved from Sweden to New York City.":          {"Sweden", "New York City"},
		`I read "Nothing is Impossible" last year.`:               {"Nothing is Impossible"},
		"Wow. Thanks. That's cool.":                               nil,
		"Sara's song is nice. I like Sara.":                       {"Sara"},
		"The University of Oslo is where Dr. Berg works, he says": {"University of Oslo", "Dr. Berg"},
	} {
		if got := Names(text); !reflect.DeepEqual(got, want) {
			t.Errorf("Names(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestSentences(t *testing.T) {
	got := Sentences("I met Dr. Berg. He left! Did he? Yes... no")
	if want := []string{"I met Dr. Berg.", "He left!", "Did he?", "Yes... no"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestKeyPhrases(t *testing.T) {
	var tagger Tagger
	got := tagger.KeyPhrases("Ann joined a pottery class. The pottery class made a lot of fun. She sold a bowl.", map[string]bool{"Ann": true}, 2)
	if len(got) == 0 || !strings.Contains(got[0], "pottery class") {
		t.Errorf("got %+v, want the pottery class first", got)
	}
}

// TestTaggerIsSafeForConcurrentUse means something under the race detector only.
func TestTaggerIsSafeForConcurrentUse(t *testing.T) {
	var tagger Tagger
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if c := tagger.Clauses("I bought a car.", Setting{Speaker: "Ann"}); len(c) != 1 {
				t.Errorf("%d clauses", len(c))
			}
		})
	}
	wg.Wait()
}
