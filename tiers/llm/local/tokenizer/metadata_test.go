package tokenizer

import (
	"bytes"
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/go-huggingface/models/gguf"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// header writes a GGUF header with the given metadata and no tensors.
func header(values map[string]any) []byte {
	var b bytes.Buffer
	put := func(v any) { binary.Write(&b, binary.LittleEndian, v) }
	text := func(s string) { put(uint64(len(s))); b.WriteString(s) }
	b.WriteString("GGUF")
	put(uint32(3))
	put(uint64(0))
	put(uint64(len(values)))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		text(key)
		switch v := values[key].(type) {
		case string:
			put(uint32(8))
			text(v)
		case bool:
			put(uint32(7))
			put(v)
		case uint32:
			put(uint32(4))
			put(v)
		case []string:
			put([]uint32{9, 8})
			put(uint64(len(v)))
			for _, s := range v {
				text(s)
			}
		case []int32:
			put([]uint32{9, 5})
			put(uint64(len(v)))
			put(v)
		}
	}
	return b.Bytes()
}

func openGGUF(t testing.TB, header []byte) *gguf.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(path, header, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// tiny is the metadata of a model that knows a few letters, "ab", "abc" and an end token.
func tiny(change map[string]any) map[string]any {
	values := map[string]any{
		keyModel:  "gpt2",
		keyPre:    "gpt-2",
		keyTokens: []string{"a", "b", "c", "Ġ", "ab", "abc", "bc", "<end>"},
		keyTypes:  []int32{1, 1, 1, 1, 1, 1, 1, 3},
		keyMerges: []string{"b c", "a b", "ab c"},
		keyEOS:    uint32(7),
	}
	for key, v := range change {
		if v == nil {
			delete(values, key)
		} else {
			values[key] = v
		}
	}
	return values
}

func TestMergeOrder(t *testing.T) {
	for _, c := range []struct {
		pre, text string
		want      []int32
	}{
		{"gpt-2", "abc", []int32{0, 6}}, // "b c" comes before "a b"
		{"gpt-2", "ab abcx", []int32{4, 3, 0, 6}},
		{"gpt-2", "bcbcab", []int32{6, 6, 4}},
		{"gpt-2", "abc<end>", []int32{0, 6, 7}},
		{"llama-bpe", "abc", []int32{5}}, // a word that is a token is not merged
	} {
		tok, err := FromGGUF(openGGUF(t, header(tiny(map[string]any{keyPre: c.pre}))))
		if err != nil {
			t.Fatal(err)
		}
		if got := tok.Encode(c.text, true); !slices.Equal(got, c.want) {
			t.Errorf("%s %q: got %v, want %v", c.pre, c.text, got, c.want)
		}
	}
}

func TestBOSFollowsMetadata(t *testing.T) {
	for name, c := range map[string]struct {
		change map[string]any
		want   bool
	}{
		"asked for":             {map[string]any{keyBOS: uint32(7), keyAddBOS: true}, true},
		"refused":               {map[string]any{keyBOS: uint32(7), keyAddBOS: false, keyPre: "llama-bpe"}, false},
		"default of GPT-2":      {map[string]any{keyBOS: uint32(7)}, false},
		"default of Llama 3":    {map[string]any{keyBOS: uint32(7), keyPre: "llama-bpe"}, true},
		"asked for but unnamed": {map[string]any{keyAddBOS: true}, false},
	} {
		tok, err := FromGGUF(openGGUF(t, header(tiny(c.change))))
		if err != nil {
			t.Fatal(err)
		}
		if _, add := tok.BOS(); add != c.want {
			t.Errorf("%s: added %v, want %v", name, add, c.want)
		}
	}
}

func TestTemplateSeesTokens(t *testing.T) {
	tok, err := FromGGUF(openGGUF(t, header(tiny(map[string]any{keyTemplate: "{{ messages[0].content }}{{ eos_token }}"}))))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tok.Template().Render(t.Context(), []llm.Message{{Role: llm.User, Content: "hi"}}, false); err != nil || got != "hi<end>" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestBadMetadata(t *testing.T) {
	for name, c := range map[string]struct {
		change map[string]any
		want   []string // parts of the error
	}{
		"model":            {map[string]any{keyModel: "t5"}, []string{keyModel, `"t5"`, "gpt2"}},
		"no model":         {map[string]any{keyModel: nil}, []string{keyModel}},
		"pre-tokenizer":    {map[string]any{keyPre: "klingon"}, []string{keyPre, "klingon", "qwen2, smollm"}},
		"no tokens":        {map[string]any{keyTokens: nil}, []string{keyTokens}},
		"too few types":    {map[string]any{keyTypes: []int32{1}}, []string{keyTypes, "1 entries for 8 tokens"}},
		"no merges":        {map[string]any{keyMerges: nil}, []string{keyMerges}},
		"merge of one":     {map[string]any{keyMerges: []string{"b c", "ab"}}, []string{keyMerges + "[1]", `"ab"`}},
		"merge of unknown": {map[string]any{keyMerges: []string{"b z"}}, []string{keyMerges + "[0]", `"b z"`}},
		"eos":              {map[string]any{keyEOS: uint32(8)}, []string{keyEOS, "8 tokens"}},
		"eot":              {map[string]any{keyEOT: uint32(1 << 31)}, []string{keyEOT, "8 tokens"}},
		"template":         {map[string]any{keyTemplate: "{% for %}"}, []string{keyTemplate}},
	} {
		_, err := FromGGUF(openGGUF(t, header(tiny(c.change))))
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, part := range append(c.want, "model.gguf") {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %q does not say %q", name, err, part)
			}
		}
	}
}
