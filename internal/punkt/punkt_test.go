package punkt

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/internal/pytext"
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

// NLTK's sentences; testdata/golden.py made the file.
func TestGolden(t *testing.T) {
	f, err := os.Open("testdata/golden.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var cases [][2]json.RawMessage
	if err := json.NewDecoder(z).Decode(&cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 1000 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		var text string
		var want []string
		if err := json.Unmarshal(c[0], &text); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(c[1], &want); err != nil {
			t.Fatal(err)
		}
		if got := Sentences(text); !slices.Equal(got, want) {
			t.Errorf("Sentences(%q)\n = %q\nwant %q", text, got, want)
		}
	}
}

func FuzzSentences(f *testing.F) {
	f.Add("He said: \"Go. Now!\" -- Dr. A. B. Smith, 3.5 km . . . away.")
	f.Fuzz(func(t *testing.T, text string) {
		// Every character that is no white space must come out, in order.
		squeeze := func(s string) string { return strings.Join(strings.FieldsFunc(s, pytext.IsSpace), "") }
		if got, want := squeeze(strings.Join(Sentences(text), " ")), squeeze(string([]rune(text))); got != want {
			t.Errorf("Sentences(%q) lost text: %q", text, got)
		}
	})
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
