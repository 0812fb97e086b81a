package router

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Every number is in one part, whether there are several parts or one, and parts begin where a block does.
func TestParts(t *testing.T) {
	for _, n := range []int{0, 1, 7, 64, 1<<14 - 1, 1 << 15, 1<<15 + 5, 5<<14 + 11} {
		seen := make([]int32, n)
		inParallel(n, func(from, to int) {
			if from%squaresBlock != 0 {
				t.Errorf("%d numbers: a part begins at %d", n, from)
			}
			for i := from; i < to; i++ {
				seen[i]++
			}
		})
		for i, times := range seen {
			if times != 1 {
				t.Fatalf("%d numbers: number %d is in %d parts", n, i, times)
			}
		}
	}
}

// Neither weights nor the norm depend on whether they are computed eight at a time or one by one.
func TestAdamAnyWidth(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	const n = 43
	fill := func() []float32 { return vector(rng, n) }
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
	if n, lanes := eightSquares(g, &[8]float32{}), squares(g); n > 0 {
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
