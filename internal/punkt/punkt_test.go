package punkt

import (
	"slices"
	"sync"
	"testing"
)

func TestSentences(t *testing.T) {
	for text, want := range map[string][]string{
		"":    nil,
		" \n": nil,
		"He met Dr. Smith at 5 p.m. on Jan. 5th. Then he left.":       {"He met Dr. Smith at 5 p.m. on Jan. 5th.", "Then he left."},
		"It cost $3.50!  Really? Yes.":                                {"It cost $3.50!", "Really?", "Yes."},
		"Woodson is in the United States. Its population was 403.\n ": {"Woodson is in the United States.", "Its population was 403."},
	} {
		if got := Sentences(text); !slices.Equal(got, want) {
			t.Errorf("Sentences(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	const text = "Mr. Wood was born in the U.S. He worked there. It was 3.5 km away."
	want := Sentences(text)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				if got := Sentences(text); !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
	all.Wait()
}
