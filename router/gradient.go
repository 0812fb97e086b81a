package router

import (
	"math"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// pass builds the network in a graph, forward and then backward.
//
// The backward pass is written out, and GoMLX's gradients are asked for the loss alone: its rule for a product transposes what
// it multiplies and what comes out, which in pure Go takes longer than the product.
type pass struct {
	*Network
	g      *Graph
	inputs map[string]*Node // what a layer's matrix multiplies [n, in], by its name
	grads  map[string]*Node // by the first name of a group
}

func (n *Network) pass(g *Graph) pass { return pass{n, g, map[string]*Node{}, map[string]*Node{}} }

// weight returns the weights of a name.
func (p pass) weight(name string) *Node { return p.store.GetVariable(root + name).NodeValue(p.g) }

// product computes x·W [n, out] with the matrix of a name, which is used once a pass.
func (p pass) product(name string, x *Node) *Node {
	p.inputs[name] = x
	w := p.weight(name)
	if w.Shape().Dimensions[1] < narrow {
		return Transpose(DotGeneral(w, []int{0}, nil, x, []int{1}, nil), 0, 1)
	}
	return MatMul(x, w)
}

// narrow is how many columns make a product quick in pure Go, which fills registers with parts of a row: one with fewer is
// computed as its transpose.
const narrow = 8

// bias adds the weights of a name to each row of x [n, k].
func (p pass) bias(x *Node, name string) *Node { return Add(x, InsertAxes(p.weight(name), 0)) }

// linear computes x·W + b with the weights of a name.
func (p pass) linear(name string, x *Node) *Node { return p.bias(p.product(name, x), name+"_bias") }

func relu(x *Node) *Node { return MaxScalar(x, 0) }

// backRelu returns the gradient by x from that by y = relu(x). It multiplies by 1 where y is positive and by 0 elsewhere: in
// pure Go a choice by the sign, which is as good as random, takes several times as long.
func backRelu(y, dy *Node) *Node { return Mul(dy, MinScalar(MulScalar(y, math.MaxFloat32), 1)) }

// grouped lists the weights whose gradients are one product and lie one after the other: those of x·W + b are [x 1]ᵀ·∂y. The
// bias comes for nothing then, and XLA's product of a transpose is slower on a CPU than that of a matrix which is one already.
var grouped = [][]string{
	{"query", "lambda", "state_bias"}, {"memory"}, {"first_state"}, {"modules"}, {"describe", "describe_bias"},
	{"first_module", "first_bias"}, {"second", "second_bias"}, {"actor", "actor_bias"}, {"critic", "critic_bias"},
	{"logits", "logits_bias"}, {"value", "value_bias"},
}

// backProduct notes the gradient xᵀ·∂y by the matrix of a name and returns the matrix.
func (p pass) backProduct(name string, dy *Node) (w *Node) {
	return p.backWeights(name, dy, Transpose(p.inputs[name], 0, 1))
}

// backLinear notes the gradients by the matrix and the bias of a name and returns the matrix.
func (p pass) backLinear(name string, dy *Node) (w *Node) {
	x := Transpose(p.inputs[name], 0, 1)
	ones := Ones(p.g, shapes.Make(x.DType(), 1, x.Shape().Dimensions[1]))
	return p.backWeights(name, dy, Concatenate([]*Node{x, ones}, 0))
}

// backWeights notes the gradients by a matrix and what is grouped with it as x·∂y, with x [in, n].
func (p pass) backWeights(name string, dy, x *Node) (w *Node) {
	if dy.Shape().Dimensions[1] < narrow {
		p.grads[name] = Transpose(DotGeneral(Transpose(dy, 0, 1), []int{1}, nil, x, []int{1}, nil), 0, 1)
	} else {
		p.grads[name] = MatMul(x, dy)
	}
	return p.weight(name)
}

// back notes the gradients by the weights of linear and returns that by its x.
func (p pass) back(name string, dy *Node) *Node { return backInput(dy, p.backLinear(name, dy)) }

// backInput computes ∂y·Wᵀ, the gradient by x of y = x·W.
func backInput(dy, w *Node) *Node {
	in, rows := w.Shape().Dimensions[0], dy.Shape().Dimensions[0]
	switch {
	case dy.Shape().Size()*in >= large || rows < narrow:
		return DotGeneral(dy, []int{1}, nil, w, []int{1}, nil)
	case w.Shape().Size() <= dy.Shape().Size()+rows*in:
		return MatMul(dy, Transpose(w, 0, 1))
	default:
		return Transpose(MatMul(w, Transpose(dy, 0, 1)), 0, 1)
	}
}

// large is how many multiplications a product takes that GoMLX does in blocks in pure Go. A smaller one is many times quicker
// there with a matrix that was transposed before than with one to transpose (on processors without AVX-512 a number of the
// latter costs a change of the processor's state, some 0.1 µs), so that what is smaller is transposed.
const large = 1 << 22

// gradients returns the gradients of a loss by all weights, as they are grouped: logits [modules, B, tiers] and values [B] are
// what forward returned. query is [q λ 1] transposed, [dim+2, B], memory [dim, states·B].
func (p pass) gradients(loss, logits, values, query, memory *Node) []*Node {
	d := Gradient(loss, logits, values)
	modules, batch, tiers := logits.Shape().Dimensions[0], logits.Shape().Dimensions[1], logits.Shape().Dimensions[2]
	hidden := p.backHeads(Reshape(d[0], modules*batch, tiers), Reshape(d[1], batch, 1))
	state := p.backHidden(hidden, batch)
	p.backWeights("memory", state, memory)
	p.backWeights("query", ReduceSum(Reshape(state, p.shape.Memories(), batch, p.shape.Hidden), 0), query)
	grads := make([]*Node, len(grouped))
	for i, names := range grouped {
		grads[i] = p.grads[names[0]]
	}
	return grads
}

// backHeads goes back from the gradients by the logits [modules·B, tiers] and the values [B, 1] to that by what hidden returned
// [modules·B, hidden], before relu.
func (p pass) backHeads(logits, values *Node) *Node {
	last := p.inputs["actor"]
	byActor := p.back("actor", backRelu(p.inputs["logits"], p.back("logits", logits)))
	byCritic := p.back("critic", backRelu(p.inputs["value"], p.back("value", values)))
	rest := last.Shape().Dimensions[0] - values.Shape().Dimensions[0] // rows that the critic does not see
	if rest > 0 {
		byCritic = Concatenate([]*Node{byCritic, Zeros(p.g, shapes.Make(byCritic.DType(), rest, p.shape.Hidden))}, 0)
	}
	return backRelu(last, Add(byActor, byCritic))
}

// backHidden goes back from there to the gradient by the states [states·B, hidden].
func (p pass) backHidden(d *Node, batch int) *Node {
	modules, states, h := len(p.shape.Modules), p.shape.Memories(), p.shape.Hidden
	d = Reshape(backRelu(p.inputs["second"], p.back("second", d)), modules, batch, h)
	module := ReduceSum(d, 1)
	p.grads["modules"] = p.back("describe", p.back("first_module", module))
	seen := make([]*Node, states) // by what modules saw of each state, summed up
	for m, i := range p.shape.States {
		if by := Slice(d, AxisElem(m)); seen[i] == nil {
			seen[i] = by
		} else {
			seen[i] = Add(seen[i], by)
		}
	}
	state := Reshape(Concatenate(seen, 0), states*batch, h)
	return backInput(state, p.backProduct("first_state", state))
}

// logSoftmax returns the logarithms of the chances that logits [..., k] stand for, and the chances, by one exponential.
func logSoftmax(logits *Node) (logChances, chances *Node) {
	shifted := Sub(logits, StopGradient(ReduceAndKeep(logits, ReduceMax, -1)))
	exp := Exp(shifted)
	sum := ReduceAndKeep(exp, ReduceSum, -1)
	return Sub(shifted, Log(sum)), Div(exp, sum)
}
