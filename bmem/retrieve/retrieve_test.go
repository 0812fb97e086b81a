package retrieve

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/store"
)

// bagEmbedder embeds a text as the normalised sum of one pseudo-random direction a word: texts that share words are close.
type bagEmbedder struct{}

func (bagEmbedder) ID() string { return "bag" }
func (bagEmbedder) Dim() int   { return 32 }

func (e bagEmbedder) Embed(_ context.Context, texts []string) ([][]float32, error) {
	out := make([][]float32, len(texts))
	for i, text := range texts {
		v := make([]float32, e.Dim())
		for _, w := range append(strings.Fields(strings.ToLower(text)), "") {
			h := fnv.New64a()
			h.Write([]byte(w))
			bits := h.Sum64()
			for j := range v {
				v[j] += float32(bits>>j&1)*2 - 1
			}
		}
		norm := float32(math.Sqrt(dot(v, v)))
		for j := range v {
			v[j] /= max(norm, 1e-6)
		}
		out[i] = v
	}
	return out, nil
}

// talk is a small conversation of two sessions.
func talk() []chunk.Turn {
	say := func(id, session, time, speaker, text string) chunk.Turn {
		return chunk.Turn{ID: id, Session: session, Time: time, Speaker: speaker, Text: text}
	}
	return []chunk.Turn{
		say("D1:1", "D1", "1:56 pm on 8 May, 2023", "Ann", "Hi Bo! How have you been?"),
		say("D1:2", "D1", "1:56 pm on 8 May, 2023", "Bo", "Busy with the garden. And you?"),
		say("D1:3", "D1", "1:56 pm on 8 May, 2023", "Ann", "I went to a pottery class yesterday and made a blue bowl."),
		say("D1:4", "D1", "1:56 pm on 8 May, 2023", "Bo", "What a lovely idea, I should try a class too."),
		say("D2:1", "D2", "3 July, 2023", "Bo", "My sister moved to Lisbon last week."),
		say("D2:2", "D2", "3 July, 2023", "Ann", "Oh, that is far away! Will you visit her?"),
		say("D2:3", "D2", "3 July, 2023", "Bo", "I booked two flights for August."),
		say("D2:4", "D2", "3 July, 2023", "Ann", "My dog learned to swim in the lake."),
	}
}

var cutter = store.Cutter{Count: func(s string) int { return len(strings.Fields(s)) }, MaxTokens: 16}

func split(t testing.TB, turns []chunk.Turn) []chunk.Chunk {
	t.Helper()
	chunks, err := chunk.Split(t.Context(), turns, cutter.Count, cutter.MaxTokens)
	if err != nil {
		t.Fatal(err)
	}
	return chunks
}

func newStore(t testing.TB, turns []chunk.Turn) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "memory.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.Append(t.Context(), "m", turns, cutter, store.AddOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

func ask(t testing.TB, text string) Query {
	t.Helper()
	v, err := bagEmbedder{}.Embed(t.Context(), []string{text})
	if err != nil {
		t.Fatal(err)
	}
	return Query{Text: text, Vector: v[0], Embed: bagEmbedder{}.Embed}
}

func TestModesFindTheTurn(t *testing.T) {
	s := newStore(t, talk())
	m, err := s.Memory(t.Context(), "m")
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range append(Modes(), "") {
		r, err := Load(t.Context(), s, bagEmbedder{}, "m", mode, LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for question, want := range map[string]string{
			"What did Ann make in the pottery class?": "D1:3",
			"Where did Bo's sister move?":             "D2:1",
			"For which month were flights booked?":    "D2:3",
		} {
			hits, err := r.Retrieve(t.Context(), ask(t, question), 2)
			if err != nil || len(hits) != 2 {
				t.Fatalf("%s %q: %d hits (%v)", mode, question, len(hits), err)
			}
			if mode != Dense && !slices.Contains(hits[0].TurnIDs(), want) {
				t.Errorf("%s %q: best chunk has %v, want %s", mode, question, hits[0].TurnIDs(), want)
			}
			for i, h := range hits {
				at := slices.IndexFunc(m.Chunks, func(c chunk.Chunk) bool { return c.ID == h.ID })
				if at < 0 || !reflect.DeepEqual(h.Chunk, m.Chunks[at]) || len(h.Vector) != 32 || i > 0 && h.Score > hits[i-1].Score {
					t.Errorf("%s %q: hit %d is %+v", mode, question, i, h)
				}
				if mode == Dense || mode == BM25 {
					if h.TurnScores != nil {
						t.Errorf("%s ranks no turns, but gave %v", mode, h.TurnScores)
					}
					continue
				}
				if len(h.TurnScores) != len(h.Turns) {
					t.Fatalf("%d turn scores for %d turns", len(h.TurnScores), len(h.Turns))
				}
				none := 1.0
				for _, p := range h.TurnScores {
					if !(p > 0 && p < 1) {
						t.Errorf("turn score %v is no probability", p)
					}
					none *= 1 - p
				}
				if math.Abs(h.Score-(1-none)) > 1e-12 {
					t.Errorf("chunk score %v of turns %v", h.Score, h.TurnScores)
				}
			}
			if mode == Hybrid || mode == Rerank {
				best := slices.Index(hits[0].TurnScores, slices.Max(hits[0].TurnScores))
				if got := hits[0].Turns[best].ID; got != want {
					t.Errorf("%q: best turn %s, want %s", question, got, want)
				}
			}
		}
		if all, err := r.Retrieve(t.Context(), ask(t, "pottery"), 100); err != nil || len(all) != len(m.Chunks) {
			t.Errorf("%s: %d of %d chunks for a large k (%v)", mode, len(all), len(m.Chunks), err)
		}
		if none, err := r.Retrieve(t.Context(), ask(t, "pottery"), 0); err != nil || len(none) != 0 {
			t.Errorf("%s: %d chunks for k = 0 (%v)", mode, len(none), err)
		}
	}
}

func TestDenseIsExact(t *testing.T) {
	ix := Index{Chunks: make([]chunk.Chunk, 4), Vectors: [][]float32{{0.6, 0.8}, {1, 0}, {0, 1}, {0.6, 0.8}}}
	for i := range ix.Chunks {
		ix.Chunks[i].ID = fmt.Sprint(i)
	}
	r, err := New(t.Context(), Dense, ix)
	if err != nil {
		t.Fatal(err)
	}
	hits, err := r.Retrieve(t.Context(), Query{Vector: []float32{0, 1}}, 3)
	var got []string
	for _, h := range hits {
		got = append(got, fmt.Sprintf("%s %.1f", h.ID, h.Score))
	}
	if want := []string{"2 1.0", "0 0.8", "3 0.8"}; err != nil || !slices.Equal(got, want) { // equal scores in order
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
}

func TestEmptyMemoryAndEmptyQuestion(t *testing.T) {
	empty := newStore(t, nil)
	full := newStore(t, talk())
	for _, mode := range Modes() {
		r, err := Load(t.Context(), empty, bagEmbedder{}, "m", mode, LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if hits, err := r.Retrieve(t.Context(), ask(t, "anything"), 5); err != nil || len(hits) != 0 {
			t.Errorf("%s: %d hits in an empty memory (%v)", mode, len(hits), err)
		}
		if r, err = Load(t.Context(), full, bagEmbedder{}, "m", mode, LoadOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, question := range []string{"", "?!", "who are you", "\x00\xff", `"`} {
			hits, err := r.Retrieve(t.Context(), ask(t, question), 2)
			if err != nil || len(hits) != 2 {
				t.Errorf("%s %q: %d hits (%v)", mode, question, len(hits), err)
			}
			for _, h := range hits {
				if math.IsNaN(h.Score) || math.IsInf(h.Score, 0) {
					t.Errorf("%s %q: score %v", mode, question, h.Score)
				}
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	chunks := []chunk.Chunk{{Turns: []chunk.Turn{{Text: "a"}, {Text: "b"}}}}
	unit := [][]float32{{1, 0}}
	for _, tt := range []struct {
		mode Mode
		ix   Index
		want string
	}{
		{"fuzzy", Index{}, `"fuzzy" is unknown; the modes are [dense bm25 rerank hybrid]`},
		{Dense, Index{Chunks: chunks}, "0 chunk vectors, want 1"},
		{Hybrid, Index{Chunks: chunks, Vectors: unit}, "0 turn vectors, want 2"},
		{Hybrid, Index{Chunks: chunks, Vectors: unit, TurnVectors: [][]float32{{1, 0}, {1}}}, "turn vector 1 is of width 1"},
		{BM25, Index{Chunks: chunks, Vectors: [][]float32{}}, "0 chunk vectors, want 1"},
	} {
		if _, err := New(t.Context(), tt.mode, tt.ix); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.mode, err, tt.want)
		}
	}
	r, err := New(t.Context(), Dense, Index{Chunks: chunks, Vectors: unit})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Retrieve(t.Context(), Query{Text: "q"}, 1); err == nil || !strings.Contains(err.Error(), "width 0") {
		t.Errorf("a question without a vector: %v", err)
	}
	if r, err = New(t.Context(), Rerank, Index{Chunks: chunks}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Retrieve(t.Context(), Query{Text: "a", Vector: unit[0]}, 1); err == nil || !strings.Contains(err.Error(), "needs Query.Embed") {
		t.Errorf("a question that embeds nothing: %v", err)
	}
	if _, err := Load(t.Context(), newStore(t, nil), bagEmbedder{}, "other", Dense, LoadOptions{}); !errors.Is(err, store.ErrNoMemory) {
		t.Errorf("got %v", err)
	}
}

func TestConcurrentRetrieval(t *testing.T) {
	s := newStore(t, talk())
	for _, mode := range Modes() {
		r, err := Load(t.Context(), s, bagEmbedder{}, "m", mode, LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		want, err := r.Retrieve(t.Context(), ask(t, "pottery class"), 3)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				got, err := r.Retrieve(t.Context(), ask(t, "pottery class"), 3)
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got %v (%v)", mode, got, err)
				}
			})
		}
		wg.Wait()
	}
}

// FuzzQuestion puts any text through all modes: none may fail or give a score that is no number.
func FuzzQuestion(f *testing.F) {
	s := newStore(f, talk())
	var retrievers []*Live
	for _, mode := range Modes() {
		r, err := Load(f.Context(), s, bagEmbedder{}, "m", mode, LoadOptions{})
		if err != nil {
			f.Fatal(err)
		}
		retrievers = append(retrievers, r)
	}
	for _, q := range []string{"When did Ann go?", `AND "x" (`, "NEAR(*)", "on 31/02/2023 or May 9999999999999", "\xff\x00", "İ'S ''"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, question string) {
		for _, r := range retrievers {
			hits, err := r.Retrieve(t.Context(), ask(t, question), 2)
			if err != nil || len(hits) != 2 {
				t.Fatalf("%T %q: %d hits (%v)", r, question, len(hits), err)
			}
			for _, h := range hits {
				if math.IsNaN(h.Score) || slices.ContainsFunc(h.TurnScores, math.IsNaN) {
					t.Fatalf("%T %q: not a number in %+v", r, question, h)
				}
			}
		}
	})
}

// BenchmarkRetrieve ranks a memory of 600 turns, a LoCoMo conversation, and of 6,000.
func BenchmarkRetrieve(b *testing.B) {
	for _, size := range []int{600, 6000} {
		var turns []chunk.Turn
		for i := range size {
			t := talk()[i%8]
			t.ID, t.Session = fmt.Sprint(i), fmt.Sprint(i/20)
			t.Text += fmt.Sprintf(" Item %d of group %d came up, and thing%d too.", i, i%37, i%211)
			turns = append(turns, t)
		}
		s := newStore(b, turns)
		for _, mode := range Modes() {
			r, err := Load(b.Context(), s, bagEmbedder{}, "m", mode, LoadOptions{})
			if err != nil {
				b.Fatal(err)
			}
			q := ask(b, "When did Ann mention thing7 and the pottery class of group 5?")
			b.Run(fmt.Sprintf("%s/%d", mode, size), func(b *testing.B) {
				for b.Loop() {
					if _, err := r.Retrieve(b.Context(), q, 5); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// In a long history, ranking candidates alone finds what ranking all turns finds.
func TestCandidatesFindWhatAllFind(t *testing.T) {
	var turns []chunk.Turn
	for i := range 9000 {
		turn := talk()[i%8]
		turn.ID, turn.Session = fmt.Sprint(i), fmt.Sprint(i/20)
		turn.Text += fmt.Sprintf(" Item %d of group %d came up, and thing%d too.", i, i%37, i%211)
		turns = append(turns, turn)
	}
	r, err := Load(t.Context(), newStore(t, turns), bagEmbedder{}, "m", Hybrid, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h := r.ranker.(*hybrid)
	same, asked := 0, 0
	for i := range 40 {
		q := ask(t, fmt.Sprintf("When did Ann mention item %d and thing%d of group %d?", i*211, i*5%211, i%37))
		candidates := ranked(t, h, q)
		whole := *h
		whole.exhaustive = len(turns)
		for j, hit := range ranked(t, &whole, q) {
			asked++
			if slices.ContainsFunc(candidates, func(c Hit) bool { return c.ID == hit.ID }) {
				same++
			}
			if c := candidates[j]; c.ID == hit.ID && math.Abs(c.Score-hit.Score) > 0.05 {
				t.Errorf("question %d, hit %d: probability %.3f by candidates, %.3f by all", i, j, c.Score, hit.Score)
			}
		}
	}
	if share := float64(same) / float64(asked); share < 0.99 {
		t.Errorf("candidates hold %.3f of the five best chunks, want 0.99", share)
	}
}

// ranked returns the five best hits.
func ranked(t *testing.T, r ranker, q Query) []Hit {
	t.Helper()
	hits, missing := r.rank(q, 5, nil)
	if len(missing) > 0 {
		t.Fatalf("%d texts are not embedded", len(missing))
	}
	return hits
}
