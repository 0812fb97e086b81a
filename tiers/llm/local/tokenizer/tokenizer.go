// Package tokenizer turns text into the token ids of a GGUF model and back, and renders its chats, from nothing but the
// metadata inside the GGUF file. It handles byte-level BPE, the family of GPT-2, Llama 3, Qwen2 and SmolLM2; the ids
// equal llama.cpp's.
package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gomlx/go-huggingface/models/gguf"
)

// Metadata keys read from the GGUF file.
const (
	keyModel    = "tokenizer.ggml.model"
	keyPre      = "tokenizer.ggml.pre"
	keyTokens   = "tokenizer.ggml.tokens"
	keyTypes    = "tokenizer.ggml.token_type"
	keyMerges   = "tokenizer.ggml.merges"
	keyBOS      = "tokenizer.ggml.bos_token_id"
	keyEOS      = "tokenizer.ggml.eos_token_id"
	keyEOT      = "tokenizer.ggml.eot_token_id"
	keyEOM      = "tokenizer.ggml.eom_token_id"
	keyAddBOS   = "tokenizer.ggml.add_bos_token"
	keyTemplate = "tokenizer.chat_template"
)

// The kinds of token that matter here (values of tokenizer.ggml.token_type).
const (
	typeUnknown     = 2
	typeControl     = 3
	typeUserDefined = 4
)

// endTexts are control tokens that end a reply under any name that the metadata gives them or fails to give them.
var endTexts = []string{"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"}

// Tokenizer encodes and decodes text for one model. It is safe for concurrent use.
type Tokenizer struct {
	bpe     *bpe
	split   splitter
	special []specialToken // longest text first
	// isSpecial has the ids of special.
	isSpecial map[int32]bool
	pieces    []byte   // the bytes of all tokens, one after the other
	offsets   []uint32 // token i is pieces[offsets[i]:offsets[i+1]]
	end       map[int32]bool
	bos, eos  int32 // -1 when the metadata names none
	addBOS    bool
	template  *ChatTemplate
}

// specialToken is a token that stands for its literal text instead of being the result of merges.
type specialToken struct {
	text string
	id   int32
	// always is true for user-defined tokens, which are recognised even where control tokens are not.
	always bool
}

// FromGGUF builds the tokenizer that the metadata of f describes. A model or pre-tokenizer that this package does not
// know, or metadata that contradicts itself, is an error that names the metadata key.
func FromGGUF(f *gguf.File) (*Tokenizer, error) {
	t, err := fromMetadata(metadata{f})
	if err != nil {
		return nil, fmt.Errorf("tokenizer of %s: %w", f.Path(), err)
	}
	return t, nil
}

func fromMetadata(md metadata) (*Tokenizer, error) {
	if m := md.str(keyModel); m != "gpt2" {
		return nil, fmt.Errorf(`%s is %q: only "gpt2" (byte-level BPE) is supported`, keyModel, m)
	}
	pre, ok := preTokenizers[md.str(keyPre)]
	if !ok {
		return nil, fmt.Errorf("%s is %q: supported are %s", keyPre, md.str(keyPre), knownPreTokenizers())
	}
	tokens, types := md.strs(keyTokens), md.ints(keyTypes)
	switch {
	case len(tokens) == 0:
		return nil, fmt.Errorf("%s is missing or empty", keyTokens)
	case len(types) != len(tokens):
		return nil, fmt.Errorf("%s has %d entries for %d tokens", keyTypes, len(types), len(tokens))
	}
	ids := make(map[string]int32, len(tokens))
	for i, text := range tokens {
		ids[text] = int32(i)
	}
	t := &Tokenizer{split: pre.split, end: map[int32]bool{}}
	var err error
	if t.bpe, err = newBPE(ids, md.strs(keyMerges), pre.wholeWords); err != nil {
		return nil, err
	}
	t.setPieces(tokens, types)
	if t.bos, err = md.tokenID(keyBOS, len(tokens)); err != nil {
		return nil, err
	}
	if t.eos, err = md.tokenID(keyEOS, len(tokens)); err != nil {
		return nil, err
	}
	t.addBOS = t.bos >= 0 && md.flag(keyAddBOS, pre.addBOS)
	if err := t.setEnds(md, ids, types); err != nil {
		return nil, err
	}
	if source := md.str(keyTemplate); source != "" {
		if t.template, err = newChatTemplate(source, t.text(t.bos), t.text(t.eos)); err != nil {
			return nil, fmt.Errorf("%s: %w", keyTemplate, err)
		}
	}
	return t, nil
}

// setPieces records the bytes that every token stands for, and the special tokens.
func (t *Tokenizer) setPieces(tokens []string, types []int64) {
	t.offsets = make([]uint32, 1, len(tokens)+1)
	for i, text := range tokens {
		switch types[i] {
		case typeUnknown, typeControl, typeUserDefined:
			t.pieces = append(t.pieces, text...)
			if text != "" {
				t.special = append(t.special, specialToken{text, int32(i), types[i] == typeUserDefined})
			}
		default:
			t.pieces = appendRaw(t.pieces, text)
		}
		t.offsets = append(t.offsets, uint32(len(t.pieces)))
	}
	t.isSpecial = make(map[int32]bool, len(t.special))
	for _, s := range t.special {
		t.isSpecial[s.id] = true
	}
	// The longest first: where one special token begins another, the longer one wins.
	slices.SortStableFunc(t.special, func(a, b specialToken) int { return len(b.text) - len(a.text) })
}

// setEnds collects the tokens that end a reply.
func (t *Tokenizer) setEnds(md metadata, ids map[string]int32, types []int64) error {
	for _, key := range []string{keyEOS, keyEOT, keyEOM} {
		id, err := md.tokenID(key, len(types))
		if err != nil {
			return err
		}
		if id >= 0 {
			t.end[id] = true
		}
	}
	for _, text := range endTexts {
		if id, ok := ids[text]; ok && types[id] == typeControl {
			t.end[id] = true
		}
	}
	return nil
}

// Encode returns the token ids of text. With parseSpecial, control tokens written out in the text, such as
// "<|im_end|>", become their one token: right for a rendered chat, wrong for text that may quote them. User-defined tokens are
// always recognised. No beginning-of-text token is added (see BOS). Bytes that are not UTF-8 are read as U+FFFD, each;
// a byte for which the model has no token at all is left out, as llama.cpp does (SmolLM2 has none for six control
// characters, such as 0x04, and for code points U+40000–U+BFFFF).
func (t *Tokenizer) Encode(text string, parseSpecial bool) []int32 {
	if !utf8.ValidString(text) {
		text = string([]rune(text))
	}
	out := make([]int32, 0, len(text)/4+1)
	return t.encode(out, text, t.special, parseSpecial)
}

// encode cuts text at the special tokens, longest first, and encodes the parts between them.
func (t *Tokenizer) encode(out []int32, text string, special []specialToken, parseSpecial bool) []int32 {
	for i, s := range special {
		if !s.always && !parseSpecial {
			continue
		}
		for {
			before, after, found := strings.Cut(text, s.text)
			if !found {
				break
			}
			out = t.encode(out, before, special[i+1:], parseSpecial)
			out = append(out, s.id)
			text = after
		}
	}
	for len(text) > 0 {
		n := t.split(text)
		out = t.bpe.encode(out, text[:n])
		text = text[n:]
	}
	return out
}

// Decode returns the text of ids, control tokens written out. A character cut in two by the choice of ids leaves bytes
// that are not UTF-8. Ids outside the vocabulary add nothing.
func (t *Tokenizer) Decode(ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		b.Write(t.Bytes(id))
	}
	return b.String()
}

// Bytes returns what one token stands for: possibly part of a UTF-8 character. The caller does not change it.
func (t *Tokenizer) Bytes(id int32) []byte {
	if id < 0 || int(id) >= t.vocabSize() {
		return nil
	}
	return t.pieces[t.offsets[id]:t.offsets[id+1]:t.offsets[id+1]]
}

func (t *Tokenizer) text(id int32) string { return string(t.Bytes(id)) }

// vocabSize is the number of tokens.
func (t *Tokenizer) vocabSize() int { return len(t.offsets) - 1 }

// EOG reports whether id ends a reply: end of text, of turn, or of message.
func (t *Tokenizer) EOG(id int32) bool { return t.end[id] }

// Special reports whether id stands for a text that means something else than itself, such as "<|im_end|>".
func (t *Tokenizer) Special(id int32) bool { return t.isSpecial[id] }

// BOS returns the beginning-of-text token, and whether the model wants it in front of every text.
func (t *Tokenizer) BOS() (int32, bool) { return t.bos, t.addBOS }

// Template returns the model's chat template, nil if it has none (Render of a nil template returns an error).
func (t *Tokenizer) Template() *ChatTemplate { return t.template }

// metadata reads typed values of a GGUF header; a missing key reads as the zero value.
type metadata struct{ f *gguf.File }

func (m metadata) value(key string) gguf.Value {
	kv, _ := m.f.GetKeyValue(key)
	return kv.Value
}

func (m metadata) str(key string) string    { return m.value(key).String() }
func (m metadata) strs(key string) []string { return m.value(key).Strings() }
func (m metadata) ints(key string) []int64  { return m.value(key).Int64s() }

func (m metadata) flag(key string, missing bool) bool {
	if kv, ok := m.f.GetKeyValue(key); ok {
		return kv.Bool()
	}
	return missing
}

// tokenID returns the token id under key, -1 when there is none, an error when it is not one of vocab tokens.
func (m metadata) tokenID(key string, vocab int) (int32, error) {
	kv, ok := m.f.GetKeyValue(key)
	if !ok {
		return -1, nil
	}
	if id := kv.Uint64(); id < uint64(vocab) {
		return int32(id), nil
	}
	return 0, fmt.Errorf("%s is %v: the vocabulary has %d tokens", key, kv.Raw(), vocab)
}
