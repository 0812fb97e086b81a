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

// newLearner makes a learner; loss builds the loss in a graph from a step's inputs, and numbers to report.
func newLearner(net *Network, cfg Config, loss func(p pass, in []*Node) (loss *Node, report []*Node)) (*learner, error) {
	l := &learner{limit: cfg.MaxGradNorm, epsilon: cfg.AdamEpsilon}
	for v := range net.store.IterVariables() {
		n := v.Shape().Size()
		l.weights = append(l.weights, weight{v, make([]float32, n), make([]float32, n)})
	}
	var err error
	l.exec, err = model.NewExec(net.be, net.store, func(_ *model.Scope, in []*Node) []*Node {
		p := net.pass(in[0].Graph())
		loss, report := loss(p, in)
		grads := p.gradients(loss)
		return append([]*Node{Stack(append(report, jointNorm(grads)), 0)}, grads...)
	})
	return l, err
}

// jointNorm is the norm of gradients taken together.
func jointNorm(grads []*Node) *Node {
	squares := make([]*Node, len(grads))
	for i, g := range grads {
		flat := Reshape(g, 1, g.Shape().Size())
		squares[i] = Reshape(DotGeneral(flat, []int{1}, nil, flat, []int{1}, nil)) // quicker than a sum of squares in pure Go
	}
	return Sqrt(ReduceAllSum(Stack(squares, 0)))
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
		if norm := float64(report[len(report)-1]); norm < 1e30 {
			err = l.adam(out[1:], norm, rate)
		} else { // also if it is no number
			err = fmt.Errorf("the gradient's norm is %v; lower the learning rate", norm)
		}
	}
	if freed := free(out); err == nil {
		err = freed
	}
	return report, err
}

// Adam's decay of the running means.
const beta1, beta2 = 0.9, 0.999

// adam changes every weight w by its gradient g (Kingma & Ba 2015), scaled by c so that the joint norm is at most the limit:
//
//	m ← β₁m + (1−β₁)·c·g    v ← β₂v + (1−β₂)·(c·g)²    w ← w − rate · m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + ε)
//
// It is not part of the graph, as there each of a dozen operations would go through all weights, and moments would be handed
// to the backend and back in every step. On a CPU the weights and gradients are used where the backend has them.
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

// inParallel runs f on parts of 0 … n−1, side by side where they are long. Parts end at multiples of 8, so that whatever f does
// with eight numbers at a time does not depend on how many parts there are.
func inParallel(n int, f func(from, to int)) {
	parts := max(1, min(runtime.GOMAXPROCS(0), n>>14))
	end := func(part int) int {
		if part == parts {
			return n
		}
		return n * part / parts &^ 7
	}
	var wg sync.WaitGroup
	for part := range parts {
		wg.Go(func() { f(end(part), end(part+1)) })
	}
	wg.Wait()
}

func (l *learner) close() { l.exec.Finalize() }
