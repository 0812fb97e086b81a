package router

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
)

// adam changes a network's weights by their gradients (Kingma & Ba 2015), scaled so that their joint norm is bounded.
//
// It is not part of the graph, as there each of a dozen operations would go through all weights, and moments would be handed
// to the backend and back in every step. On a CPU weights and gradients are used where the backend has them.
type adam struct {
	weights []weight // in the order of the store
	blocks  []block
	limit   float64 // of the gradients' joint norm
	epsilon float64
	steps   int // taken
}

// weight is a network's weight with the running means of its gradient and of the gradient's square.
type weight struct {
	*model.Variable
	group, offset int // where its gradient is, see grouped
	first, second []float32
	sum           []float32 // of the gradients of several parts; nil if there is one
}

// block is a part of a weight, from … to−1. Blocks do not depend on the machine, so that sums over them do not.
type block struct{ weight, from, to int }

// blockSize is how many numbers a block has at most, a multiple of 8.
const blockSize = 1 << 12

// newAdam makes an adam for gradients in so many parts, to be summed up.
func newAdam(net *Network, cfg Config, parts int) adam {
	a := adam{limit: cfg.MaxGradNorm, epsilon: cfg.AdamEpsilon}
	for v := range net.store.IterVariables() {
		n := v.Shape().Size()
		w := weight{Variable: v, first: make([]float32, n), second: make([]float32, n)}
		w.group = slices.IndexFunc(grouped, func(names []string) bool { return slices.Contains(names, v.Name()) })
		for _, name := range grouped[w.group][:slices.Index(grouped[w.group], v.Name())] {
			w.offset += net.store.GetVariable(root + name).Shape().Size()
		}
		if parts > 1 {
			w.sum = make([]float32, n)
		}
		for from := 0; from < n; from += blockSize {
			a.blocks = append(a.blocks, block{len(a.weights), from, min(from+blockSize, n)})
		}
		a.weights = append(a.weights, w)
	}
	return a
}

// change changes the weights by the sum of the parts' gradients, as they are grouped, and returns its norm.
func (a *adam) change(parts [][]*tensors.Tensor, rate float64) (norm float64, err error) {
	n := len(a.weights)
	all := make([]*tensors.Tensor, n)
	for i, w := range a.weights {
		if all[i], err = w.Value(); err != nil {
			return 0, fmt.Errorf("%s: %w", w.Name(), err)
		}
	}
	opened := openFlat(append(all, slices.Concat(parts...)...), n, nil, func(flat [][]float32) {
		norm, err = a.descend(flat[:n], slices.Collect(slices.Chunk(flat[n:], len(grouped))), rate)
	})
	return norm, errors.Join(opened, err)
}

// openFlat calls f with the numbers of tensors, of which the first so many may be changed, where the backend has them.
func openFlat(all []*tensors.Tensor, mutable int, flat [][]float32, f func(flat [][]float32)) error {
	at := len(flat)
	if at == len(all) {
		f(flat)
		return nil
	}
	open := tensors.ConstFlatData[float32]
	if at < mutable {
		open = tensors.MutableFlatData[float32]
	}
	var inner error
	err := open(all[at], func(x []float32) { inner = openFlat(all, mutable, append(flat, x), f) })
	return errors.Join(err, inner)
}

// Adam's decay of the running means.
const beta1, beta2 = 0.9, 0.999

// descend changes weights by the sum of the parts' gradients g, scaled by c so that its norm, which it returns, is at most the limit:
//
//	m ← β₁m + (1−β₁)·c·g    v ← β₂v + (1−β₂)·(c·g)²    w ← w − rate · m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + ε)
func (a *adam) descend(weights [][]float32, parts [][][]float32, rate float64) (norm float64, err error) {
	grads, squared := make([][]float32, len(a.blocks)), make([]float64, len(a.blocks))
	inParallel(len(a.blocks), func(i int) {
		grads[i] = a.gradient(a.blocks[i], parts)
		squared[i] = squares(grads[i])
	})
	for _, s := range squared {
		norm += s
	}
	if norm = math.Sqrt(norm); !(norm < 1e30) { // also if it is no number
		return 0, fmt.Errorf("the gradient's norm is %v; lower the learning rate", norm)
	}
	a.steps++
	s := adamStep{
		scale:   float32(min(a.limit/(norm+1e-6), 1)),
		rate:    float32(rate / (1 - math.Pow(beta1, float64(a.steps)))),
		debias:  float32(1 / math.Sqrt(1-math.Pow(beta2, float64(a.steps)))),
		epsilon: float32(a.epsilon),
	}
	inParallel(len(a.blocks), func(i int) {
		b := a.blocks[i]
		w := a.weights[b.weight]
		s.apply(weights[b.weight][b.from:b.to], grads[i], w.first[b.from:b.to], w.second[b.from:b.to])
	})
	return norm, nil
}

// gradient returns a block of the gradient, for which it sums up what several parts have.
func (a *adam) gradient(b block, parts [][][]float32) []float32 {
	w := a.weights[b.weight]
	if w.sum == nil {
		return w.of(b, parts[0])
	}
	sum := w.sum[b.from:b.to]
	copy(sum, w.of(b, parts[0]))
	for _, part := range parts[1:] {
		add(sum, w.of(b, part))
	}
	return sum
}

// of returns a block of the weight's gradient out of those that are grouped.
func (w weight) of(b block, grads [][]float32) []float32 {
	return grads[w.group][w.offset+b.from : w.offset+b.to]
}

// adamStep holds what is the same for all weights of a step.
type adamStep struct{ scale, rate, debias, epsilon float32 }

func (a adamStep) apply(w, g, first, second []float32) {
	g, first, second = g[:len(w)], first[:len(w)], second[:len(w)]
	for i := a.eights(w, g, first, second); i < len(w); i++ {
		c := a.scale * g[i]
		m := beta1*first[i] + (1-beta1)*c
		v := beta2*second[i] + (1-beta2)*(c*c)
		first[i], second[i] = m, v
		w[i] -= m * a.rate / (float32(math.Sqrt(float64(v)))*a.debias + a.epsilon)
	}
}

// add adds y to x.
func add(x, y []float32) {
	y = y[:len(x)]
	for i := addEights(x, y); i < len(x); i++ {
		x[i] += y[i]
	}
}

// squares returns the sum of the squares of a block, of every eighth number first.
func squares(x []float32) float64 {
	var lanes [8]float32
	n := squareEights(x, &lanes)
	for i, v := range x[n:] {
		lanes[i%8] += v * v
	}
	var sum float64
	for _, l := range lanes {
		sum += float64(l)
	}
	return sum
}

// inParallel calls f with 0 … n−1 on all cores.
func inParallel(n int, f func(i int)) {
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(i)
		}
	}
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
}
