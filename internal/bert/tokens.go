package bert

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/gomlx/go-huggingface/tokenizers/api"
	"github.com/gomlx/go-huggingface/tokenizers/hftokenizer"
)

// maxWords and maxWord bound the words that a Tokenizer remembers, to some 10 MB: their number, and the bytes of one. What is
// longer hardly comes twice.
const maxWords, maxWord = 1 << 16, 64

// Tokenizer is a BERT tokenizer that remembers the tokens of words. BERT never lets a token cross white space, so a text
// has the tokens of its words, and in natural language most words have been seen before.
type Tokenizer struct {
	tokenizer *hftokenizer.Tokenizer
	CLS, SEP  int // ids of [CLS] and [SEP], which open and close every input

	mu    sync.RWMutex
	words map[string][]int
}

// OpenTokenizer opens the tokenizer of the model in dir (tokenizer.json, tokenizer_config.json).
func OpenTokenizer(dir string) (*Tokenizer, error) {
	config, err := api.ParseConfigFile(filepath.Join(dir, "tokenizer_config.json"))
	if err != nil {
		return nil, err
	}
	tokenizer, err := hftokenizer.NewFromFile(config, filepath.Join(dir, "tokenizer.json"))
	if err != nil {
		return nil, err
	}
	if err := tokenizer.With(api.EncodeOptions{}); err != nil { // no special tokens
		return nil, err
	}
	t := &Tokenizer{tokenizer: tokenizer, words: map[string][]int{}}
	for name, id := range map[string]*int{"[CLS]": &t.CLS, "[SEP]": &t.SEP} {
		var ok bool
		if *id, ok = tokenizer.TokenToID(name); !ok {
			return nil, fmt.Errorf("tokenizer.json: no token %q", name)
		}
	}
	return t, nil
}

// Count is the number of tokens of text, special tokens left out and nothing cut.
func (t *Tokenizer) Count(text string) int { return len(t.Encode(text)) }

// Encode returns the token ids of text, special tokens left out.
func (t *Tokenizer) Encode(text string) []int {
	var ids []int
	for word := range strings.FieldsFuncSeq(text, isSpace) {
		ids = append(ids, t.word(word)...)
	}
	return ids
}

func (t *Tokenizer) word(word string) []int {
	t.mu.RLock()
	ids, ok := t.words[word]
	t.mu.RUnlock()
	if ok {
		return ids
	}
	if len(word) > maxWord {
		if parts := wordParts(word); len(parts) > 1 {
			for _, part := range parts {
				ids = append(ids, t.word(part)...)
			}
			return ids
		}
	}
	ids = slices.Clip(t.tokenizer.Encode(strings.Map(visible, word)))
	if len(word) > maxWord {
		return ids
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.words) >= maxWords {
		clear(t.words)
	}
	t.words[strings.Clone(word)] = ids
	return ids
}

// longestWord is the length in characters from which a word without punctuation is cut into pieces of pieceRunes characters.
// BERT makes one unknown token of a word from 100 characters on, however long it is, so that it would cost nothing.
const longestWord, pieceRunes = 256, 16

// wordParts cuts a word into the parts that BERT tokenizes by themselves: punctuation marks, Chinese characters and what is
// between them, the last in pieces if it is no word.
func wordParts(word string) []string {
	var parts []string
	add := func(run string) {
		if utf8.RuneCountInString(run) <= longestWord {
			parts = append(parts, run)
			return
		}
		n, start := 0, 0
		for i := range run {
			if n++; n > pieceRunes {
				parts = append(parts, run[start:i])
				n, start = 1, i
			}
		}
		parts = append(parts, run[start:])
	}
	start := 0
	for i, r := range word {
		if !standsAlone(r) {
			continue
		}
		if i > start {
			add(word[start:i])
		}
		start = i + utf8.RuneLen(r)
		parts = append(parts, word[i:start])
	}
	if start < len(word) {
		add(word[start:])
	}
	return parts
}

// standsAlone tells what BERT makes a word of its own: all marks of ASCII, other punctuation, common Chinese characters.
func standsAlone(r rune) bool {
	if r <= unicode.MaxASCII {
		return r > ' ' && !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != 0x7f
	}
	return unicode.IsPunct(r) || 0x4e00 <= r && r <= 0x9fff
}

// isSpace tells what BERT takes for white space. Other control characters that Go counts as such are dropped by it.
func isSpace(r rune) bool {
	return r == ' ' || r == '\t' || r == '\n' || r == '\r' || r > unicode.MaxASCII && unicode.In(r, unicode.Z)
}

// visible drops what BERT's cleaning drops beyond the control characters, which are all that the tokenizer drops itself:
// format characters such as zero-width spaces, and private use.
func visible(r rune) rune {
	if r > unicode.MaxASCII && unicode.In(r, unicode.Cf, unicode.Co) {
		return -1
	}
	return r
}
