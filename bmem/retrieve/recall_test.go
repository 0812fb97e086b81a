package retrieve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/bmem/store"
	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
)

// envStore names a store file that keeps the vectors between runs; a temporary one is used if it is not set.
const envStore = "BUDGETMEM_TEST_STORE"

// bench holds what retrieval is measured with.
type bench struct {
	embedder *embed.MiniLM
	store    *store.Store
	loaded   map[string]bool // memories in the store
	// perRanking, if not 0, makes Hybrid rank candidates alone, of which each ranking gives so many chunks.
	perRanking int
}

// benches is the one bench, which loads and compiles the embedder once and embeds each text once.
var benches struct {
	*bench
	close func() error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if benches.bench != nil {
		if err := benches.close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := modelstest.Path(t, "all-minilm-l6-v2")
	if benches.bench != nil {
		return benches.bench
	}
	be, err := backend.Open("", nil)
	if err != nil {
		t.Fatal(err)
	}
	temp, err := os.MkdirTemp("", "retrieve-test-")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{loaded: map[string]bool{}}
	if b.embedder, err = embed.OpenMiniLM(dir, be); err != nil {
		t.Fatal(err)
	}
	if b.store, err = store.Open(cmp.Or(os.Getenv(envStore), filepath.Join(temp, "memory.db"))); err != nil {
		t.Fatal(err)
	}
	benches.bench = b
	benches.close = func() error {
		err := errors.Join(b.store.Close(), b.embedder.Close())
		be.Finalize()
		return errors.Join(err, os.RemoveAll(temp))
	}
	return b
}

// kept is the bench's embedder; the store keeps its vectors.
type kept struct {
	*embed.MiniLM
	store *store.Store
}

func (k kept) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	return k.store.Vectors(ctx, "", k.MiniLM, texts)
}

func dataset(t *testing.T, name string) datasets.Dataset {
	t.Helper()
	d, err := datasets.Open(name, datasets.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// questions returns those of a split that have evidence.
func questions(t *testing.T, d datasets.Dataset, split datasets.Split) []datasets.Question {
	t.Helper()
	qs, err := d.Questions(t.Context(), split)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(slices.Clone(qs), func(q datasets.Question) bool { return len(q.Evidence) == 0 })
}

// retriever returns one over a history, and puts it into the store first if need be.
func (b *bench) retriever(t *testing.T, d datasets.Dataset, history string, mode Mode) *Retriever {
	t.Helper()
	name := d.Name() + "/" + history
	if !b.loaded[name] {
		h, err := d.History(t.Context(), history)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.store.Append(t.Context(), name, h.Turns, store.Cutter{Count: b.embedder.Count, MaxTokens: d.ChunkTokens()}, store.AddOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b.loaded[name] = true
	}
	r, err := Load(t.Context(), b.store, b.embedder, name, mode, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Retriever
}

// queries embeds the questions' texts.
func (b *bench) queries(t *testing.T, qs []datasets.Question) []Query {
	t.Helper()
	texts := make([]string, len(qs))
	for i, q := range qs {
		texts[i] = q.Text
	}
	vectors, err := b.store.Vectors(t.Context(), "", b.embedder, texts)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]Query, len(qs))
	for i := range qs {
		out[i] = Query{Text: texts[i], Vector: vectors[i], Embed: kept{b.embedder, b.store}.Embed}
	}
	return out
}

// The depths at which recall is measured.
var (
	chunkDepths = []int{1, 2, 5, 10}
	turnDepths  = []int{5, 10, 20, 40}
	deepest     = slices.Max(chunkDepths)
)

// recalls is the mean recall of evidence turns inside the best chunks and among the best turns, and of evidence sessions inside the best
// chunks, over n questions.
type recalls struct {
	n         int
	histories int
	longest   int // turns of the longest history
	turnsOf   int // turns of all histories
	chunks    [4]float64
	turns     [4]float64 // zero for modes that do not rank turns
	sessions  [4]float64
}

func (r *recalls) add(q datasets.Question, ranked []Hit) {
	r.n++
	type turn struct {
		id    string
		score float64
	}
	var turns []turn
	for _, h := range ranked {
		for i, s := range h.TurnScores {
			turns = append(turns, turn{h.Turns[i].ID, s})
		}
	}
	slices.SortStableFunc(turns, func(a, b turn) int { return cmp.Compare(b.score, a.score) })
	for i, k := range chunkDepths {
		var ids, sessions []string
		for _, h := range ranked[:min(k, len(ranked))] {
			ids = append(ids, h.TurnIDs()...)
			sessions = append(sessions, h.Session)
		}
		r.chunks[i] += share(q.Evidence, ids)
		r.sessions[i] += share(q.EvidenceSessions, sessions)
	}
	for i, k := range turnDepths {
		var ids []string
		for _, t := range turns[:min(k, len(turns))] {
			ids = append(ids, t.id)
		}
		r.turns[i] += share(q.Evidence, ids)
	}
}

// share is the part of want that got holds.
func share(want, got []string) float64 {
	n := 0.0
	for _, w := range want {
		n += indicator(slices.Contains(got, w))
	}
	return n / float64(max(1, len(want)))
}

func (r recalls) String() string {
	var s strings.Builder
	for _, part := range []struct {
		what   string
		values [4]float64
	}{{"chunks", r.chunks}, {"turns", r.turns}, {"sessions", r.sessions}} {
		fmt.Fprintf(&s, " | %s", part.what)
		for _, v := range part.values {
			fmt.Fprintf(&s, " %.3f", v/float64(r.n))
		}
	}
	return fmt.Sprintf("%4d%s", r.n, s.String())
}

// measure ranks every question's whole memory.
func (b *bench) measure(t *testing.T, d datasets.Dataset, split datasets.Split, mode Mode) (all recalls, byCategory map[string]*recalls) {
	t.Helper()
	qs := questions(t, d, split)
	byCategory = map[string]*recalls{}
	retrievers := map[string]*Retriever{}
	k := 1 << 20
	if !mode.EmbedsAll() { // what is found is embedded
		k = deepest
	}
	for i, query := range b.queries(t, qs) {
		q := qs[i]
		if retrievers[q.History] == nil {
			retrievers[q.History] = b.retriever(t, d, q.History, mode)
			if h, ok := retrievers[q.History].ranker.(*hybrid); ok && mode == Hybrid && b.perRanking > 0 {
				h.exhaustive, h.perRanking = 0, b.perRanking
			}
			all.longest = max(all.longest, retrievers[q.History].turns())
			all.turnsOf += retrievers[q.History].turns()
			all.histories++
		}
		ranked, err := retrievers[q.History].Retrieve(t.Context(), query, k)
		if err != nil {
			t.Fatal(err)
		}
		all.add(q, ranked)
		if byCategory[q.Category] == nil {
			byCategory[q.Category] = &recalls{}
		}
		byCategory[q.Category].add(q, ranked)
	}
	return all, byCategory
}

// TestRecall holds hybrid retrieval to what it promises on the LoCoMo validation conversations.
func TestRecall(t *testing.T) {
	b := newBench(t)
	d := dataset(t, "locomo")
	inTop5, whole := map[Mode]float64{}, recalls{}
	for _, mode := range Modes() {
		all, _ := b.measure(t, d, datasets.Validation, mode)
		t.Logf("%-7s %v", mode, all)
		inTop5[mode] = all.chunks[2] / float64(all.n)
		if mode == Hybrid {
			whole = all
		}
	}
	if hybrid, dense := inTop5[Hybrid], inTop5[Dense]; hybrid < 0.88 || hybrid < dense+0.3 {
		t.Errorf("evidence recall in the top 5 chunks is %.3f, of dense retrieval %.3f; want at least 0.88, and 0.3 more than dense", hybrid, dense)
	}
	if rerank, hybrid := inTop5[Rerank], inTop5[Hybrid]; rerank < hybrid-0.05 {
		t.Errorf("evidence recall in the top 5 chunks is %.3f by rerank, %.3f by hybrid; want at most 0.05 less", rerank, hybrid)
	}
	b.compareCandidates(t, d, whole)
	for name := range strings.SplitSeq(os.Getenv(envRecall), ",") {
		if name != "" {
			d := dataset(t, name)
			whole, _ := b.measure(t, d, datasets.Validation, Hybrid)
			b.compareCandidates(t, d, whole)
		}
	}
}

// turns is how many turns, parts of long ones included, Hybrid ranks.
func (r *Retriever) turns() int {
	h, ok := r.ranker.(*hybrid)
	if !ok {
		return 0
	}
	return len(h.corpus.turns)
}

// The histories of the benchmarks are ranked whole, so that choosing candidates first, as longer ones do, cannot change what is found in
// them. The longest histories are counted as they are ranked, with the parts of long turns.
func TestBenchmarksAreRankedWhole(t *testing.T) {
	embedder := newBench(t).embedder
	for _, name := range []string{"locomo", "longmemeval", "hotpotqa"} {
		d := dataset(t, name)
		questions, err := d.Test(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		validation, err := d.Questions(t.Context(), datasets.Validation)
		if errors.Is(err, datasets.ErrMissingData) {
			t.Logf("%s: its validation questions are not here", name)
		} else if err != nil {
			t.Fatal(err)
		}
		histories := map[string][]chunk.Turn{}
		for _, q := range slices.Concat(questions, validation) {
			h, err := d.History(t.Context(), q.History)
			if err != nil {
				t.Fatal(err)
			}
			histories[q.History] = h.Turns
		}
		longest := slices.SortedFunc(maps.Values(histories), func(a, b []chunk.Turn) int { return cmp.Compare(characters(b), characters(a)) })
		for _, turns := range longest[:min(4, len(longest))] {
			chunks, err := chunk.Split(t.Context(), turns, embedder.Count, d.ChunkTokens())
			if err != nil {
				t.Fatal(err)
			}
			ranked := 0
			for _, c := range chunks {
				ranked += len(c.Turns)
			}
			t.Logf("%s: of %d histories one of %d characters, %d turns", name, len(longest), characters(turns), ranked)
			if ranked < len(turns) || ranked > exhaustiveTurns {
				t.Errorf("%s: a history of %d turns is ranked as %d, want at most %d", name, len(turns), ranked, exhaustiveTurns)
			}
		}
	}
}

// characters is the length of all turns together.
func characters(turns []chunk.Turn) (n int) {
	for _, t := range turns {
		n += len(t.Text)
	}
	return n
}

// envRecall names data sets, by commas, whose validation questions are measured besides those of LoCoMo.
const envRecall = "BUDGETMEM_TEST_RECALL"

// compareCandidates compares the recall of ranking all turns, whole, with that of ranking candidates, on validation questions. Histories of
// benchmarks are too short for candidates, so that results on them cannot change. Here candidates are forced, and made few.
func (b *bench) compareCandidates(t *testing.T, d datasets.Dataset, whole recalls) {
	t.Helper()
	defer func() { b.perRanking = 0 }()
	if whole.longest > exhaustiveTurns {
		t.Errorf("%s: a history of %d turns is ranked by candidates", d.Name(), whole.longest)
	}
	t.Logf("%s: %d histories of %d turns in the mean, %d at most", d.Name(), whole.histories, whole.turnsOf/whole.histories, whole.longest)
	t.Logf("all turns           %v", whole)
	for _, n := range []int{32, 8} {
		b.perRanking = n
		some, _ := b.measure(t, d, datasets.Validation, Hybrid)
		t.Logf("%2d chunks a ranking %v", n, some)
		for i, k := range chunkDepths {
			if lost := (whole.chunks[i] - some.chunks[i]) / float64(whole.n); n == 32 && math.Abs(lost) > 0.003 {
				t.Errorf("%s, %d chunks a ranking: recall in the top %d differs by %.4f", d.Name(), n, k, lost)
			}
		}
	}
}
