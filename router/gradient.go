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
	turned map[string]*Node // transposes of them [in, n] that are known
	grads  map[string]*Node // by the weights' names
}

func (n *Network) pass(g *Graph) pass {
	return pass{n, g, map[string]*Node{}, map[string]*Node{}, map[string]*Node{}}
}

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

// backProduct notes the gradient xᵀ·∂y by the matrix of a name and returns the matrix.
func (p pass) backProduct(name string, dy *Node) (w *Node) {
	x := p.inputs[name]
	if dy.Shape().Dimensions[1] < narrow {
		p.grads[name] = Transpose(MatMul(Transpose(dy, 0, 1), x), 0, 1)
		return p.weight(name)
	}
	turned, ok := p.turned[name]
	if !ok {
		turned = Transpose(x, 0, 1)
	}
	p.grads[name] = MatMul(turned, dy)
	return p.weight(name)
}

// backBias notes the gradient by the bias of a name. It is a product of ones with ∂y, which in pure Go is quicker than a sum
// over the rows.
func (p pass) backBias(name string, dy *Node) {
	ones := Ones(p.g, shapes.Make(dy.DType(), 1, dy.Shape().Dimensions[0]))
	p.grads[name] = Reshape(MatMul(ones, dy), dy.Shape().Dimensions[1])
}

// back notes the gradients by the weights of linear and returns that by its x.
func (p pass) back(name string, dy *Node) *Node {
	p.backBias(name+"_bias", dy)
	return backInput(dy, p.backProduct(name, dy))
}

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

// gradients returns the gradients of a loss by all weights, in the order of the store: logits [modules, B, tiers] and values
// [B] are what forward returned.
func (p pass) gradients(loss, logits, values *Node) []*Node {
	d := Gradient(loss, logits, values)
	modules, batch, tiers := logits.Shape().Dimensions[0], logits.Shape().Dimensions[1], logits.Shape().Dimensions[2]
	p.backHeads(Reshape(d[0], modules*batch, tiers), Reshape(d[1], batch, 1))
	var grads []*Node
	for v := range p.store.IterVariables() {
		grads = append(grads, p.grads[v.Name()])
	}
	return grads
}

// backHeads goes back from the gradients by the logits [modules·B, tiers] and the values [B, 1].
func (p pass) backHeads(logits, values *Node) {
	last := p.inputs["actor"]
	byActor := p.back("actor", backRelu(p.inputs["logits"], p.back("logits", logits)))
	byCritic := p.back("critic", backRelu(p.inputs["value"], p.back("value", values)))
	rest := last.Shape().Dimensions[0] - values.Shape().Dimensions[0] // rows that the critic does not see
	if rest > 0 {
		byCritic = Concatenate([]*Node{byCritic, Zeros(p.g, shapes.Make(byCritic.DType(), rest, p.shape.Hidden))}, 0)
	}
	p.backHidden(backRelu(last, Add(byActor, byCritic)), values.Shape().Dimensions[0])
}

// backHidden goes back from the gradient [modules·B, hidden] by what hidden returned, before relu.
func (p pass) backHidden(d *Node, batch int) {
	modules, states, h := len(p.shape.Modules), p.shape.states(), p.shape.Hidden
	d = Reshape(backRelu(p.inputs["second"], p.back("second", d)), modules, batch, h)
	module := ReduceSum(d, 1)
	p.backBias("first_bias", module)
	p.grads["modules"] = p.back("describe", backInput(module, p.backProduct("first_module", module)))
	seen := make([]*Node, states) // by what modules saw of each state, summed up
	for m, i := range p.shape.States {
		if by := Slice(d, AxisElem(m)); seen[i] == nil {
			seen[i] = by
		} else {
			seen[i] = Add(seen[i], by)
		}
	}
	state := Reshape(Concatenate(seen, 0), states*batch, h)
	state = backInput(state, p.backProduct("first_state", state))
	p.backProduct("memory", state)
	asked := ReduceSum(Reshape(state, states, batch, h), 0)
	p.backProduct("query", asked)
	p.backProduct("lambda", asked)
	p.backBias("state_bias", asked)
}

// logSoftmax returns the logarithms of the chances that logits [..., k] stand for, and the chances, by one exponential.
func logSoftmax(logits *Node) (logChances, chances *Node) {
	shifted := Sub(logits, StopGradient(ReduceAndKeep(logits, ReduceMax, -1)))
	exp := Exp(shifted)
	sum := ReduceAndKeep(exp, ReduceSum, -1)
	return Sub(shifted, Log(sum)), Div(exp, sum)
}
