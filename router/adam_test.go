package router

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/budgetmem/budgetmem/router/internal/routertest"
)

// Every number of every weight is in one block, and blocks begin where eight numbers do.
func TestBlocks(t *testing.T) {
	net, err := NewNetwork(routertest.Open(t), five(300), Init{})
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	a := newAdam(net, Default(), 1)
	times := make([][]int32, len(a.weights))
	for i, w := range a.weights {
		times[i] = make([]int32, w.Shape().Size())
	}
	inParallel(len(a.blocks), func(i int) {
		b := a.blocks[i]
		if b.from%8 != 0 {
			t.Errorf("%+v", b)
		}
		for k := b.from; k < b.to; k++ {
			times[b.weight][k]++
		}
	})
	for i, w := range a.weights {
		for k, n := range times[i] {
			if n != 1 {
				t.Fatalf("%s: number %d is in %d blocks", w.Name(), k, n)
			}
		}
	}
}

// The function is called once with every number, and all calls are over when inParallel is.
func TestInParallelBlocks(t *testing.T) {
	for _, n := range []int{0, 1, 2, 1000} {
		first, second := make([]int, n), make([]int, n) // not atomic: the race detector is to see what is missing
		inParallel(n, func(i int) {
			first[i]++
		})
		inParallel(n, func(i int) {
			second[i] += first[n-1-i]
		})
		for i := range n {
			if first[i] != 1 || second[i] != 1 {
				t.Fatalf("of %d, number %d: %d calls of the first function, %d after one of the second", n, i, first[i], second[i])
			}
		}
	}
}

// Neither weights nor the norm depend on whether they are computed eight at a time or one by one.
func TestAdamAnyWidth(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	const n = 43
	fill := func() []float32 { return routertest.Vector(rng, n) }
	w, g, first, second := fill(), fill(), fill(), fill()
	for i := range second {
		second[i] *= second[i]
	}
	a := adamStep{scale: 0.7, rate: 0.01, debias: 1.3, epsilon: 1e-5}
	one := [][]float32{append([]float32(nil), w...), append([]float32(nil), first...), append([]float32(nil), second...)}
	for i := range n {
		a.apply(one[0][i:i+1], g[i:i+1], one[1][i:i+1], one[2][i:i+1])
	}
	a.apply(w, g, first, second)
	if n, lanes := squareEights(g, &[8]float32{}), squares(g); n > 0 {
		var one [8]float32
		for i, x := range g {
			one[i%8] += x * x
		}
		sum := 0.0
		for _, l := range one {
			sum += float64(l)
		}
		if sum != lanes {
			t.Errorf("the squares' sum is %v together, %v alone", lanes, sum)
		}
	}
	for k, all := range [][]float32{w, first, second} {
		for i, x := range all {
			if math.Float32bits(x) != math.Float32bits(one[k][i]) {
				t.Errorf("array %d, number %d: %v together, %v alone", k, i, x, one[k][i])
			}
		}
	}
}
