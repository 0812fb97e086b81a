package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/run"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/router/confidence"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// collect makes a trace file of the tiny data set.
func collect(t *testing.T, m *bmem.Memory, dir, design string) (run.Config, *episodes.File) {
	t.Helper()
	c := runtest.Config(dir, m)
	var err error
	if c.Policies, err = run.Design(design, m.Space()); err != nil {
		t.Fatal(err)
	}
	s, f, err := run.Collect(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if s.Done != 12*len(c.Policies) || s.Failed != 0 {
		t.Fatalf("%d done, %d failed, of %d", s.Done, s.Failed, 12*len(c.Policies))
	}
	return c, f
}

func TestCollect(t *testing.T) {
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	defer server.Close()
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: server.URL()})
	dir := t.TempDir()
	c, f := collect(t, m, filepath.Join(dir, "run"), "random:4")
	if len(f.Episodes) != 12*4 || len(f.IDs()) != 12 {
		t.Fatalf("%d traces of %d questions", len(f.Episodes), len(f.IDs()))
	}
	for _, tr := range f.Episodes {
		if tr.Score < 0 || tr.Outcome().Dollars <= 0 || tr.In == 0 || tr.Question == "" || len(tr.Memory) != 3 || len(tr.Memory[0]) != f.Dim {
			t.Fatalf("trace %+v", tr)
		}
	}

	path := filepath.Join(dir, "t.gz")
	if err := f.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	back, err := episodes.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := episodes.Difference(f.Header, back.Header); diff != "" || fmt.Sprint(f.Episodes) != fmt.Sprint(back.Episodes) {
		t.Errorf("the file read again differs: %s", diff)
	}

	// More combinations extend the run: the replies that are there are not asked for again, the traces stay.
	calls := server.Count()
	c.Policies, _ = run.Design("random:5", m.Space())
	_, more, err := run.Collect(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if n := server.Count() - calls; len(more.Episodes) != 60 || n == 0 || n > 12*6 {
		t.Errorf("%d traces after %d more calls", len(more.Episodes), n)
	}

	// What a router would look at is what the traces hold, and what it brings is what they say, whichever way it is asked.
	live, err := run.NewLive(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if diff := episodes.Difference(live.Header(), f.Header); diff != "" {
		t.Errorf("the live system is said to differ from the traced one: %s", diff)
	}
	for _, tr := range f.Episodes {
		p, err := router.NewStatic(f.Space, tr.Choices)
		if err != nil {
			t.Fatal(err)
		}
		got, err := live.Ask(context.Background(), tr.ID, p)
		if err != nil {
			t.Fatal(err)
		}
		got.MS = tr.MS
		if fmt.Sprint(got) != fmt.Sprint(tr) {
			t.Fatalf("asked live:\n%v\ntraced:\n%v", got, tr)
		}
	}
}

// Traces that are there are not collected again, in whatever folder, and come first; those of another system are refused.
func TestCollectGoesOnFromTraces(t *testing.T) {
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	defer server.Close()
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: server.URL()})
	c, f := collect(t, m, filepath.Join(t.TempDir(), "run"), "low+random:2")
	f.Commit = "an earlier one"
	c.Dir, c.Traced = filepath.Join(t.TempDir(), "elsewhere"), f
	calls := server.Count()
	s, same, err := run.Collect(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if s.Total != 0 || server.Count() != calls || fmt.Sprint(same.Episodes) != fmt.Sprint(f.Episodes) {
		t.Errorf("%d asked again, %d calls, %d of %d traces", s.Total, server.Count()-calls, len(same.Episodes), len(f.Episodes))
	}

	c.Policies, _ = run.Design("low+mid", m.Space())
	_, more, err := run.Collect(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(more.Episodes) != len(f.Episodes)+12 || fmt.Sprint(more.IDs()) != fmt.Sprint(f.IDs()) {
		t.Errorf("%d traces with mid, of %d questions", len(more.Episodes), len(more.IDs()))
	}

	c.KeepK++
	if _, _, err := run.Collect(context.Background(), c); err == nil || !strings.Contains(err.Error(), "keep_k") {
		t.Errorf("traces of another system: %v", err)
	}
}

// A replay with a system behind it brings what the system brings, asks for what is not traced only, and traces that.
func TestReplayAsksWhatIsMissing(t *testing.T) {
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	defer server.Close()
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: server.URL()})
	c, f := collect(t, m, filepath.Join(t.TempDir(), "run"), "low+random:2")
	live, err := run.NewLive(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	replay, err := episodes.NewReplay(f, live)
	if err != nil {
		t.Fatal(err)
	}
	policies := []router.Policy{}
	for _, spec := range []string{"low", "high", "random", "low,mid,low,high,low"} {
		p, err := router.Parse(spec, m.Space(), 1)
		if err != nil {
			t.Fatal(err)
		}
		policies = append(policies, p)
	}
	play := func() (out []router.Episode) {
		for _, p := range policies {
			for i, id := range replay.IDs() {
				got, _, err := replay.Ask(context.Background(), i, p)
				if err != nil {
					t.Fatal(err)
				}
				want, err := live.Ask(context.Background(), id, p)
				if err != nil {
					t.Fatal(err)
				}
				got.MS, want.MS = 0, 0
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("%s of %s:\n%v\nlive:\n%v", p.Name(), id, got, want)
				}
				out = append(out, got)
			}
		}
		return out
	}
	first := play()
	counts := replay.Counts()
	if counts.Predicted != 0 || counts.Traced < 12 || counts.Live == 0 {
		t.Errorf("counts %+v", counts)
	}
	calls := server.Count()
	if second := play(); fmt.Sprint(first) != fmt.Sprint(second) {
		t.Error("the second time, the outcomes differ")
	}
	if now := replay.Counts().Sub(counts); now.Live != 0 || now.Traced != 48 || server.Count() != calls {
		t.Errorf("the second time, counts are %+v after %d calls", now, server.Count()-calls)
	}
	grown, changed := replay.Snapshot()
	if !changed || len(grown.Episodes) != len(f.Episodes)+counts.Live {
		t.Errorf("%d traces after %d live ones on top of %d", len(grown.Episodes), counts.Live, len(f.Episodes))
	}
	var b bytes.Buffer
	if err := grown.Write(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := episodes.Parse("grown", &b); err != nil {
		t.Error(err)
	}
}

func TestDesign(t *testing.T) {
	space := router.Space{{Name: "a", Tiers: []string{"low", "high"}}, {Name: "b", Tiers: []string{"low", "mid", "high"}}}
	for spec, want := range map[string]string{
		"uniform":          "low high",
		"random:2":         "random:1 random:2",
		"full":             "random:1 random:2 random:3 random:4 random:5 random:6",
		"uniform+random:1": "low high random:1",
		"low,mid + random": "low,mid random",
	} {
		if got, err := run.Design(spec, space); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v; want %s", spec, got, err, want)
		}
	}
	for spec, want := range map[string]string{"random:7": "1 to 6", "random:x": "not a number", "best": `no tier "best"`, "": "no tier"} {
		if got, err := run.Design(spec, space); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v; want an error with %s", spec, got, err, want)
		}
	}
	if got, err := run.Design("uniform", router.Space{{Name: "a", Tiers: []string{"x"}}, {Name: "b", Tiers: []string{"y"}}}); err == nil {
		t.Errorf("no common tier: %q", slices.Clone(got))
	}
}

func TestDesignRefusesCascades(t *testing.T) {
	space := router.Space{{Name: "filter", Tiers: []string{"low"}}, {Name: "answer", Tiers: []string{"low", "high"}}}
	estimate := &confidence.Estimate{Signals: []string{"x"}, Center: []float64{0}, Scale: []float64{1}, Weights: []float64{1}, Levels: &confidence.Isotonic{X: []float64{0, 1}, Y: []float64{0, 1}}}
	c := &cascade.Calibration{Format: cascade.Format, Version: cascade.Version, Reward: &cascade.Reward{Scale: 1, Low: 0, High: 1},
		Readers: []cascade.Reader{{Tier: "low", Model: "small", Score: estimate, Gains: map[string]*confidence.Estimate{"high": estimate}}, {Tier: "high", Model: "large", Dollars: 1, Score: estimate}},
		Points:  []cascade.Point{{Lambda: 0.1, Tiers: []string{"low", "low"}, Dollars: 1, Score: 0.5}}}
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "calibration.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := run.Design("uniform+cascade:"+file, space); err == nil || !strings.Contains(err.Error(), "an episode holds one") {
		t.Errorf("%q, %v", got, err)
	}
}

// Where the answer is routed, each notes are answered by every tier, and their calls are made once.
func TestCollectSharesNotes(t *testing.T) {
	if got, err := run.Design("mid+random:1+low/mid", router.Space{{Name: "filter", Tiers: []string{"low", "mid"}}, {Name: "answer", Tiers: []string{"mid", "big"}}}); err != nil ||
		strings.Join(got, " ") != "mid/mid mid/big random:1/mid random:1/big low/mid" {
		t.Errorf("%v, %v", got, err)
	}
	// Two modules before the answer, whose own last one is no answer.
	three := router.Space{{Name: "filter", Tiers: []string{"low", "mid"}}, {Name: "summary", Tiers: []string{"low", "mid"}}, {Name: "answer", Tiers: []string{"low", "mid"}}}
	if got, err := run.Design("mid/low+low,mid", three); err != nil || strings.Join(got, " ") != "mid/low low,mid/low low,mid/mid" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := run.Design("mid/low/low", three); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("%v, %v", got, err)
	}
	server := llmtest.New(llmtest.Config{Reply: runtest.Reply})
	defer server.Close()
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: server.URL(), Tiers: tiers.ReadersSet})
	_, f := collect(t, m, filepath.Join(t.TempDir(), "run"), "uniform")
	if len(f.Episodes) != 12*9 || fmt.Sprint(f.MemoryIndex) != "[0 1 2]" || len(f.Space) != 3 {
		t.Fatalf("%d episodes, memories %v of %v", len(f.Episodes), f.MemoryIndex, f.Space)
	}
	asked := map[string]int{}
	for _, c := range server.Calls() {
		asked[c.Body]++
	}
	for body, n := range asked {
		if n > 1 {
			t.Errorf("asked %d times: %s", n, body)
		}
	}
	for _, e := range f.Episodes {
		if e.Answer == "" || len(e.Quoted) == 0 || e.Signals[bmem.QuotedTurns] != float64(len(e.Quoted)) {
			t.Fatalf("episode %+v", e)
		}
		if free := e.Choices[2] == 0; free != (e.AnswerDollars == 0) || !free && e.Calls[len(e.Calls)-1].Step != "answer" {
			t.Fatalf("episode %+v", e)
		}
		in := 0
		for _, c := range e.Calls {
			in += c.In
		}
		if in != e.In {
			t.Errorf("question %s: calls read %d tokens together, all %d", e.ID, in, e.In)
		}
	}
	notes := map[string]router.Episode{}
	for _, e := range f.Episodes {
		k := fmt.Sprint(e.ID, e.Choices[:2])
		first, ok := notes[k]
		if !ok {
			notes[k] = e
			continue
		}
		if fmt.Sprint(first.Memory) != fmt.Sprint(e.Memory) || first.ModulesDollars != e.ModulesDollars || len(e.Memory) != 3 || len(e.Memory[2]) == 0 {
			t.Errorf("question %s: the notes of %v and %v differ", e.ID, first.Choices, e.Choices)
		}
	}
}

// Turns that are forgotten in the middle of a run stop it: no answer from another memory than the data set's is kept. The next start puts
// them back and ends as if nothing had been.
func TestMemoryChangesDuringARun(t *testing.T) {
	var m *bmem.Memory
	var forget atomic.Bool
	server := llmtest.New(llmtest.Config{Reply: func(c llmtest.Call) string {
		if forget.CompareAndSwap(true, false) {
			if _, err := m.ForgetSpeaker(context.Background(), "", "Bob"); err != nil {
				t.Error(err)
			}
		}
		return runtest.Reply(c)
	}})
	defer server.Close()
	open := func() run.Config {
		m, _ = runtest.MustOpen(t, runtest.Rig{URL: server.URL()})
		c := runtest.Config(filepath.Join(t.TempDir(), "run"), m)
		c.InFlight, c.Policies = 1, []string{"low", "mid"}
		return c
	}
	predictions := func(c run.Config) string {
		data, err := os.ReadFile(filepath.Join(c.Dir, "predictions.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	c := open()
	if _, err := run.Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	want := predictions(c)

	c = open()
	c.Progress = func(p run.Progress) {
		if p.Done == 5 {
			forget.Store(true)
		}
	}
	o, err := run.Run(t.Context(), c)
	if !errors.Is(err, bmem.ErrMemoryChanged) || !strings.Contains(err.Error(), "start it again to continue") || !strings.Contains(err.Error(), "data set/tiny/h") {
		t.Fatalf("the run went on over another memory: %v", err)
	}
	if o.Done >= o.Total || o.Done < 5 || o.Failed != 0 {
		t.Errorf("%d of %d done, %d failed", o.Done, o.Total, o.Failed)
	}
	c.Progress = nil
	if o, err = run.Run(t.Context(), c); err != nil || o.Done != o.Total {
		t.Fatalf("the next start: %v", err)
	}
	if got := predictions(c); got != want {
		t.Errorf("the answers differ from those of a run that nobody disturbed:\n%s\nwant\n%s", got, want)
	}
}
