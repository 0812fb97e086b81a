package bert

import (
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/internal/models/modelstest"
)

// A long word has the tokens that the library finds in it, and one that is no word is cut into pieces in time that grows with
// its length alone.
func TestLongWords(t *testing.T) {
	tokens, err := OpenTokenizer(modelstest.Path(t, "all-minilm-l6-v2"))
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewSource(1))
	pieces := []string{"a", "Word", "don't", "é", "ß", "猫", "，", "“", "https://", "_", "$", "9", "\u0301", "แมว", "-", "\u200d", "👩"}
	for range 200 {
		var b strings.Builder
		for b.Len() < maxWord+rng.Intn(800) {
			b.WriteString(pieces[rng.Intn(len(pieces))])
		}
		word := b.String()
		if got, want := tokens.Encode(word), tokens.tokenizer.Encode(strings.Map(visible, word)); !slices.Equal(got, want) {
			t.Errorf("%q: %d tokens, want %d", word, len(got), len(want))
		}
	}
	for _, piece := range []string{"a", "a,", "猫", "แมว", "a\u0301", "👩\u200d", "7", "Zm9v"} {
		start := time.Now()
		n := tokens.Count(strings.Repeat(piece, 1_000_000/len(piece)))
		if took := time.Since(start); n < 10_000 || took > 20*time.Second {
			t.Errorf("1 MB of %q: %d tokens in %s", piece, n, took)
		}
	}
}
