package local

import (
	"math/rand/v2"
	"os"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
	"github.com/budgetmem/budgetmem/tiers/llm/local/localtest"
)

// strong writes an adapter of some maps of the top layers that changes replies.
func strong(t *testing.T, cfg Config, sha256 string) string {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 0))
	values := func(n int) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float32(rng.NormFloat64())
		}
		return out
	}
	a := &adapter.Adapter{Rank: 2, Alpha: 4, Pairs: map[adapter.Key]adapter.Pair{}, Info: adapter.Info{BaseSHA256: sha256, Template: "notes"}}
	for _, k := range []adapter.Key{{Layer: cfg.Layers - 1, Target: "q_proj"}, {Layer: cfg.Layers - 1, Target: "v_proj"}, {Layer: cfg.Layers - 2, Target: "down_proj"}} {
		p, _ := cfg.Projection(k.Target)
		a.Pairs[k] = adapter.Pair{A: values(a.Rank * p.In), B: values(p.Out * a.Rank), In: p.In, Out: p.Out}
	}
	dir := t.TempDir()
	if err := a.Write(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Models with and without an adapter share the weights that are the same, in whatever order they are opened and closed and while both
// answer, and reply as models that share nothing.
func TestSharedWeights(t *testing.T) {
	be, err := backend.Open("go", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer be.Finalize()
	for _, family := range []string{"llama", "qwen2"} {
		path := localtest.Tiny(t, family, 1)
		base, err := OpenBase(path, be)
		if err != nil {
			t.Fatal(err)
		}
		dir := strong(t, base.Config, base.SHA256)
		tensors := 2 // head and norm
		for l := range base.Config.Layers {
			tensors += len(base.Layer(l))
		}
		if err := base.Close(); err != nil {
			t.Fatal(err)
		}
		open := func(shared *Shared, adapter string) *Model {
			t.Helper()
			m, err := Open(path, be, Options{Shared: shared, Adapter: adapter})
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		ask := func(m *Model) llm.Response {
			r, err := m.Chat(t.Context(), llm.Request{Messages: []llm.Message{{Role: llm.User, Content: "Where is Ann?"}}, MaxTokens: 8, LogProbs: true})
			if err != nil {
				t.Error(err)
			}
			r.Usage.MS = 0
			return r
		}
		want := map[string]llm.Response{}
		for _, a := range []string{"", dir} {
			m := open(nil, a)
			want[a] = ask(m)
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if want[""].Text == want[dir].Text {
			t.Fatalf("%s: the adapter changes nothing", family)
		}
		for _, order := range [][]string{{"", dir}, {dir, ""}, {dir, dir}} {
			var shared Shared
			first, second := open(&shared, order[0]), open(&shared, order[1])
			n := tensors // as many as one model without an adapter has
			if order[1] == order[0] {
				n -= 2 // both have their own of query, key and value, and of down
			}
			if len(shared.held) != n {
				t.Errorf("%s %q: %d shared tensors, want %d", family, order, len(shared.held), n)
			}
			var got [2]llm.Response
			var both sync.WaitGroup
			for i, m := range []*Model{first, second} {
				both.Go(func() { got[i] = ask(m) })
			}
			both.Wait()
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			again := ask(second)
			if err := second.Close(); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got[0], want[order[0]]) || !reflect.DeepEqual(got[1], want[order[1]]) || again.Text != want[order[1]].Text {
				t.Errorf("%s %q: replies %+v and %+v, then %+v; alone %+v and %+v", family, order, got[0], got[1], again, want[order[0]], want[order[1]])
			}
			if len(shared.held)+len(shared.keys) > 0 {
				t.Errorf("%s %q: %d tensors are left", family, order, len(shared.held))
			}
		}
	}
}

// A file that cannot be loaded leaves nothing behind, and one that takes its place is another.
func TestSharedWeightsOfBrokenFile(t *testing.T) {
	be, err := backend.Open("go", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer be.Finalize()
	var shared Shared
	path := localtest.Tiny(t, "qwen2", 1)
	good, err := Open(path, be, Options{Shared: &shared})
	if err != nil {
		t.Fatal(err)
	}
	held := len(shared.held)
	dir := strong(t, good.Config(), "of another file")
	if _, err := Open(localtest.Tiny(t, "qwen2", 2), be, Options{Shared: &shared, Adapter: dir}); err == nil {
		t.Error("an adapter of another model was opened")
	}
	if len(shared.held) != held {
		t.Errorf("%d shared tensors after an error, want %d", len(shared.held), held)
	}
	other, err := os.ReadFile(localtest.Tiny(t, "qwen2", 3))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", other, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	replaced, err := Open(path, be, Options{Shared: &shared})
	if err != nil {
		t.Fatal(err)
	}
	if len(shared.held) != 2*held {
		t.Errorf("%d shared tensors with a file and the one that took its place, want %d", len(shared.held), 2*held)
	}
	if err := replaced.Close(); err != nil {
		t.Fatal(err)
	}
	if err := good.Close(); err != nil {
		t.Fatal(err)
	}
}
