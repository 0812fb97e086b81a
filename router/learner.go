package router

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/gomlx/compute/gobackend"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
	"golang.org/x/sync/errgroup"
)

// learner takes gradient steps: it computes a loss and its gradients on GoMLX and changes the weights by Adam.
type learner struct {
	exec    *model.Exec
	parts   int      // of a minibatch, whose gradients are computed side by side and summed up
	ready   bool     // the graph is compiled
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
	l := &learner{limit: cfg.MaxGradNorm, epsilon: cfg.AdamEpsilon, parts: 1}
	if net.be.String() == gobackend.BackendName {
		l.parts = goParts
	}
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

// goParts is how many parts there are in pure Go, where most operations use one core. It does not depend on the machine, so
// that the gradients do not.
const goParts = 2

// partRows is how many rows each of the parts of a minibatch has.
func partRows(size, parts int) int { return (size + parts - 1) / parts }

// step takes a gradient step on the inputs of a minibatch's parts, all of one shape, at a learning rate. It returns what is
// reported of each part, and the gradients' joint norm, before it was bounded.
func (l *learner) step(parts [][]*tensors.Tensor, rate float64) (reports [][]float32, norm float64, err error) {
	out, reports := make([][]*tensors.Tensor, len(parts)), make([][]float32, len(parts))
	defer func() { err = errors.Join(err, free(slices.Concat(out...))) }()
	var group errgroup.Group
	if !l.ready {
		group.SetLimit(1) // one compiles for all
	}
	for i, inputs := range parts {
		group.Go(func() (err error) {
			args := make([]any, len(inputs))
			for k, t := range inputs {
				args[k] = t
			}
			if out[i], err = l.exec.Call(args...); err != nil {
				return err
			}
			reports[i], err = tensors.CopyFlatData[float32](out[i][0])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, 0, err
	}
	l.ready = true
	grads := out[0][1:]
	for _, more := range out[1:] {
		if err := l.sum(grads, more[1:]); err != nil {
			return nil, 0, err
		}
	}
	norm, err = l.change(grads, rate)
	return reports, norm, err
}

// sum adds more gradients to gradients.
func (l *learner) sum(grads, more []*tensors.Tensor) error {
	for i, w := range l.weights {
		var inner error
		err := tensors.MutableFlatData(grads[i], func(sum []float32) {
			inner = tensors.ConstFlatData(more[i], func(grad []float32) {
				inParallel(len(sum), func(from, to int) { add(sum[from:to], grad[from:to]) })
			})
		})
		if err = errors.Join(err, inner); err != nil {
			return fmt.Errorf("%s: %w", w.Name(), err)
		}
	}
	return nil
}

// add adds y to x.
func add(x, y []float32) {
	y = y[:len(x)]
	for i := addEights(x, y); i < len(x); i++ {
		x[i] += y[i]
	}
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
