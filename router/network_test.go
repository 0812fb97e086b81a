package router

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/router/portable"
)

// open returns the pure-Go backend, which is everywhere.
func open(t testing.TB) *backend.Backend {
	t.Helper()
	be, err := backend.Open("go", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(be.Finalize)
	return be
}

// five is a shape like the memory's: five modules on three states, one of them with fewer tiers.
func five(dim int) Shape {
	low := []string{"low", "mid", "high"}
	return Shape{Dim: dim, Embedder: "test", States: []int{0, 1, 1, 1, 2}, Modules: Space{
		{Name: "filter", Tiers: low}, {Name: "entity", Tiers: low}, {Name: "temporal", Tiers: []string{"low", "high"}},
		{Name: "topic", Tiers: low}, {Name: "summary", Tiers: low}}}
}

func vector(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	var sum float64
	for i := range v {
		x := rng.NormFloat64()
		v[i] = float32(x)
		sum += x * x
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(sum))
	}
	return v
}

func TestPortableAgreesWithGoMLX(t *testing.T) {
	const b = 16
	for _, dim := range []int{24, 384} {
		// The gain makes tiers differ far more than fresh routers' do.
		shape := five(dim)
		n, err := NewNetwork(open(t), shape, Init{Seed: 3, ActorGain: 2, CriticGain: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		rng := rand.New(rand.NewPCG(1, 1))
		var query, memory, lambda []float32
		for range b {
			query = append(query, vector(rng, dim)...)
			lambda = append(lambda, rng.Float32())
		}
		for range 3 * b {
			memory = append(memory, vector(rng, dim)...)
		}
		logProbs, _, err := n.Evaluate(query, memory, lambda)
		if err != nil {
			t.Fatal(err)
		}
		r, err := n.Portable(portable.Range{Max: 1})
		if err != nil {
			t.Fatal(err)
		}
		d := r.NewDecider()
		worst, spread := 0.0, 0.0
		for i := range b {
			if err := d.Question(query[i*dim:(i+1)*dim], float64(lambda[i])); err != nil {
				t.Fatal(err)
			}
			for m, state := range shape.States {
				if err := d.Memory(memory[(state*b+i)*dim : (state*b+i+1)*dim]); err != nil {
					t.Fatal(err)
				}
				got, want := d.LogProbs(m), logProbs[(m*b+i)*3:(m*b+i+1)*3]
				for k := range got {
					worst = max(worst, math.Abs(float64(got[k]-want[k])))
				}
				spread = max(spread, math.Abs(float64(got[0]-got[1])))
				if m == 2 && (len(got) != 2 || want[2] > -1e8) {
					t.Fatalf("the masked tier has log-probability %v of %v", want[2], got)
				}
			}
		}
		t.Logf("dim %d: log-probabilities differ by %.2g at most, tiers by %.2g", dim, worst, spread)
		if worst > 1e-5 || spread < 0.1 {
			t.Errorf("dim %d: log-probabilities differ by %.2g, tiers by %.2g", dim, worst, spread)
		}
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
		func(s *Shape) { s.States = []int{0, 1} },
		func(s *Shape) { s.States = []int{0, 2, 1, 1, 1} },
		func(s *Shape) { s.Modules = append(Space{{Name: "one", Tiers: []string{"low"}}}, s.Modules[1:]...) },
	} {
		s := five(4)
		change(&s)
		if _, err := s.withDefaults(); err == nil {
			t.Errorf("%+v was taken", s)
		}
	}
}
