package episodes_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/episodes/episodestest"
	"github.com/budgetmem/budgetmem/router"
)

var task = episodestest.Task{Split: "train", Questions: 5, Seed: 3}

func packed(t testing.TB, f *episodes.File) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpacked(t testing.TB, f *episodes.File) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(packed(t, f)))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func pack(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text)) // into memory
	_ = w.Close()
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	f := task.File(9)
	f.Episodes[0].Memory[2] = nil // nothing was found
	path := filepath.Join(t.TempDir(), "t.gz")
	if err := f.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	back, err := episodes.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(back) != fmt.Sprint(f) {
		t.Errorf("read\n%v\nwritten\n%v", back, f)
	}
	if !bytes.Equal(packed(t, back), packed(t, f)) {
		t.Error("equal traces are not equal bytes")
	}
	// 5 queries, 5 + 5 memories, and up to 3 for the filter's tiers.
	if n := strings.Count(unpacked(t, f), `{"vector"`); n > 5*6 {
		t.Errorf("%d vectors are stored for 5 questions of 6 each", n)
	}
}

// 180 questions of 6 combinations each, with embeddings of real width, stay well under 20 MB.
func TestSize(t *testing.T) {
	f := episodestest.Task{Split: "train", Questions: 180, Seed: 1}.File(6)
	f.Dim = 384
	for i := range f.Episodes {
		tr := &f.Episodes[i]
		tr.Query = wide(tr.Query)
		for s := range tr.Memory {
			tr.Memory[s] = wide(tr.Memory[s])
		}
		tr.Memory[2][0] = float32(i) // facts differ from combination to combination
	}
	if n := len(packed(t, f)); n > 6e6 {
		t.Errorf("%d bytes", n)
	} else {
		t.Logf("%.2f MB", float64(n)/1e6)
	}
}

// wide makes an embedding of 384 numbers that do not repeat.
func wide(v []float32) []float32 {
	out := make([]float32, 384)
	for i := range out {
		out[i] = v[i%len(v)] * float32(math.Sin(float64(i+1)))
	}
	return out
}

func TestRefusals(t *testing.T) {
	text := unpacked(t, task.File(2))
	lines := strings.SplitAfter(text, "\n")
	trace := 0
	for strings.Contains(lines[trace], "vector") || trace == 0 {
		trace++
	}
	replace := func(old, with string) string { return strings.Replace(text, old, with, 1) }
	for name, tt := range map[string]struct{ text, want string }{
		"empty":          {"", "the file is empty"},
		"other file":     {`{"a":1}` + "\n", `x.gz:1: field "format"`},
		"no JSON":        {"hello\n", "x.gz:1: not a trace file's header"},
		"version":        {replace(`"version":1`, `"version":3`), "this program reads 1 to 2"},
		"states":         {replace(`"states":[0,1`, `"states":[0,2`), `field "states": module entity`},
		"tier":           {replace(`"tiers":["`, `"tiers":["x`), fmt.Sprintf("x.gz:%d: field \"tiers\": module filter has no tier", trace+1)},
		"vector number":  {replace(`"query":0`, `"query":99`), "there is no vector 99"},
		"no query":       {replace(`"query":0,`, ""), `"query" is missing`},
		"score":          {replace(`"score":`, `"score":9`), `field "score"`},
		"dollars":        {replace(`"dollars_answer":`, `"dollars_answer":-`), "must be finite"},
		"states missing": {replace(`"memory":[1,2,3]`, `"memory":[1,2]`), "names 2 vectors, there are 3"},
		"short vector":   {replace(lines[1], "{\"vector\":\"AAAA\"}\n"), "x.gz:2: not a vector or a trace: a vector of 3 bytes"},
		"narrow vector":  {replace(lines[1], "{\"vector\":\"AAAAAA==\"}\n"), "has 1 numbers, dim is 16"},
		"not finite":     {replace(lines[1], "{\"vector\":\"AADAfw==\"}\n"), "NaN at position 0"},
		"twice":          {text + lines[trace], "for the second time, first in line"},
		"cut line":       {strings.TrimSuffix(text, "}\n"), "not a vector or a trace"},
	} {
		if _, err := episodes.Parse("x.gz", bytes.NewReader(pack(tt.text))); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tt.want)
		}
	}
	whole := packed(t, task.File(2))
	for n := range len(whole) {
		if _, err := episodes.Parse("x.gz", bytes.NewReader(whole[:n])); err == nil {
			t.Fatalf("a file cut after %d of %d bytes was taken", n, len(whole))
		}
	}
	if _, err := episodes.ReadFile(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) && !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}

func TestMerge(t *testing.T) {
	a, b := task.File(2), task.File(4) // b has a's and two more of each
	b.Commit = "other"
	m, err := episodes.Merge(a, b)
	if err != nil || len(m.Episodes) != 20 || len(m.IDs()) != 5 {
		t.Fatalf("%d traces, %v", len(m.Episodes), err)
	}
	for i, tr := range m.Episodes {
		if want := task.ID(i / 4); tr.ID != want {
			t.Errorf("trace %d is of %s, want %s: a question's traces stand together", i, tr.ID, want)
		}
	}
	for want, change := range map[string]func(*episodes.Header){
		"embedder is made-up@1 and x":         func(h *episodes.Header) { h.Embedder = "x" },
		"data_hash is 3 and x":                func(h *episodes.Header) { h.DataHash = "x" },
		"split is train and test":             func(h *episodes.Header) { h.Split = "test" },
		"system.model is not given and small": func(h *episodes.Header) { h.System = map[string]any{"model": "small"} },
	} {
		a := task.File(1)
		a.System = map[string]any{}
		b := task.File(1)
		b.System = map[string]any{}
		a.System["k"], b.System["k"] = 1, 1
		change(&b.Header)
		if b.System["k"] == nil {
			b.System["k"] = 1
		}
		if _, err := episodes.Merge(a, b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := episodes.Merge(); err == nil {
		t.Error("nothing was merged")
	}
}

// Files of two splits make one that is of neither; a question is in one split alone.
func TestJoin(t *testing.T) {
	a, b := task.File(1), task.File(2)
	b.Split = "test"
	if _, err := episodes.Join(a, b); err == nil || !strings.Contains(err.Error(), "in the splits train and test") {
		t.Errorf("error %v", err)
	}
	for i := range b.Episodes {
		b.Episodes[i].ID += "-test"
	}
	f, err := episodes.Join(a, b, a)
	if err != nil || f.Split != "test+train" || !slices.Equal(f.Splits(), []string{"test", "train"}) || len(f.Episodes) != len(a.Episodes)+len(b.Episodes) {
		t.Fatalf("split %s, %d episodes, %v", f.Split, len(f.Episodes), err)
	}
	path := filepath.Join(t.TempDir(), "joined.gz")
	if err := f.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	for split, want := range map[string]bool{"test": true, "train": false, "validation": false, "test+train": true} {
		if _, err := episodes.ReadSplit(path, split); (err == nil) != want {
			t.Errorf("read as %s: %v", split, err)
		}
	}
	if f, err = episodes.Join(f, a); err != nil || f.Split != "test+train" {
		t.Errorf("joined again: split %s, %v", f.Split, err)
	}
	if a.Split != "train" || b.Split != "test" {
		t.Errorf("the files' own splits are %s and %s", a.Split, b.Split)
	}
	if f, err := episodes.Join(a, a); err != nil || f.Split != "train" {
		t.Errorf("split %s, %v", f.Split, err)
	}
	b.DataHash = "x"
	if _, err := episodes.Join(a, b); err == nil || !strings.Contains(err.Error(), "data_hash") {
		t.Errorf("error %v", err)
	}
	if _, err := episodes.Join(); err == nil {
		t.Error("nothing was joined")
	}
}

// What is traced is replayed as it was; what is not is that of the nearest combination, and counted.
func TestReplay(t *testing.T) {
	f := &episodes.File{Header: task.Header()}
	for _, choices := range [][]int{{0, 0, 0, 0, 0}, {0, 1, 0, 0, 2}, {2, 1, 0, 0, 2}} {
		f.Episodes = append(f.Episodes, task.Trace(0, choices))
	}
	r, err := episodes.NewReplay(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		asked, want []int
		exact       bool
	}{
		{[]int{0, 1, 0, 0, 2}, []int{0, 1, 0, 0, 2}, true},
		{[]int{2, 1, 0, 0, 2}, []int{2, 1, 0, 0, 2}, true},
		{[]int{0, 1, 1, 1, 1}, []int{0, 1, 0, 0, 2}, false}, // longest beginning
		{[]int{2, 0, 0, 0, 0}, []int{2, 1, 0, 0, 2}, false}, // the beginning counts before the number
		{[]int{1, 1, 0, 0, 1}, []int{0, 1, 0, 0, 2}, false}, // no beginning: most equal
		{[]int{0, 2, 0, 0, 1}, []int{0, 0, 0, 0, 0}, false}, // equal: the first
	} {
		before := r.Counts()
		p, err := router.NewStatic(f.Space, tt.asked)
		if err != nil {
			t.Fatal(err)
		}
		got, asked, err := r.Ask(context.Background(), 0, p)
		if err != nil || fmt.Sprint(got.Choices) != fmt.Sprint(tt.want) || fmt.Sprint(asked) != fmt.Sprint(tt.asked) {
			t.Errorf("%v: %v, asked %v, %v; want %v", tt.asked, got.Choices, asked, err, tt.want)
		}
		want := episodes.Counts{Traced: 1}
		if !tt.exact {
			want = episodes.Counts{Predicted: 1}
		}
		if now := r.Counts().Sub(before); now != want {
			t.Errorf("%v: counts %+v", tt.asked, now)
		}
	}
	if share := r.Counts().Share(); math.Abs(share-4.0/6) > 1e-12 {
		t.Errorf("share %v", share)
	}
}

// What is not traced is predicted, far nearer to what it would have brought than what the nearest traced combination did.
func TestReplayPredicts(t *testing.T) {
	made := episodestest.Task{Split: "train", Questions: 24, Seed: 1}
	all, err := episodestest.Space().Combinations()
	if err != nil {
		t.Fatal(err)
	}
	f := made.File(8)
	r, err := episodes.NewReplay(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	holds := f.Holds()
	var predicted, nearest [2]float64 // absolute errors of scores and dollars
	for q := range made.Questions {
		for _, choices := range all {
			if holds(made.ID(q), choices) {
				continue
			}
			p, err := router.NewStatic(f.Space, choices)
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := r.Ask(context.Background(), q, p)
			if err != nil {
				t.Fatal(err)
			}
			want, other := made.Trace(q, choices).Outcome(), made.Trace(q, got.Choices).Outcome()
			for i, v := range [][3]float64{{got.Score, want.Score, other.Score}, {got.Outcome().Dollars, want.Dollars, other.Dollars}} {
				predicted[i] += math.Abs(v[0] - v[1])
				nearest[i] += math.Abs(v[2] - v[1])
			}
			if got.AnswerDollars < 0 || got.ModulesDollars < 0 {
				t.Fatalf("%+v", got.Outcome())
			}
		}
	}
	for i, what := range []string{"scores", "dollars"} {
		if t.Logf("%s: error %.4f, by the nearest combination %.4f", what, predicted[i], nearest[i]); predicted[i] > nearest[i]/3 {
			t.Errorf("%s: error %v, by the nearest combination %v", what, predicted[i], nearest[i])
		}
	}
}

// Modules of one state see the same embedding, and the last one that of the filter's choice, if that is traced.
func TestReplayedStates(t *testing.T) {
	f := task.File(243)
	r, err := episodes.NewReplay(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	for filter := range 3 {
		p := &watcher{choices: []int{filter, 1, 2, 0, 1}, seen: map[int][]float32{}}
		if _, err := r.Play(context.Background(), 1, p); err != nil {
			t.Fatal(err)
		}
		want := task.Trace(1, p.choices)
		for m, s := range f.MemoryIndex {
			if fmt.Sprint(p.seen[m]) != fmt.Sprint([]float32(want.Memory[s])) {
				t.Errorf("filter %d: module %d saw another embedding", filter, m)
			}
		}
	}
	if got := len(r.FullyObserved()); got != 243 {
		t.Errorf("%d combinations are covered", got)
	}
}

type watcher struct {
	choices []int
	seen    map[int][]float32
}

func (w *watcher) Name() string { return "watcher" }
func (w *watcher) Decide(ctx context.Context, s router.State) (int, error) {
	v, err := s.Memory(ctx)
	w.seen[s.Module] = v
	return w.choices[s.Module], err
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(unpacked(f, episodestest.Task{Split: "s", Questions: 2, Seed: 1}.File(2))))
	f.Add([]byte(`{"format":"budgetmem-traces","version":1,"dim":1,"space":[{"name":"a","tiers":["x"]}],"states":[0]}` + "\n" + `{"vector":"AAAAAA=="}` + "\n" +
		`{"id":"q","tiers":["x"],"query":0,"memory":[-1]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := episodes.Parse("fuzz", bytes.NewReader(pack(string(text))))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := file.Write(&b); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := episodes.Parse("again", &b)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if fmt.Sprint(again) != fmt.Sprint(file) {
			t.Fatalf("read again it differs:\n%v\n%v", again, file)
		}
		file.Stats()
		file.Outcomes()
	})
}

// A file of an earlier version holds the same episodes today, and is written with the same content.
func TestReadOldFile(t *testing.T) {
	f, err := episodes.ReadFile("testdata/v1.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	want := episodestest.Task{Split: "train", Questions: 3, Seed: 1}.File(3)
	if fmt.Sprint(f) != fmt.Sprint(want) {
		t.Errorf("%+v\nwant\n%+v", f, want)
	}
}

// Of files that are extended at one time, each has what all wrote.
func TestExtendConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.jsonl.gz")
	whole := (episodestest.Task{Split: "train", Questions: 12, Seed: 1}).File(4)
	var all sync.WaitGroup
	const parts = 6
	for part := range parts {
		all.Go(func() {
			f := &episodes.File{Header: whole.Header}
			for i, e := range whole.Episodes {
				if i%parts == part {
					f.Episodes = append(f.Episodes, e)
				}
			}
			if _, err := f.Extend(t.Context(), path); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	got, err := episodes.ReadFile(path)
	if err != nil || len(got.Episodes) != len(whole.Episodes) {
		t.Errorf("%d episodes of %d, %v", len(got.Episodes), len(whole.Episodes), err)
	}
}

func TestHistories(t *testing.T) {
	got := episodes.Histories([]string{"conv-1/q1", "conv-2/q1", "conv-1/q2", "alone", "conv-2/q2", "/odd"})
	if want := [][]int{{0, 2}, {1, 4}, {3}, {5}}; !reflect.DeepEqual(got, want) {
		t.Errorf("histories %v, want %v", got, want)
	}
}
