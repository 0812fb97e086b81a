package portable

import (
	"fmt"
	"math"
	"slices"
)

// Decider makes the decisions of one question after the other. It may be used by one goroutine at a time, and allocates
// nothing after NewDecider.
type Decider struct {
	r             *Router
	query, memory []float32 // [hidden] products of query and λ, and of memory, in the first layer
	signals       []float32 // [hidden] product of the signals there; nil if the router looks at none
	inputs        []float32 // [2·signals]
	h, e          []float32 // [hidden], before the relu
	a             []float32 // [actor], before the relu
	logits        []float32 // [tiers]
	all           []int32   // 0 … dim−1, and as many as there are inputs of signals
	some          []int32   // buffer of positive
}

// NewDecider makes a decider.
func (r *Router) NewDecider() *Decider {
	hidden, actor := len(r.w.Lambda), len(r.w.ActorBias)
	all := make([]int32, r.info.Dim)
	for i := range all {
		all[i] = int32(i)
	}
	d := &Decider{r: r, query: make([]float32, hidden), memory: make([]float32, hidden), h: make([]float32, hidden),
		e: make([]float32, hidden), a: make([]float32, actor), logits: make([]float32, len(r.w.LogitsBias)),
		all: all, some: make([]int32, max(hidden, actor))}
	if n := len(r.info.Signals); n > 0 {
		d.signals, d.inputs = make([]float32, hidden), make([]float32, 2*n)
		for i := r.info.Dim; i < 2*n; i++ {
			d.all = append(d.all, int32(i))
		}
	}
	return d
}

// Question starts a question with its embedding [dim] and λ. The memory is empty until Memory is called. An embedding of
// another width, and a λ outside the range that the router was trained for, are errors.
func (d *Decider) Question(query []float32, lambda float64) error {
	info := &d.r.info
	if len(query) != info.Dim {
		return fmt.Errorf("the query's embedding has %d numbers, the router was trained on %d of %s", len(query), info.Dim, info.Embedder)
	}
	if !(lambda >= info.Lambda.Min && lambda <= info.Lambda.Max) {
		return fmt.Errorf("λ is %v, the router was trained for %v to %v", lambda, info.Lambda.Min, info.Lambda.Max)
	}
	for i, l := range d.r.w.Lambda {
		d.query[i] = float32(lambda) * l
	}
	add(d.query, query, d.r.w.Query, d.all[:info.Dim])
	clear(d.memory)
	clear(d.signals)
	return nil
}

// Signals sets what the last module is decided on beside the embeddings: a value for each of Info.Signals, NaN for one that is
// unknown. Without it, all are unknown. Another number of values, and infinite ones, are errors, and leave all unknown.
func (d *Decider) Signals(values []float32) error {
	clear(d.signals)
	signals := d.r.info.Signals
	if len(values) != len(signals) {
		return fmt.Errorf("there are %d signals, the router was trained on %d", len(values), len(signals))
	}
	for i, v := range values {
		if math.IsInf(float64(v), 0) {
			return fmt.Errorf("signal %s is %v", signals[i].Name, v)
		}
	}
	SignalInputs(signals, values, d.inputs)
	add(d.signals, d.inputs, d.r.w.Signals, d.all[:len(d.inputs)])
	return nil
}

// Memory sets the memory embedding [dim] for the following decisions. An empty one means that nothing was found and counts
// as zeros. An embedding of another width is an error, and leaves the memory empty.
func (d *Decider) Memory(memory []float32) error {
	clear(d.memory)
	if len(memory) != 0 && len(memory) != d.r.info.Dim {
		return fmt.Errorf("the memory's embedding has %d numbers, the router was trained on %d of %s", len(memory), d.r.info.Dim, d.r.info.Embedder)
	}
	add(d.memory, memory, d.r.w.Memory, d.all[:len(memory)])
	return nil
}

// forward returns the logits of a module's tiers in a buffer that the next decision overwrites.
func (d *Decider) forward(module int) []float32 {
	w, hidden := &d.r.w, len(d.h)
	tiers := len(d.r.info.Modules[module].Tiers)
	bias := w.Module[module*hidden : (module+1)*hidden]
	for i := range d.h {
		d.h[i] = d.query[i] + d.memory[i] + bias[i]
	}
	if module == len(d.r.info.Modules)-1 {
		for i, v := range d.signals {
			d.h[i] += v
		}
	}
	d.layer(d.e, w.EncoderBias, d.h, w.Encoder)
	d.layer(d.a, w.ActorBias, d.e, w.Actor)
	d.layer(d.logits, w.LogitsBias, d.a, w.Logits)
	return d.logits[:tiers]
}

// layer computes y = bias + relu(x)·W. It skips the rows of relu's zeros, which are many.
func (d *Decider) layer(y, bias, x, w []float32) {
	copy(y, bias)
	add(y, x, w, positive(x, d.some))
}

// Decide returns the most probable tier of a module, an index into its tiers. It panics if the router has no such module.
func (d *Decider) Decide(module int) int {
	logits := d.forward(module)
	best := 0
	for i, l := range logits {
		if l > logits[best] {
			best = i
		}
	}
	return best
}

// LogProbs returns the log-probabilities of a module's tiers. The slice is valid until the next call of the Decider. It panics
// if the router has no such module.
func (d *Decider) LogProbs(module int) []float32 {
	logits := d.forward(module)
	top := slices.Max(logits)
	sum := 0.0
	for _, l := range logits {
		sum += math.Exp(float64(l - top))
	}
	norm := top + float32(math.Log(sum))
	for i := range logits {
		logits[i] -= norm
	}
	return logits
}
