package router

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/budgetmem/budgetmem/router/internal/routertest"
	"github.com/budgetmem/budgetmem/router/portable"
)

// exported writes the file of a small fresh router.
func exported(t *testing.T) string {
	t.Helper()
	shape := five(8)
	shape.Hidden, shape.Actor = 8, 8
	n, err := NewNetwork(routertest.Open(t), shape, Init{ActorGain: 2, CriticGain: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	r, err := n.Portable(portable.Range{Min: 0.1, Max: 0.9})
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a@b.safetensors")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestParseRouter(t *testing.T) {
	path := exported(t)
	for spec, want := range map[string]string{path: "router@0.1", path + "@0.5": "router@0.5"} {
		p, err := Parse("router:"+spec, five(8).Modules, 0)
		if err != nil || p.Name() != want {
			t.Errorf("%s: %v, %v; want %s", spec, p, err, want)
		}
	}
	for spec, want := range map[string]string{path + "@1": "trained for 0.1 to 0.9", path + "x": "no such file"} {
		if _, err := Parse("router:"+spec, five(8).Modules, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", spec, err, want)
		}
	}
	if _, err := Parse("router:"+path, space, 0); err == nil || !strings.Contains(err.Error(), "trained for the tiers") {
		t.Errorf("a router of other tiers: %v", err)
	}
}

// What a router decides depends on state and λ alone, also when many ask it at once.
func TestLearnedConcurrently(t *testing.T) {
	p, err := Parse("router:"+exported(t), five(8).Modules, 0)
	if err != nil {
		t.Fatal(err)
	}
	env := newClusters(8, 1, 1)
	state := func(q int) State {
		_, query := env.Query(q)
		_, memory := env.Memory(q, 0, 0)
		return State{Module: q % 5, Query: query, Memory: func(context.Context) ([]float32, error) { return memory, nil }}
	}
	want := map[int]int{}
	differ := false
	for q := range 40 {
		if want[q], err = p.Decide(context.Background(), state(q)); err != nil {
			t.Fatal(err)
		}
		differ = differ || want[q] != want[0]
	}
	if !differ {
		t.Error("all questions get the same tier")
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for q := range 40 {
				if got, err := p.Decide(context.Background(), state(q)); err != nil || got != want[q] {
					t.Errorf("question %d: tier %d (%v), want %d", q, got, err, want[q])
				}
			}
		})
	}
	group.Wait()
	none := errors.New("no embedder")
	if _, err := p.Decide(context.Background(), State{Memory: func(context.Context) ([]float32, error) { return nil, none }}); !errors.Is(err, none) {
		t.Errorf("error %v", err)
	}
}
