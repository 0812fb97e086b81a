package router

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/budgetmem/budgetmem/router/internal/routertest"
	"github.com/budgetmem/budgetmem/router/portable"
)

// five is a shape like the memory's: five modules on three memory embeddings, one of them with fewer tiers.
func five(dim int) Shape {
	return Shape{Dim: dim, Embedder: "test", MemoryIndex: routertest.Inputs(), Modules: routertest.Modules()}
}

// six is five with the answer, which is decided on an embedding of its own and on signals.
func six(dim int) Shape {
	task := routertest.Clusters{Answer: true}
	return Shape{Dim: dim, Embedder: "test", MemoryIndex: task.Inputs(), Modules: task.Modules(), Signals: routertest.Signals()}
}

func TestPortableAgreesWithGoMLX(t *testing.T) {
	for _, be := range routertest.Engines(t) {
		for _, shape := range []Shape{five(384), six(24)} {
			dim := shape.Dim
			// The gain makes tiers differ far more than a fresh router's do.
			n, err := NewNetwork(be, shape, Init{Seed: 3, ActorGain: 5, CriticGain: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			r, err := n.Portable(portable.Range{Max: 1})
			if err != nil {
				t.Fatal(err)
			}
			worst, err := n.Agreement(r)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s, dim %d: log-probabilities differ by %.2g at most", be.Kind, dim, worst)
			if worst > 1e-5 {
				t.Errorf("%s, dim %d: log-probabilities differ by %.2g", be.Kind, dim, worst)
			}
			other, err := NewNetwork(be, shape, Init{Seed: 4, ActorGain: 5, CriticGain: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			if worst, err := other.Agreement(r); err != nil || worst < 0.1 {
				t.Errorf("%s, dim %d: another network's differ by %.2g only (%v)", be.Kind, dim, worst, err)
			}
		}
	}
}

// A tier that a module does not have has probability zero.
func TestMask(t *testing.T) {
	n, err := NewNetwork(routertest.Open(t), five(8), Init{ActorGain: 1, CriticGain: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	logProbs, values, err := n.predict(Questions{Query: routertest.Vector(rng, 8), Memory: routertest.Vector(rng, 3*8), Lambda: []float32{0.5}})
	if err != nil {
		t.Fatal(err)
	}
	for m, module := range five(8).Modules {
		sum := 0.0
		for tier, l := range logProbs[3*m : 3*m+3] {
			p := math.Exp(float64(l))
			sum += p
			if has := tier < len(module.Tiers); has != (p > 0) {
				t.Errorf("module %s, tier %d has the probability %v", module.Name, tier, p)
			}
		}
		if math.Abs(sum-1) > 1e-6 {
			t.Errorf("module %s: the probabilities sum to %v", module.Name, sum)
		}
	}
	if len(values) != 1 || values[0] == 0 {
		t.Errorf("values %v", values)
	}
}

func TestOrthogonal(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, size := range [][2]int{{7, 3}, {3, 7}, {5, 5}, {9, 1}} {
		rows, cols := size[0], size[1]
		w := orthogonal(rng, rows, cols, 2)
		at := func(vector, i int) float64 { // of the shorter side
			if rows >= cols {
				return float64(w[i*cols+vector])
			}
			return float64(w[vector*cols+i])
		}
		for a := range min(rows, cols) {
			for b := range min(rows, cols) {
				dot, want := 0.0, 0.0
				for i := range max(rows, cols) {
					dot += at(a, i) * at(b, i)
				}
				if a == b {
					want = 4
				}
				if math.Abs(dot-want) > 1e-5 {
					t.Errorf("%v: vectors %d and %d have the product %v, want %v", size, a, b, dot, want)
				}
			}
		}
	}
}

func TestShapeRefuses(t *testing.T) {
	for _, change := range []func(*Shape){
		func(s *Shape) { s.Dim = 0 },
		func(s *Shape) { s.Modules = nil },
		func(s *Shape) { s.MemoryIndex = []int{0, 1} },
		func(s *Shape) { s.MemoryIndex = []int{0, 2, 1, 1, 1} },
		func(s *Shape) { s.Signals = []Signal{{Name: "sure"}} },
		func(s *Shape) { s.Signals = []Signal{{Scale: 1}} },
		func(s *Shape) { s.Modules = append(Space{{Name: "one", Tiers: []string{"low"}}}, s.Modules[1:]...) },
	} {
		s := five(4)
		change(&s)
		if _, err := s.complete(); err == nil {
			t.Errorf("%+v was taken", s)
		}
	}
}
