package tokenizer

import (
	"slices"
	"testing"

	"github.com/dlclark/regexp2"
)

// The pre-tokenizers as the regular expressions that define them. SmolLM2 applies two, one after the other.
const (
	gpt2Regexp   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	llama3Regexp = `(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwen2Regexp  = `(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

var definitions = map[string][]string{
	"gpt-2":     {gpt2Regexp},
	"smollm":    {`\p{N}`, gpt2Regexp},
	"qwen2":     {qwen2Regexp},
	"llama-bpe": {llama3Regexp},
}

// splitRegexp cuts every text at the matches of re, which become words as well as what lies between them.
func splitRegexp(t testing.TB, re *regexp2.Regexp, texts []string) (words []string) {
	add := func(w []rune) {
		if len(w) > 0 {
			words = append(words, string(w))
		}
	}
	for _, text := range texts {
		runes, end := []rune(text), 0
		m, err := re.FindRunesMatch(runes)
		for ; m != nil && err == nil; m, err = re.FindNextMatch(m) {
			add(runes[end:m.Index])
			end = m.Index + m.Length
			add(runes[m.Index:end])
		}
		if err != nil {
			t.Fatal(err)
		}
		add(runes[end:])
	}
	return words
}

func splitAll(split splitter, text string) (words []string) {
	for len(text) > 0 {
		n := split(text)
		words = append(words, text[:n])
		text = text[n:]
	}
	return words
}

func TestSplitEqualsRegexp(t *testing.T) {
	for name, patterns := range definitions {
		pre, ok := preTokenizers[name]
		if !ok {
			t.Fatalf("no pre-tokenizer %q", name)
		}
		for _, l := range readLines(t) {
			want := []string{l.Text}
			for _, p := range patterns {
				want = splitRegexp(t, regexp2.MustCompile(p, regexp2.None), want)
			}
			if l.Text == "" {
				want = nil
			}
			if got := splitAll(pre.split, l.Text); !slices.Equal(got, want) {
				t.Errorf("%s %q:\n got %q\nwant %q", name, l.Text, got, want)
			}
		}
	}
}

func BenchmarkSplit(b *testing.B) {
	var texts []string
	size := int64(0)
	for _, l := range readLines(b)[:1050] {
		texts = append(texts, l.Text)
		size += int64(len(l.Text))
	}
	b.Run("scanner", func(b *testing.B) {
		b.SetBytes(size)
		split := preTokenizers["qwen2"].split
		for b.Loop() {
			for _, text := range texts {
				for len(text) > 0 {
					text = text[split(text):]
				}
			}
		}
	})
	b.Run("regexp2", func(b *testing.B) {
		b.SetBytes(size)
		re := regexp2.MustCompile(qwen2Regexp, regexp2.None)
		for b.Loop() {
			splitRegexp(b, re, texts)
		}
	})
}
