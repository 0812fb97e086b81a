package tune

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/budgetmem/budgetmem/tiers/llm/local"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
)

// decoder builds the graph of some of a model's layers over a pack: sequences one behind the other, kept apart by the mask.
// It is the same decoder as that of package local, which answers; that one extends caches of keys and values, which training
// has no use for, and this one takes an adapter's matrices beside the weights.
type decoder struct {
	cfg      *local.Config
	angles   []float32 // of rotary position embedding, [HeadDim/2]
	from, to int       // layers from, …, to-1
	keys     []adapter.Key
	scale    float64 // of B·A

	// Of the graph under construction:
	cos, sin *Node // [T, 1, HeadDim/2]
	mask     *Node // [KVHeads, group, T, T]
	lora     map[adapter.Key][2]*Node
}

// Inputs of every program: vectors [T, Dim], positions [T] int32, mask [T, T] to add to the scores, and then the weights of the
// layers in the order of local.Base.Layer.

// layers returns the hidden states [T, Dim] after the layers.
func (d *decoder) layers(x, position, mask *Node, weights []*Node) *Node {
	g, T := x.Graph(), x.Shape().Dimensions[0]
	angle := Mul(ExpandDims(ConvertDType(position, dtypes.Float32), -1), ExpandDims(Const(g, d.angles), 0)) // [T, HeadDim/2]
	d.cos, d.sin = ExpandDims(Cos(angle), 1), ExpandDims(Sin(angle), 1)
	d.mask = BroadcastToDims(Reshape(mask, 1, 1, T, T), d.cfg.KVHeads, d.cfg.Heads/d.cfg.KVHeads, T, T)
	per := perLayer(d.cfg)
	for l := d.from; l < d.to; l++ {
		x = d.layer(l, x, weights[(l-d.from)*per:][:per])
	}
	return x
}

// perLayer is how many tensors a layer has.
func perLayer(c *local.Config) int {
	if c.Bias {
		return 7
	}
	return 6
}

func (d *decoder) layer(l int, x *Node, w []*Node) *Node {
	c := d.cfg
	h := rmsNorm(x, w[0], c.Eps)
	qkv := matMul(h, w[1])
	if c.Bias {
		qkv = Add(qkv, ExpandDims(w[6], 0))
	}
	D := c.HeadDim
	q := d.adapt(l, "q_proj", h, columns(qkv, 0, c.Heads*D))
	k := d.adapt(l, "k_proj", h, columns(qkv, c.Heads*D, (c.Heads+c.KVHeads)*D))
	v := d.adapt(l, "v_proj", h, columns(qkv, (c.Heads+c.KVHeads)*D, (c.Heads+2*c.KVHeads)*D))
	o := d.attention(q, k, v)
	x = Add(x, d.adapt(l, "o_proj", o, matMul(o, w[2])))

	h = rmsNorm(x, w[3], c.Eps)
	both := matMul(h, w[4])
	gate := d.adapt(l, "gate_proj", h, columns(both, 0, c.FF))
	up := d.adapt(l, "up_proj", h, columns(both, c.FF, 2*c.FF))
	act := Mul(Mul(gate, Sigmoid(gate)), up)
	return Add(x, d.adapt(l, "down_proj", act, matMul(act, w[5])))
}

// adapt adds what the adapter makes of x [T, in] to what the frozen map made of it, y [T, out].
func (d *decoder) adapt(l int, target string, x, y *Node) *Node {
	pair, ok := d.lora[adapter.Key{Layer: l, Target: target}]
	if !ok {
		return y
	}
	return Add(y, MulScalar(matMul(matMul(x, pair[0]), pair[1]), d.scale))
}

// attention is causal attention of q [T, Heads·D] on k and v [T, KVHeads·D].
func (d *decoder) attention(q, k, v *Node) *Node {
	c, T := d.cfg, q.Shape().Dimensions[0]
	H, K, D := c.Heads, c.KVHeads, c.HeadDim
	G := H / K
	q = MulScalar(d.rotate(Reshape(q, T, H, D)), 1/math.Sqrt(float64(D)))
	k = d.rotate(Reshape(k, T, K, D))
	q = Reshape(TransposeAllDims(Reshape(q, T, K, G, D), 1, 2, 0, 3), K, G*T, D)
	k, v = TransposeAllDims(k, 1, 0, 2), TransposeAllDims(Reshape(v, T, K, D), 1, 0, 2) // [K, T, D]
	scores := Add(Reshape(Einsum("kqd,ktd->kqt", q, k), K, G, T, T), d.mask)
	e := Exp(Sub(scores, StopGradient(ReduceAndKeep(scores, ReduceMax, -1))))
	p := Div(e, ReduceAndKeep(e, ReduceSum, -1))
	o := Einsum("kqt,ktd->kqd", Reshape(p, K, G*T, T), v)
	return Reshape(TransposeAllDims(Reshape(o, K, G, T, D), 2, 0, 1, 3), T, H*D)
}

// rotate applies rotary position embedding to v [T, heads, HeadDim].
func (d *decoder) rotate(v *Node) *Node {
	half := d.cfg.HeadDim / 2
	a := Slice(v, AxisRange(), AxisRange(), AxisRange(0, half))
	b := Slice(v, AxisRange(), AxisRange(), AxisRange(half, 2*half))
	return Concatenate([]*Node{Sub(Mul(a, d.cos), Mul(b, d.sin)), Add(Mul(b, d.cos), Mul(a, d.sin))}, -1)
}

// bind takes the adapter's nodes, A and B of each key in turn.
func (d *decoder) bind(lora []*Node) {
	d.lora = make(map[adapter.Key][2]*Node, len(d.keys))
	for i, k := range d.keys {
		d.lora[k] = [2]*Node{lora[2*i], lora[2*i+1]}
	}
}

// frozen is the program of the layers below the adapted ones: [x, position, mask, weights…] to the hidden states [T, Dim].
func (d *decoder) frozen(in []*Node) *Node { return d.layers(in[0], in[1], in[2], in[3:]) }

// The inputs of the two programs over the adapted layers, in their order: x, position, mask; the rows [R] int32 after which
// an answer's token comes, that token [R] int32 and its weight in the loss [R]; head and norm; then the layers' weights and
// the adapter's matrices.
const (
	inRows = 3 + iota
	inNext
	inWeight
	inHead
	inNorm
	inLayers
)

// nll builds −Σ weight · ln p(next) and the unweighted Σ over rows with a weight, both scalars.
func (d *decoder) nll(in []*Node) (loss, plain *Node, lora []*Node) {
	n := perLayer(d.cfg) * (d.to - d.from)
	lora = in[inLayers+n:][:2*len(d.keys)]
	d.bind(lora)
	x := d.layers(in[0], in[1], in[2], in[inLayers:inLayers+n])
	rows, next, weight, head := in[inRows], in[inNext], in[inWeight], in[inHead]
	// A product with zeros and ones picks the rows: it is exact, and its gradient is one too.
	g, T, R := x.Graph(), x.Shape().Dimensions[0], rows.Shape().Dimensions[0]
	pick := ConvertDType(Equal(Iota(g, shapes.Make(dtypes.Int32, R, T), 1), BroadcastToDims(ExpandDims(rows, -1), R, T)), dtypes.Float32)
	h := rmsNorm(MatMul(pick, x), in[inNorm], d.cfg.Eps)
	logits := matMul(h, head) // [R, Vocab]
	top := StopGradient(ReduceAndKeep(logits, ReduceMax, -1))
	sum := Log(ReduceSum(Exp(Sub(logits, top)), -1))
	own := ReduceSum(Mul(h, StopGradient(Gather(head, ExpandDims(next, -1)))), -1)
	each := Sub(Add(sum, Reshape(top, -1)), own)
	counted := ConvertDType(GreaterThan(weight, ScalarZero(g, dtypes.Float32)), dtypes.Float32)
	return ReduceAllSum(Mul(weight, each)), ReduceAllSum(Mul(counted, each)), lora
}

// losses is the program [inputs…] to the two sums of nll.
func (d *decoder) losses(in []*Node) []*Node {
	loss, plain, _ := d.nll(in)
	return []*Node{loss, plain}
}

// gradients is the program [inputs…, sums of gradients so far…] to the two sums of nll and the new sums of gradients.
func (d *decoder) gradients(in []*Node) []*Node {
	loss, plain, lora := d.nll(in)
	before := in[len(in)-len(lora):]
	out := []*Node{loss, plain}
	for i, grad := range Gradient(loss, lora...) {
		out = append(out, Add(before[i], grad))
	}
	return out
}

// matMul multiplies x [n, in] by w [out, in].
func matMul(x, w *Node) *Node { return DotGeneral(x, []int{1}, nil, w, []int{1}, nil) }

func columns(x *Node, from, to int) *Node { return Slice(x, AxisRange(), AxisRange(from, to)) }

// rmsNorm scales the rows of x to unit root mean square, times w.
func rmsNorm(x, w *Node, eps float64) *Node {
	ms := ReduceAndKeep(Square(x), ReduceMean, -1)
	// GoMLX has no gradient for Rsqrt.
	return Mul(Div(x, Sqrt(AddScalar(ms, eps))), ExpandDims(w, 0))
}

// adapted lists the maps that an adapter of the top layers has.
func adapted(c *local.Config, top int, targets []string) ([]adapter.Key, error) {
	var keys []adapter.Key
	for l := c.Layers - top; l < c.Layers; l++ {
		for _, t := range adapter.Targets() {
			if slices.Contains(targets, t) {
				keys = append(keys, adapter.Key{Layer: l, Target: t})
			}
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("nothing to train: %d layers, targets %v", top, targets)
	}
	return keys, nil
}
