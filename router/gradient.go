package router

import (
	. "github.com/gomlx/gomlx/core/graph"
)

// pass builds the network in a graph and notes the products of its weights, from which gradients are taken.
type pass struct {
	*Network
	g        *Graph
	products map[string][]product // by the weights' name
}

// product is y = x·W, with W some rows or columns of a matrix of weights.
type product struct {
	x, y *Node
	axis int // on which the parts of the matrix follow each other
}

func (n *Network) pass(g *Graph) pass { return pass{n, g, map[string][]product{}} }

// weight returns the weights of a name.
func (p pass) weight(name string) *Node { return p.store.GetVariable(root + name).NodeValue(p.g) }

// product computes x·W with the weights of a name.
func (p pass) product(name string, x *Node) *Node { return p.rows(name, x, 0) }

// rows computes x·W with as many rows of the weights of a name as x has columns, from one on. All rows must be used, once
// each, in their order; so must all columns.
func (p pass) rows(name string, x *Node, from int) *Node {
	return p.multiply(name, x, 0, from, from+x.Shape().Dimensions[1])
}

// columns computes x·W with some columns of the weights of a name.
func (p pass) columns(name string, x *Node, from, to int) *Node {
	return p.multiply(name, x, 1, from, to)
}

func (p pass) multiply(name string, x *Node, axis, from, to int) *Node {
	w := p.weight(name)
	if to-from < w.Shape().Dimensions[axis] {
		part := []SliceAxisSpec{AxisRange(), AxisRange()}
		part[axis] = AxisRange(from, to)
		w = Slice(w, part...)
	}
	var y *Node
	if w.Shape().Dimensions[1] < narrow {
		y = Transpose(DotGeneral(w, []int{0}, nil, x, []int{1}, nil), 0, 1)
	} else {
		y = MatMul(x, w)
	}
	p.products[name] = append(p.products[name], product{x, y, axis})
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
	var names []string
	var by []*Node // of each name the weights, or where they are multiplied the products
	for v := range p.store.IterVariables() {
		if !v.Trainable || !v.InUseByGraph(p.g) {
			continue
		}
		names = append(names, v.Name())
		for _, m := range p.products[v.Name()] {
			by = append(by, m.y)
		}
		if p.products[v.Name()] == nil {
			by = append(by, v.NodeValue(p.g))
		}
	}
	found := Gradient(loss, by...)
	grads := make([]*Node, len(names))
	for i, name := range names {
		products := p.products[name]
		if products == nil {
			grads[i], found = found[0], found[1:]
			continue
		}
		parts := make([]*Node, len(products))
		for n, m := range products {
			parts[n] = m.gradient(found[n])
		}
		found = found[len(products):]
		if grads[i] = parts[0]; len(parts) > 1 {
			grads[i] = Concatenate(parts, products[0].axis)
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
