// Package portable uses a trained router with the standard library alone. A router is one file, which is read once;
// decisions allocate nothing. Programs that only route need neither GoMLX nor XLA.
//
//	r, err := portable.ReadFile("router.safetensors")
//	d := r.NewDecider()
//	err = d.Question(query, 0.3)   // the question's embedding and λ
//	err = d.Memory(retrievedMean)  // the memory embedding that the first module looks at
//	tier := d.Decide(0)            // index into r.Info().Modules[0].Tiers
//	err = d.Memory(keptMean)       // the modules after it look at another one
//	tier = d.Decide(1)
//	err = d.Signals(signals)       // if the router looks at some, before the last module
//
// Built with GOEXPERIMENT=simd on amd64, it computes with AVX-512 or AVX2 where the processor has them.
//
// # Network
//
// With query q and memory m, both [d], and λ, the decision of module i is
//
//	h = relu(q·Q + m·M + λ·l + bᵢ)    Q, M [d, hidden], l, bᵢ [hidden]
//	e = relu(h·E + f)                 E [hidden, hidden], f [hidden]
//	a = relu(e·A + c)                 A [hidden, actor], c [actor]
//	logits = a·L + z                  L [actor, tiers], z [tiers]
//
// of which a module uses the first logits, one for each of its tiers. The trained network has more linear layers before the
// first relu; the export multiplies them out into Q, M, l and bᵢ.
//
// The last module may also look at signals: numbers such as how likely the found turns are the evidence, each of which may be
// unknown. Then s·S is added in its first layer, S [2·signals, hidden], where s holds each signal, divided by its scale, or 0 if it is
// unknown, and after these for each a 1 if it is known and else a 0.
package portable

import (
	"fmt"
	"math"
	"slices"

	"github.com/budgetmem/budgetmem/router/cascade"
)

// Module is one decision: its name and the names of its tiers, cheapest first.
type Module struct {
	Name  string   `json:"name"`
	Tiers []string `json:"tiers"`
}

// Signal is a number that the last module is decided on beside the embeddings.
type Signal struct {
	Name string `json:"name"`
	// Scale is what values are divided by, so that they are of the order of 1.
	Scale float64 `json:"scale"`
}

// signalBound bounds the signals that a network sees, in units of their scale.
const signalBound = 10

// SignalInputs lays out signals [n] as a network sees them, [2n]: the values divided by their scales, and whether they are known.
// NaN stands for an unknown one.
func SignalInputs(signals []Signal, values, inputs []float32) {
	for i, v := range values {
		inputs[i], inputs[len(signals)+i] = 0, 0
		if v == v {
			inputs[i] = max(-signalBound, min(signalBound, v/float32(signals[i].Scale)))
			inputs[len(signals)+i] = 1
		}
	}
}

// CheckSignals returns an error for a signal without a name or with a scale that is not positive.
func CheckSignals(signals []Signal) error {
	for i, s := range signals {
		if s.Name == "" || !(s.Scale > 0) || math.IsInf(s.Scale, 0) {
			return fmt.Errorf("signal %d (%q) has the scale %v; a signal needs a name and a positive scale", i, s.Name, s.Scale)
		}
	}
	return nil
}

// Range is a closed interval of λ.
type Range struct {
	Min float64 `json:"min"`
	Max float64 `json:"max"`
}

// Point is the mean result of a router on validation questions at one λ.
type Point struct {
	Lambda  float64 `json:"lambda"`
	Dollars float64 `json:"dollars"` // mean price of a question
	Score   float64 `json:"score"`   // mean score of a question, in [0, 1]
}

// Info describes a router.
type Info struct {
	// Dim is the width of the embeddings, and Embedder the id of the model that makes them, which names the hash of its
	// weights. Embeddings of another model with the same width give meaningless decisions.
	Dim      int    `json:"dim"`
	Embedder string `json:"embedder"`
	// Modules lists the decisions in the order in which they are made.
	Modules []Module `json:"modules"`
	// Signals lists what the last module is decided on beside the embeddings; it may be empty.
	Signals []Signal `json:"signals,omitempty"`
	// Lambda is the range of λ, the weight of cost against score, that the router was trained for.
	Lambda Range `json:"lambda"`
	// Calibration holds points in ascending order of λ; it may be empty.
	Calibration []Point `json:"calibration,omitempty"`
	// Answers, if not nil, decides whether a better model should answer too, once there is an answer: the router's last decision.
	Answers *cascade.Calibration `json:"answers,omitempty"`
	// Note says how the router was trained, for human readers.
	Note string `json:"note,omitempty"`
}

// tiers is the largest number of tiers that a module has.
func (i Info) tiers() int {
	most := 0
	for _, m := range i.Modules {
		most = max(most, len(m.Tiers))
	}
	return most
}

func (i Info) check() error {
	switch {
	case i.Dim < 1:
		return fmt.Errorf("dim is %d, must be at least 1", i.Dim)
	case len(i.Modules) == 0:
		return fmt.Errorf("there are no modules")
	case !(i.Lambda.Min >= 0 && i.Lambda.Max >= i.Lambda.Min && i.Lambda.Max <= math.MaxFloat32):
		return fmt.Errorf("lambda ranges from %v to %v, must rise from 0 or more", i.Lambda.Min, i.Lambda.Max)
	}
	for n, m := range i.Modules {
		if m.Name == "" || len(m.Tiers) < 2 {
			return fmt.Errorf("module %d (%q) has %d tiers; a module needs a name and at least 2 tiers", n, m.Name, len(m.Tiers))
		}
	}
	if err := CheckSignals(i.Signals); err != nil {
		return err
	}
	if i.Answers != nil {
		if err := i.Answers.Check(); err != nil {
			return fmt.Errorf("answers: %w", err)
		}
	}
	for n, p := range i.Calibration {
		if !finite(p.Lambda) || !finite(p.Dollars) || !finite(p.Score) || p.Dollars < 0 || n > 0 && p.Lambda <= i.Calibration[n-1].Lambda {
			return fmt.Errorf("calibration point %d is λ %v, %v dollars, score %v: λ must rise and all be finite", n, p.Lambda, p.Dollars, p.Score)
		}
	}
	return nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// LambdaFor returns the smallest λ at which a question costs at most the given dollars on average, by linear interpolation
// of the calibration. It returns false if there is no calibration or if every point of it costs more.
func (i Info) LambdaFor(dollars float64) (float64, bool) {
	for n, p := range i.Calibration {
		if p.Dollars > dollars {
			continue
		}
		if n == 0 {
			return p.Lambda, true
		}
		before := i.Calibration[n-1] // costs more, or it would have been returned
		share := (before.Dollars - dollars) / (before.Dollars - p.Dollars)
		return before.Lambda + share*(p.Lambda-before.Lambda), true
	}
	return 0, false
}

// Weights are the tensors of a network in row-major order; the package documentation has the formulas.
type Weights struct {
	Query       []float32 // Q [dim, hidden]
	Memory      []float32 // M [dim, hidden]
	Lambda      []float32 // l [hidden]
	Module      []float32 // b [modules, hidden]
	Encoder     []float32 // E [hidden, hidden]
	EncoderBias []float32 // f [hidden]
	Actor       []float32 // A [hidden, actor]
	ActorBias   []float32 // c [actor]
	Logits      []float32 // L [actor, tiers]; tiers is the largest number that a module has
	LogitsBias  []float32 // z [tiers]
	Signals     []float32 // S [2·signals, hidden]; nil without signals
}

// Router is a trained router. It is immutable; any number of goroutines may use it, each with its own Decider.
type Router struct {
	info Info
	w    Weights
}

// New makes a router from weights, which it keeps without copying. An Info that is incomplete, and weights that do not fit
// together or are not finite, are errors that name the field or tensor.
func New(info Info, w Weights) (*Router, error) {
	if err := info.check(); err != nil {
		return nil, err
	}
	hidden, actor, tiers := len(w.Lambda), len(w.ActorBias), info.tiers()
	for _, t := range w.tensors(info, hidden, actor, tiers) {
		size := 1
		for _, d := range t.shape {
			size *= d
		}
		if size == 0 || len(*t.values) != size {
			return nil, fmt.Errorf("%s has %d numbers, shape %v needs %d and at least 1", t.name, len(*t.values), t.shape, size)
		}
		if i := slices.IndexFunc(*t.values, func(x float32) bool { return !finite(float64(x)) }); i >= 0 {
			return nil, fmt.Errorf("%s holds %v at position %d", t.name, (*t.values)[i], i)
		}
	}
	return &Router{info, w}, nil
}

// named is a tensor with its name in a file.
type named struct {
	name   string
	values *[]float32
	shape  []int
}

// tensors lists the weights with their names in a file and their shapes.
func (w *Weights) tensors(info Info, hidden, actor, tiers int) []named {
	all := []named{
		{"query", &w.Query, []int{info.Dim, hidden}},
		{"memory", &w.Memory, []int{info.Dim, hidden}},
		{"lambda", &w.Lambda, []int{hidden}},
		{"module", &w.Module, []int{len(info.Modules), hidden}},
		{"encoder.weight", &w.Encoder, []int{hidden, hidden}},
		{"encoder.bias", &w.EncoderBias, []int{hidden}},
		{"actor.weight", &w.Actor, []int{hidden, actor}},
		{"actor.bias", &w.ActorBias, []int{actor}},
		{"logits.weight", &w.Logits, []int{actor, tiers}},
		{"logits.bias", &w.LogitsBias, []int{tiers}},
	}
	if n := len(info.Signals); n > 0 {
		all = append(all, named{"signals", &w.Signals, []int{2 * n, hidden}})
	}
	return all
}

// Info describes the router; its slices must not be changed.
func (r *Router) Info() Info { return r.info }

// WithInfo returns a router with the same weights and another calibration and note. A calibration whose λ do not rise, or with
// numbers that are not finite, is an error.
func (r *Router) WithInfo(calibration []Point, note string) (*Router, error) {
	info := r.info
	info.Calibration, info.Note = calibration, note
	if err := info.check(); err != nil {
		return nil, err
	}
	return &Router{info, r.w}, nil
}

// WithAnswers returns a router with the same weights that also decides between answers. A calibration that is not valid, or
// whose readers are not tiers of the last module, is an error.
func (r *Router) WithAnswers(c *cascade.Calibration) (*Router, error) {
	info := r.info
	info.Answers = c
	if err := info.check(); err != nil {
		return nil, err
	}
	last := info.Modules[len(info.Modules)-1]
	for _, reader := range c.Readers {
		if !slices.Contains(last.Tiers, reader.Tier) {
			return nil, fmt.Errorf("the calibration has a reader %q, which is no tier of module %s: %v", reader.Tier, last.Name, last.Tiers)
		}
	}
	return &Router{info, r.w}, nil
}

// Parameters is the number of weights.
func (r *Router) Parameters() int {
	n := 0
	for _, t := range r.w.tensors(r.info, 0, 0, 0) {
		n += len(*t.values)
	}
	return n
}
