package router

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
	"github.com/gomlx/gomlx/ml/train/optimizer"
)

// Learner takes gradient steps: it computes a loss and its gradients, bounds the gradients' joint norm, and changes the
// network's weights by Adam (Kingma & Ba 2015), all in one GoMLX graph. Adam's moments live in the network's store.
type Learner struct {
	net  *Network
	exec *model.Exec
}

// Loss builds a loss, and scalars to report, from the logits [modules, B, tiers] and values [B] of B questions and from the
// inputs of a step that follow the questions; see NewInputs.
type Loss func(logits, values *Node, in []*Node) (loss *Node, report []*Node)

// NewLearner makes a learner for a network, which must stay open. Of the settings it uses adam_epsilon and max_grad_norm. The
// graph is compiled in the first step; an error of the loss appears there.
func NewLearner(net *Network, cfg Config, loss Loss) (*Learner, error) {
	l := &Learner{net: net}
	adam := optimizer.Adam().Epsilon(cfg.AdamEpsilon).Done().(interface {
		UpdateGraphWithGradients(scope *model.Scope, grads []*Node, lossDType dtypes.DType)
	})
	var err error
	l.exec, err = model.NewExec(net.be, net.store, func(scope *model.Scope, in []*Node) []*Node {
		rate, in := in[0], in[1:]
		logits, values := net.layers(rate.Graph()).forward(in)
		loss, report := loss(logits, values, in[net.shape.inputs():])
		grads := scope.BuildTrainableVariablesGradientsGraph(loss)
		norm := norm(grads)
		scale := MinScalar(Div(Scalar(norm.Graph(), norm.DType(), cfg.MaxGradNorm), AddScalar(norm, 1e-6)), 1)
		for i := range grads {
			grads[i] = Mul(grads[i], scale)
		}
		optimizer.LearningRateVar(scope, rate.DType(), cfg.LearningRate).SetNodeValue(rate)
		adam.UpdateGraphWithGradients(scope, grads, rate.DType())
		return []*Node{Stack(append(report, norm), 0)}
	})
	return l, err
}

// norm is the Euclidean norm of all gradients together.
func norm(grads []*Node) *Node {
	squares := make([]*Node, len(grads))
	for i, g := range grads {
		squares[i] = ReduceAllSum(Square(g))
	}
	return Sqrt(ReduceAllSum(Stack(squares, 0)))
}

// Inputs are the tensors that a step is taken on. They can be used for several steps; Free returns their memory.
type Inputs []*tensors.Tensor

// Questions are what a network sees of B questions.
type Questions struct {
	Query   []float32 // [B, dim]
	Memory  []float32 // [memories, B, dim] by the numbers in Shape.MemoryIndex
	Lambda  []float32 // [B] λ
	Signals []float32 // [B, 2·signals], see Shape.SignalInputs; nil without signals
}

// NewQuestions returns room for B questions.
func NewQuestions(s Shape, b int) Questions {
	return Questions{make([]float32, b*s.Dim), make([]float32, s.Memories()*b*s.Dim), make([]float32, b), make([]float32, 2*b*len(s.Signals))}
}

// Set sets question i, in [0, B). Missing memories count as zeros.
func (q Questions) Set(s Shape, i int, query []float32, memories [][]float32, lambda float64, signals map[string]float64) {
	b := len(q.Lambda)
	copy(q.Query[i*s.Dim:], query)
	for at, memory := range memories {
		copy(q.Memory[(at*b+i)*s.Dim:], memory)
	}
	q.Lambda[i] = float32(lambda)
	copy(q.Signals[2*i*len(s.Signals):], s.SignalInputs(signals))
}

// NewInputs lays out questions for a step. The loss gets the tensors that follow.
func NewInputs(s Shape, q Questions, forLoss ...*tensors.Tensor) Inputs {
	n := len(q.Lambda)
	in := Inputs{tensors.FromFlatDataAndDimensions(q.Query, n, s.Dim),
		tensors.FromFlatDataAndDimensions(q.Memory, len(q.Memory)/(n*s.Dim), n, s.Dim), tensors.FromFlatDataAndDimensions(q.Lambda, n, 1)}
	if len(s.Signals) > 0 {
		in = append(in, tensors.FromFlatDataAndDimensions(q.Signals, n, 2*len(s.Signals)))
	}
	return append(in, forLoss...)
}

// inputs is the number of tensors that hold questions.
func (s Shape) inputs() int {
	if len(s.Signals) > 0 {
		return 4
	}
	return 3
}

// Free returns the tensors' memory. They cannot be used afterwards. It joins the errors of the backend.
func (in Inputs) Free() (err error) {
	for _, t := range in {
		err = errors.Join(err, t.FinalizeAll())
	}
	return err
}

// Step takes a gradient step at a learning rate. It returns what the loss reports, and the gradients' joint norm before it
// was bounded. After an error the weights cannot be relied on.
func (l *Learner) Step(in Inputs, rate float64) (report []float32, norm float64, err error) {
	first := Inputs{tensors.FromScalar(float32(rate))}
	defer func() { err = errors.Join(err, first.Free()) }()
	out, err := call(l.exec, slices.Concat(first, in))
	if err != nil {
		return nil, 0, err
	}
	report = out[0]
	last := len(report) - 1
	if norm = float64(report[last]); !(norm < 1e30) { // also if it is no number
		return nil, 0, fmt.Errorf("the gradient's norm is %v; lower the learning rate", norm)
	}
	return report[:last], norm, nil
}

// Close frees the compiled graph.
func (l *Learner) Close() { l.exec.Finalize() }
