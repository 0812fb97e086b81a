package router

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
)

// learner takes gradient steps: it computes a loss and its gradients on GoMLX and changes the weights by Adam.
type learner struct {
	exec    *model.Exec
	weights []weight // in the order of the store
	limit   float64  // of the gradients' joint norm
	epsilon float64
	steps   int // taken
}

// weight is a network's weight with the running means of its gradient and of the gradient's square.
type weight struct {
	*model.Variable
	first, second []float32
}

// newLearner makes a learner. loss builds the loss, and numbers to report, from logits [modules, B, tiers] and values [B] of B
// questions and from a step's inputs that follow query [B, dim], memory [states, B, dim] and λ [B, 1].
func newLearner(net *Network, cfg Config, loss func(logits, values *Node, in []*Node) (loss *Node, report []*Node)) (*learner, error) {
	l := &learner{limit: cfg.MaxGradNorm, epsilon: cfg.AdamEpsilon}
	for v := range net.store.IterVariables() {
		n := v.Shape().Size()
		l.weights = append(l.weights, weight{v, make([]float32, n), make([]float32, n)})
	}
	var err error
	l.exec, err = model.NewExec(net.be, net.store, func(_ *model.Scope, in []*Node) []*Node {
		p := net.pass(in[0].Graph())
		logits, values := p.forward(in[0], in[1], in[2])
		loss, report := loss(logits, values, in[3:])
		return append([]*Node{Stack(report, 0)}, p.gradients(loss, logits, values)...)
	})
	return l, err
}

// step takes a gradient step at a learning rate. It returns what is reported, and last the gradients' joint norm, before it was
// bounded.
func (l *learner) step(inputs []*tensors.Tensor, rate float64) ([]float32, error) {
	args := make([]any, len(inputs))
	for i, t := range inputs {
		args[i] = t
	}
	out, err := l.exec.Call(args...)
	if err != nil {
		return nil, err
	}
	report, err := tensors.CopyFlatData[float32](out[0])
	if err == nil {
		var norm float64
		if norm, err = l.change(out[1:], rate); err == nil {
			report = append(report, float32(norm))
		}
	}
	return report, errors.Join(err, free(out))
}

// change changes the weights by their gradients, whose joint norm it returns.
func (l *learner) change(grads []*tensors.Tensor, rate float64) (norm float64, err error) {
	var sum float64
	for i, w := range l.weights {
		if err := tensors.ConstFlatData(grads[i], func(grad []float32) { sum += sumOfSquares(grad) }); err != nil {
			return 0, fmt.Errorf("%s: %w", w.Name(), err)
		}
	}
	if norm = math.Sqrt(sum); !(norm < 1e30) { // also if it is no number
		return 0, fmt.Errorf("the gradient's norm is %v; lower the learning rate", norm)
	}
	return norm, l.adam(grads, norm, rate)
}

// Adam's decay of the running means.
const beta1, beta2 = 0.9, 0.999

// adam changes every weight w by its gradient g (Kingma & Ba 2015), scaled by c so that the joint norm is at most the limit:
//
//	m ← β₁m + (1−β₁)·c·g    v ← β₂v + (1−β₂)·(c·g)²    w ← w − rate · m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + ε)
//
// Like the norm it is not part of the graph, as there each of a dozen operations would go through all weights, and moments
// would be handed to the backend and back in every step. On a CPU weights and gradients are used where the backend has them.
func (l *learner) adam(grads []*tensors.Tensor, norm, rate float64) error {
	l.steps++
	a := adamStep{
		scale:   float32(min(l.limit/(norm+1e-6), 1)),
		rate:    float32(rate / (1 - math.Pow(beta1, float64(l.steps)))),
		debias:  float32(1 / math.Sqrt(1-math.Pow(beta2, float64(l.steps)))),
		epsilon: float32(l.epsilon),
	}
	for i, w := range l.weights {
		value, err := w.Value()
		if err != nil {
			return err
		}
		var inner error
		err = tensors.MutableFlatData(value, func(values []float32) {
			inner = tensors.ConstFlatData(grads[i], func(grad []float32) {
				inParallel(len(values), func(from, to int) {
					a.apply(values[from:to], grad[from:to], w.first[from:to], w.second[from:to])
				})
			})
		})
		if err != nil || inner != nil {
			return fmt.Errorf("%s: %w", w.Name(), errors.Join(err, inner))
		}
	}
	return nil
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

// sumOfSquares sums up blocks side by side, whose number depends on the length alone, so that the sum is the same on any machine.
func sumOfSquares(x []float32) float64 {
	blocks := make([]float64, (len(x)+squaresBlock-1)/squaresBlock)
	inParallel(len(x), func(from, to int) {
		for ; from < to; from += squaresBlock {
			blocks[from/squaresBlock] = squares(x[from:min(from+squaresBlock, to)])
		}
	})
	var sum float64
	for _, b := range blocks {
		sum += b
	}
	return sum
}

// squaresBlock is how many squares are summed up in float32.
const squaresBlock = 1 << 12

// squares returns the sum of the squares, of every eighth number first.
func squares(x []float32) float64 {
	var lanes [8]float32
	n := eightSquares(x, &lanes)
	for i, v := range x[n:] {
		lanes[i%8] += v * v
	}
	var sum float64
	for _, l := range lanes {
		sum += float64(l)
	}
	return sum
}

// inParallel runs f on parts of 0 … n−1, side by side where they are long. Parts end at multiples of squaresBlock, so that
// what f does with eight numbers or a block at a time does not depend on how many parts there are.
func inParallel(n int, f func(from, to int)) {
	parts := max(1, min(runtime.GOMAXPROCS(0), n>>14))
	end := func(part int) int {
		if part == parts {
			return n
		}
		return n * part / parts &^ (squaresBlock - 1)
	}
	var wg sync.WaitGroup
	for part := range parts {
		wg.Go(func() { f(end(part), end(part+1)) })
	}
	wg.Wait()
}

func (l *learner) close() { l.exec.Finalize() }
