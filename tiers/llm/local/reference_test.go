package local

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
)

// reference is a fixture of testdata, made by testdata/reference.py.
type reference struct {
	SHA256 string
	// Greedy are llama.cpp's replies, with the gap between its two best logits at every step.
	Greedy []struct {
		IDs, Tokens []int32
		Gaps        []float64
	}
	// Exact are logits of a float64 decoder: every Stride-th of the vocabulary, and the largest.
	Exact []struct {
		IDs    []int32
		Stride int
		Rows   []struct {
			Pos       int
			Strided   string
			Top       []int32
			TopLogits string `json:"top_logits"`
		}
	}
}

func readReference(t *testing.T, m *Model, file string) reference {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var r reference
	if err := json.NewDecoder(z).Decode(&r); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(m.ID(), r.SHA256) {
		t.Fatalf("%s was made from weights %s, the model here is %s", file, r.SHA256, m.ID())
	}
	return r
}

func unpack(t *testing.T, s string) []float32 {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

// logitsOf returns the logits after the tokens at the given positions.
func logitsOf(t *testing.T, m *Model, ids []int32, positions []int) [][]float32 {
	t.Helper()
	hidden := rowsOf(t, m.eng, ids, 1, longS, 512, 0)
	var rows []float32
	for _, p := range positions {
		rows = append(rows, hidden[p*m.cfg.Dim:][:m.cfg.Dim]...)
	}
	var all [][]float32
	err := m.eng.headOn(rows, func(_ int, logits column) {
		row := make([]float32, logits.len())
		for i := range row {
			row[i] = logits.at(i)
		}
		all = append(all, row)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var references = map[string]string{smol: "testdata/smollm2.json.gz", qwen: "testdata/qwen2.json.gz"}

func TestLogitsEqualFloat64(t *testing.T) {
	for name, file := range references {
		t.Run(name, func(t *testing.T) {
			m := openTest(t, name)
			worst, compared := 0.0, 0
			for i, c := range readReference(t, m, file).Exact {
				var positions []int
				for _, r := range c.Rows {
					positions = append(positions, r.Pos)
				}
				got := logitsOf(t, m, c.IDs, positions)
				for j, r := range c.Rows {
					check := func(id int, want float32) {
						d := math.Abs(float64(got[j][id] - want))
						worst = max(worst, d)
						compared++
						if !(d <= 1e-3) {
							t.Fatalf("prompt %d, position %d, token %d: logit %v, want %v", i, r.Pos, id, got[j][id], want)
						}
					}
					for k, want := range unpack(t, r.Strided) {
						check(k*c.Stride, want)
					}
					for k, want := range unpack(t, r.TopLogits) {
						check(int(r.Top[k]), want)
					}
				}
			}
			t.Logf("%d logits, the largest difference is %.2g", compared, worst)
		})
	}
}

// nearTie is the gap between llama.cpp's two best logits below which its choice may differ from ours: it rounds
// activations to 8 bits, which moves its logits by a tenth or two.
const nearTie = 0.5

func TestTokensEqualLlamaCpp(t *testing.T) {
	for name, file := range references {
		t.Run(name, func(t *testing.T) {
			m := openTest(t, name)
			cases := readReference(t, m, file).Greedy
			steps, equal := 0, 0
			for i, c := range cases {
				ids := append(append([]int32(nil), c.IDs...), c.Tokens[:len(c.Tokens)-1]...)
				var positions []int
				for j := range c.Tokens {
					positions = append(positions, len(c.IDs)-1+j)
				}
				for j, logits := range logitsOf(t, m, ids, positions) {
					steps++
					got := sample(column{logits, 1}, 0, nil, nil)
					if got == c.Tokens[j] {
						equal++
						continue
					}
					t.Logf("prompt %d, step %d: %q, llama.cpp takes %q by %.3f", i, j, m.tok.Decode([]int32{got}), m.tok.Decode(c.Tokens[j:j+1]), c.Gaps[j])
					if c.Gaps[j] > nearTie {
						t.Errorf("prompt %d, step %d is no near tie", i, j)
					}
				}
			}
			t.Logf("%d of %d steps equal over %d prompts", equal, steps, len(cases))
			if len(cases) < 20 || float64(equal) < 0.95*float64(steps) {
				t.Errorf("%d of %d steps equal over %d prompts, want 95%% over 20", equal, steps, len(cases))
			}
		})
	}
}
