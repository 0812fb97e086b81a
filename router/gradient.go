package router

import (
	"math"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// pass builds the network in a graph and notes the products with its weights, from which gradients are taken.
type pass struct {
	*Network
	g        *Graph
	products map[string]product // by the weights' name
}

// product is y = x·W, or x·W with more added.
type product struct{ x, w, y *Node }

func (n *Network) pass(g *Graph) pass { return pass{n, g, map[string]product{}} }

// weight returns the weights of a name.
func (p pass) weight(name string) *Node { return p.store.GetVariable(root + name).NodeValue(p.g) }

// product computes x·W with the matrix of a name, which no other product of the pass uses.
func (p pass) product(name string, x *Node) *Node {
	w := p.weight(name)
	y := MatMul(x, w)
	if w.Shape().Dimensions[1] < narrow {
		y = Transpose(DotGeneral(w, []int{0}, nil, x, []int{1}, nil), 0, 1)
	}
	p.products[name] = product{x, w, y}
	return y
}

// narrow is how many columns make a product quick in pure Go, which fills registers with parts of a row: one with fewer is
// computed as its transpose.
const narrow = 8

// bias adds the weights of a name to each row of x [n, k]. It is a product of a column of ones with them, which is how its
// gradient is computed: that is quicker in pure Go than a sum over the rows.
func (p pass) bias(x *Node, name string) *Node {
	y := Add(x, ExpandLeftToRank(p.weight(name), x.Rank()))
	p.products[name] = product{Ones(x.Graph(), shapes.Make(x.DType(), x.Shape().Dimensions[0], 1)), p.weight(name), y}
	return y
}

// linear computes x·W + b with the weights of a name.
func (p pass) linear(name string, x *Node) *Node { return p.bias(p.product(name, x), name+"_bias") }

// relu multiplies x by 1 where it is positive and by 0 elsewhere, and so its gradient. In pure Go a choice by the sign, which
// is as good as random, takes several times as long.
func relu(x *Node) *Node {
	positive := MinScalar(MulScalar(MaxScalar(x, 0), math.MaxFloat32), 1)
	return Mul(x, StopGradient(positive))
}

// gradients returns the gradients of a loss by all weights, in the order of the store. By the matrices they are xᵀ·∂y, from
// the products; GoMLX's own rule would transpose x, ∂y and what comes out, which in pure Go takes longer than the product.
func (p pass) gradients(loss *Node) []*Node {
	var products []*product // nil for weights that are not multiplied
	var by []*Node
	for v := range p.store.IterVariables() {
		if m, ok := p.products[v.Name()]; ok {
			products, by = append(products, &m), append(by, m.y)
		} else {
			products, by = append(products, nil), append(by, v.NodeValue(p.g))
		}
	}
	grads := Gradient(loss, by...)
	for i, m := range products {
		if m != nil {
			grads[i] = Reshape(m.gradient(grads[i]), m.w.Shape().Dimensions...)
		}
	}
	return grads
}

// gradient returns the gradient by W from that by y.
func (m product) gradient(dy *Node) *Node {
	if dy.Shape().Dimensions[1] < narrow {
		return Transpose(MatMul(Transpose(dy, 0, 1), m.x), 0, 1)
	}
	return MatMul(Transpose(m.x, 0, 1), dy)
}
