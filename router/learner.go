package router

import (
	"errors"
	"slices"

	"github.com/gomlx/compute/gobackend"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
	"golang.org/x/sync/errgroup"
)

// Learner takes gradient steps: it computes a loss and its gradients on GoMLX and changes the weights by Adam.
type Learner struct {
	adam
	exec  *model.Exec
	Parts int  // of a minibatch, whose gradients are computed side by side and summed up
	ready bool // the graph is compiled
}

// Loss builds a loss, and scalars to report, from the logits [modules, B, tiers] and values [B] of B questions and from the
// inputs of a step that follow those of Inputs.
type Loss func(logits, values *Node, in []*Node) (loss *Node, report []*Node)

// NewLearner makes a Learner for a network; of the settings it uses adam_epsilon and max_grad_norm.
func NewLearner(net *Network, cfg Config, loss Loss) (*Learner, error) {
	l := &Learner{Parts: 1}
	if net.be.String() == gobackend.BackendName {
		l.Parts = goParts
	}
	l.adam = newAdam(net, cfg, l.Parts)
	var err error
	l.exec, err = model.NewExec(net.be, net.store, func(_ *model.Scope, in []*Node) []*Node {
		p := net.pass(in[0].Graph())
		logits, values := p.forward(in[0], in[1], in[2])
		loss, report := loss(logits, values, in[5:])
		return append([]*Node{Stack(report, 0)}, p.gradients(loss, logits, values, in[3], in[4])...)
	})
	return l, err
}

// goParts is how many parts there are in pure Go, where most operations use one core; XLA spreads each over all of them. It
// does not depend on the machine, so that the gradients do not.
const goParts = 2

// SplitRows splits rows, filled up to a size with the first of them, into so many equal parts.
func SplitRows(rows []int, size, parts int) [][]int {
	each := (size + parts - 1) / parts
	filled := slices.Concat(rows, slices.Repeat(rows[:1], each*parts-len(rows)))
	return slices.Collect(slices.Chunk(filled, each))
}

// Inputs returns the first inputs of a step, of B questions: query [B, dim], memory [states, B, dim], λ [B, 1], and what
// gradients multiply: [query λ 1] transposed, [dim+2, B], and memory, [dim, states·B]. PPO takes several steps on the same ones, so
// that they are transposed here once.
func Inputs(s Shape, query, memory, lambda []float32) []*tensors.Tensor {
	n := len(lambda)
	ones := slices.Repeat([]float32{1}, n)
	return []*tensors.Tensor{
		tensors.FromFlatDataAndDimensions(query, n, s.Dim), tensors.FromFlatDataAndDimensions(memory, s.Memories(), n, s.Dim),
		tensors.FromFlatDataAndDimensions(lambda, n, 1),
		tensors.FromFlatDataAndDimensions(slices.Concat(transposed(query, s.Dim), lambda, ones), s.Dim+2, n),
		tensors.FromFlatDataAndDimensions(transposed(memory, s.Dim), s.Dim, s.Memories()*n),
	}
}

// transposed returns the transpose of a matrix with so many columns.
func transposed(x []float32, columns int) []float32 {
	rows := len(x) / columns
	out := make([]float32, len(x))
	for r := range rows {
		for c, v := range x[r*columns : (r+1)*columns] {
			out[c*rows+r] = v
		}
	}
	return out
}

// Step takes a gradient step on the inputs of a minibatch's parts, all of one shape, at a learning rate. It returns what is
// reported of each part, and the gradients' joint norm, before it was bounded.
func (l *Learner) Step(parts [][]*tensors.Tensor, rate float64) (reports [][]float32, norm float64, err error) {
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
	grads := make([][]*tensors.Tensor, len(out))
	for i := range out {
		grads[i] = out[i][1:]
	}
	norm, err = l.change(grads, rate)
	return reports, norm, err
}

// Close frees the compiled graph.
func (l *Learner) Close() { l.exec.Finalize() }
