package router

import (
	"errors"
	"fmt"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
)

// layers builds the network's layers in a graph.
type layers struct {
	*Network
	g *Graph
}

func (n *Network) layers(g *Graph) layers { return layers{n, g} }

// weight returns the weight with the given name.
func (l layers) weight(name string) *Node { return l.store.GetVariable(root + name).NodeValue(l.g) }

// product computes x·W with the matrix of the given name.
func (l layers) product(name string, x *Node) *Node { return MatMul(x, l.weight(name)) }

// bias adds the vector of the given name to each row of x [n, k].
func (l layers) bias(x *Node, name string) *Node { return Add(x, InsertAxes(l.weight(name), 0)) }

// linear computes x·W + b with the weights of the given name.
func (l layers) linear(name string, x *Node) *Node { return l.bias(l.product(name, x), name+"_bias") }

func relu(x *Node) *Node { return MaxScalar(x, 0) }

// hidden returns the last layer [modules·B, hidden] that actor and critic share, for the first modules: query [B, dim],
// memory [memories, B, dim] as far as those modules look, lambda [B, 1], and for the last module signals [B, 2·signals], nil if
// there are none. Each question, each memory and each module is projected once, however many modules look at it.
func (l layers) hidden(query, memory, lambda, signals *Node, modules int) *Node {
	s := l.shape
	memories, batch, h := memory.Shape().Dimensions[0], memory.Shape().Dimensions[1], s.Hidden
	question := l.bias(Add(l.product("query", query), l.product("lambda", lambda)), "state_bias")
	found := Reshape(l.product("memory", Reshape(memory, memories*batch, s.Dim)), memories, batch, h)
	state := Add(found, BroadcastToDims(InsertAxes(question, 0), memories, batch, h))
	state = Reshape(l.product("first_state", Reshape(state, memories*batch, h)), memories, batch, h)
	seen := make([]*Node, modules)
	for m, i := range s.MemoryIndex[:modules] {
		seen[m] = Slice(state, AxisElem(i))
	}
	if signals != nil {
		seen[modules-1] = Add(seen[modules-1], InsertAxes(l.product("first_state", l.product("signals", signals)), 0))
	}
	module := l.bias(l.product("first_module", l.linear("describe", l.weight("modules"))), "first_bias")
	first := Add(Concatenate(seen, 0), InsertAxes(Slice(module, AxisRange(0, modules)), 1))
	return relu(l.linear("second", relu(Reshape(first, modules*batch, h))))
}

// forward returns logits [modules, B, tiers], very low where a module has fewer tiers, and values [B] of B questions, in the form of
// Questions: query [B, dim], memory [memories, B, dim], lambda [B, 1], and signals [B, 2·signals] if there are some.
func (l layers) forward(in []*Node) (logits, values *Node) {
	s, query := l.shape, in[0]
	batch := query.Shape().Dimensions[0]
	var signals *Node
	if len(s.Signals) > 0 {
		signals = in[3]
	}
	h := l.hidden(query, in[1], in[2], signals, len(s.Modules))
	logits = l.linear("logits", relu(l.linear("actor", h)))
	logits = Add(Reshape(logits, len(s.Modules), batch, s.MaxTiers()), l.mask())
	return logits, l.critic(Slice(h, AxisRange(0, batch)))
}

// critic returns the values [B] from the first module's hidden layer [B, hidden].
func (l layers) critic(h *Node) *Node {
	return Reshape(l.linear("value", relu(l.linear("critic", h))), h.Shape().Dimensions[0])
}

// masked is a logit whose probability is zero in float32.
const masked = -1e9

// mask [modules, 1, tiers] is 0 for the tiers that a module has and masked for the rest.
func (l layers) mask() *Node {
	width := l.shape.MaxTiers()
	mask := make([]float32, len(l.shape.Modules)*width)
	for m, module := range l.shape.Modules {
		for t := len(module.Tiers); t < width; t++ {
			mask[m*width+t] = masked
		}
	}
	return Const(l.g, tensors.FromFlatDataAndDimensions(mask, len(l.shape.Modules), 1, width))
}

// predict computes on GoMLX the log-probabilities of the tiers [modules, B, tiers] and the values [B] of B questions.
func (n *Network) predict(q Questions) (logProbs, values []float32, err error) {
	out, err := callOnce(n.evaluate, NewInputs(n.shape, q))
	if err != nil {
		return nil, nil, fmt.Errorf("evaluate the router: %w", err)
	}
	return out[0], out[1], nil
}

// values computes the values [B] of B questions from what the first module looks at: query, memory [B, dim], lambda [B].
func (n *Network) values(query, memory, lambda []float32) ([]float32, error) {
	first := n.shape
	first.Signals = nil
	out, err := callOnce(n.value, NewInputs(first, Questions{Query: query, Memory: memory, Lambda: lambda}))
	if err != nil {
		return nil, fmt.Errorf("value questions: %w", err)
	}
	return out[0], nil
}

// call runs a graph and copies its outputs out of the backend.
func call(exec *model.Exec, in Inputs) ([][]float32, error) {
	args := make([]any, len(in))
	for i, t := range in {
		args[i] = t
	}
	out, err := exec.Call(args...)
	if err != nil {
		return nil, err
	}
	flat := make([][]float32, len(out))
	for i, t := range out {
		values, copied := tensors.CopyFlatData[float32](t)
		flat[i] = values
		err = errors.Join(err, copied)
	}
	return flat, errors.Join(err, Inputs(out).Free())
}

// callOnce runs a graph and frees its inputs.
func callOnce(exec *model.Exec, in Inputs) ([][]float32, error) {
	flat, err := call(exec, in)
	return flat, errors.Join(err, in.Free())
}
