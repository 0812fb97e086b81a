package router

import (
	. "github.com/gomlx/gomlx/core/graph"
)

// pass builds the network in a graph and notes the products with its weights, from which gradients are taken.
type pass struct {
	*Network
	g        *Graph
	products map[string]product // by the weights' name
}

// product is y = x·W.
type product struct{ x, y *Node }

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
	p.products[name] = product{x, y}
	return y
}

// narrow is how many columns make a product quick in pure Go, which fills registers with parts of a row: one with fewer is
// computed as its transpose.
const narrow = 8

// bias adds the weights of a name to each row.
func (p pass) bias(x *Node, name string) *Node {
	return Add(x, ExpandLeftToRank(p.weight(name), x.Rank()))
}

// linear computes x·W + b with the weights of a name.
func (p pass) linear(name string, x *Node) *Node { return p.bias(p.product(name, x), name+"_bias") }

// relu has a cheaper gradient than a maximum, which would be taken of the zeros too.
func relu(x *Node) *Node {
	zero := ScalarZero(x.Graph(), x.DType())
	return Where(GreaterThan(x, zero), x, zero)
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
			grads[i] = m.gradient(grads[i])
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
