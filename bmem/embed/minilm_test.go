package embed

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
)

func open(t testing.TB, spec string) *MiniLM {
	t.Helper()
	dir := modelstest.Path(t, "all-minilm-l6-v2")
	be, err := backend.Open(spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := OpenMiniLM(dir, be)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		be.Finalize()
	})
	return m
}

// reference is one case of testdata/minilm.json, which scripts/embed_reference.py makes with onnxruntime.
type reference struct {
	Text   string `json:"text"`
	Tokens int    `json:"tokens"`
	IDs    []int  `json:"ids"`
	Vector string `json:"vector"`
}

func readReference(t testing.TB) []reference {
	t.Helper()
	file, err := os.ReadFile("testdata/minilm.json")
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Cases []reference `json:"cases"`
	}
	if err := json.Unmarshal(file, &r); err != nil {
		t.Fatal(err)
	}
	return r.Cases
}

func textsOf(cases []reference) []string {
	var texts []string
	for _, c := range cases {
		texts = append(texts, c.Text)
	}
	return texts
}

// unpack decodes a vector of int16 parts.
func unpack(t testing.TB, packed string) []float64 {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		t.Fatal(err)
	}
	v := make([]float64, len(raw)/2)
	for i := range v {
		v[i] = float64(int16(binary.LittleEndian.Uint16(raw[2*i:]))) / 32767
	}
	return v
}

func cosine(a []float32, b []float64) float64 {
	var ab, aa, bb float64
	for i := range a {
		x := float64(a[i])
		ab, aa, bb = ab+x*b[i], aa+x*x, bb+b[i]*b[i]
	}
	return ab / math.Sqrt(aa*bb)
}

func norm(v []float32) float64 {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

func TestVectorsMatchOnnxruntime(t *testing.T) {
	ref := readReference(t)
	for _, spec := range []string{"auto", "go"} {
		t.Run(spec, func(t *testing.T) {
			cases := ref
			if spec == "go" { // slow without SIMD: every text that is short, and some of the chunks
				cases = slices.DeleteFunc(slices.Clone(ref), func(c reference) bool { return c.Tokens > 60 && c.Tokens%5 != 0 })
			}
			m := open(t, spec)
			vectors, err := m.Embed(t.Context(), textsOf(cases))
			if err != nil {
				t.Fatal(err)
			}
			worst := 1.0
			for i, c := range cases {
				if len(vectors[i]) != m.Dim() {
					t.Fatalf("case %d: width %d, want %d", i, len(vectors[i]), m.Dim())
				}
				cos := cosine(vectors[i], unpack(t, c.Vector))
				worst = min(worst, cos)
				if cos < 0.9999 {
					t.Errorf("case %d, %.60q: cosine %.6f to onnxruntime", i, c.Text, cos)
				}
				if n := norm(vectors[i]); math.Abs(n-1) > 1e-5 {
					t.Errorf("case %d: length %g, want 1", i, n)
				}
			}
			t.Logf("%s: %d texts, worst cosine %.9f", m.ID(), len(cases), worst)
		})
	}
}

func TestTokensMatchHuggingFace(t *testing.T) {
	m := open(t, "go")
	for i, c := range readReference(t) {
		if n := m.Count(c.Text); n != c.Tokens {
			t.Errorf("case %d, %.60q: %d tokens, want %d", i, c.Text, n, c.Tokens)
		}
		if got := m.Encode(c.Text); c.IDs != nil && !slices.Equal(got, c.IDs) {
			t.Errorf("case %d, %.60q: ids %v, want %v", i, c.Text, got, c.IDs)
		}
	}
}

// TestConcurrentEmbed has many callers with texts of all lengths get what one caller gets.
func TestConcurrentEmbed(t *testing.T) {
	m := open(t, "auto")
	var texts []string
	for i := range 24 {
		texts = append(texts, strings.Repeat("a few words ", 1+i*i%13))
	}
	want, err := m.Embed(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			mine := texts[g : g+16]
			got, err := m.Embed(t.Context(), mine)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range mine {
				reference := make([]float64, m.Dim())
				for j, x := range want[g+i] {
					reference[j] = float64(x)
				}
				if cos := cosine(got[i], reference); cos < 1-1e-6 {
					t.Errorf("caller %d, text %d: cosine %g to what one caller gets", g, i, cos)
				}
			}
		})
	}
	wg.Wait()
}

// askedTimes is a context that is cancelled once its state was asked for a number of times.
type askedTimes struct {
	context.Context
	left int
}

func (a *askedTimes) Err() error {
	if a.left--; a.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestEmbedStops(t *testing.T) {
	m := open(t, "auto")
	texts := []string{"one", strings.Repeat("two ", 40)}
	// It is asked before each text is cut into tokens and before each batch.
	_, err := m.Embed(&askedTimes{t.Context(), len(texts) + 1}, texts)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "1 of 2 done") {
		t.Errorf("cancelled after the first batch: %v", err)
	}
	if out, err := m.Embed(t.Context(), nil); err != nil || len(out) != 0 {
		t.Errorf("no texts: %v, %v", out, err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Embed(t.Context(), []string{"one"}); err == nil {
		t.Error("Embed works after Close")
	}
}

// BenchmarkChunks is the throughput on chunks of 256 tokens, of which scripts/bench_embed.py makes a ratio.
func BenchmarkChunks(b *testing.B) {
	m := open(b, "auto")
	var chunks []string
	for _, c := range readReference(b) {
		if c.Tokens > 230 {
			chunks = append(chunks, c.Text+strings.Repeat(" and so on", 10)) // all are cut at 256 tokens
		}
	}
	chunks = chunks[:32]
	if _, err := m.Embed(b.Context(), chunks); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := m.Embed(b.Context(), chunks); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(chunks))/b.Elapsed().Seconds(), "texts/s")
}

func TestTokenizerAlone(t *testing.T) {
	dir := modelstest.Path(t, "all-minilm-l6-v2")
	tokens, err := OpenTokenizer(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range readReference(t) {
		if n := tokens.Count(c.Text); n != c.Tokens {
			t.Errorf("case %d, %.60q: %d tokens, want %d", i, c.Text, n, c.Tokens)
		}
	}
	if _, err := OpenTokenizer(t.TempDir()); err == nil || !strings.Contains(err.Error(), "load tokenizer from") {
		t.Errorf("an empty folder: %v", err)
	}
}
