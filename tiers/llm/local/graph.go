package local

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// The graph of the decoder. Three programs are compiled from it, each for a few fixed shapes:
//
//	extend  S tokens for each of B sequences, given the keys and values of the tokens before them
//	decode  one token for each of B sequences
//	head    logits of some rows, or the log-probabilities of given next tokens
//
// Keys and values of earlier tokens are inputs [B, KVHeads, T, HeadDim], two for every layer; the graph only reads them
// and returns the new rows, which Go copies into place (an output cannot alias an input here, so returning whole caches
// would copy them at every step).
//
// What a row comes out as does not depend on which other rows share the batch, on B, S or T, or on how a prompt was cut
// into chunks: in extend every key sits at its own position of the T axis whether it was cached or is new, so that sums run
// in one order. This holds bit for bit on XLA-CPU for products of at least two rows, which is why no shape has only one.
//
// Extend multiplies activations [B*S, in] by weights [out, in]. Decode and head keep the features first and multiply the
// weights by [in, N], which XLA-CPU does a third faster when N is small; but there results depend on N, which
// is therefore always the same. Only attention has no more slots than replies need, B, and what is beyond them is zeros.

// minusInf hides a score it is added to: exp of the sum is 0.
const minusInf = float32(-1e30)

// body is the input layout shared by extend and decode:
// vectors of the tokens [N, S, Dim], position of the first [N] int32, the mask [B, S, T], norm, weights of every layer, then
// the 2*Layers caches. The mask is added to the scores. It is an input because XLA computes a mask made in the graph anew for
// every score, which takes longer than all the rest of attention.
type body struct {
	cfg           *Config
	B, S, T       int
	N             int // B in extend; in decode at least B, as it always has the same number of activations
	axis          int // of the features: 1, activations [N*S, features], in extend; 0 in decode
	g             *Graph
	pos0          *Node // [N] int32
	cos, sin      *Node // [N, S, 1, HeadDim/2]
	bias          *Node // the mask: extend [B, K, G, S, T], decode [B, K, G, T]
	spread, old   *Node // see placement
	caches, newKV []*Node
}

// forward builds extend (S > 1) or decode (S = 1). Returns hidden [B, S, Dim] after the last norm and the new keys and
// values [2*Layers, B, KVHeads, S, HeadDim].
func (c *Config) forward(in []*Node) []*Node {
	x, norm := in[0], in[3]
	perLayer := 6
	if c.Bias {
		perLayer++
	}
	layers := in[4 : 4+perLayer*c.Layers]
	m := &body{cfg: c, g: x.Graph(), pos0: in[1], caches: in[4+perLayer*c.Layers:]}
	m.B, m.S, m.T = m.caches[0].Shape().Dimensions[0], x.Shape().Dimensions[1], m.caches[0].Shape().Dimensions[2]
	m.N = x.Shape().Dimensions[0]
	if m.S > 1 {
		m.axis = 1
	}
	m.positions(in[2])

	x = m.features(Reshape(x, m.N*m.S, c.Dim))
	for l := range c.Layers {
		w := layers[l*perLayer:][:perLayer]
		qkv := m.linear(rmsNorm(x, w[0], c.Eps, m.axis), w[1])
		if c.Bias {
			qkv = Add(qkv, ExpandDims(w[6], 1-m.axis))
		}
		x = Add(x, m.linear(m.features(m.attention(l, qkv)), w[2]))
		gateUp := m.linear(rmsNorm(x, w[3], c.Eps, m.axis), w[4])
		gate, up := m.slice(gateUp, 0, c.FF), m.slice(gateUp, c.FF, 2*c.FF)
		x = Add(x, m.linear(Mul(Mul(gate, Sigmoid(gate)), up), w[5]))
	}
	hidden := m.used(Reshape(m.features(rmsNorm(x, norm, c.Eps, m.axis)), m.N, m.S, c.Dim))
	return []*Node{hidden, Stack(m.newKV, 0)}
}

// positions prepares the rotation tables, and mask [B, S, T] for the shape of the scores.
func (m *body) positions(mask *Node) {
	B, S, T, K, G := m.B, m.S, m.T, m.cfg.KVHeads, m.cfg.group()
	pos := Add(ExpandDims(m.pos0, -1), Iota(m.g, shapes.Make(dtypes.Int32, m.N, S), 1)) // [N, S]
	angle := Mul(ExpandDims(ConvertDType(pos, dtypes.Float32), -1), ExpandDims(Const(m.g, m.cfg.frequencies()), 0, 0))
	m.cos, m.sin = ExpandDims(Cos(angle), 2), ExpandDims(Sin(angle), 2)
	if S == 1 {
		m.bias = BroadcastToDims(Reshape(mask, B, 1, 1, T), B, K, G, T)
	} else {
		m.bias = BroadcastToDims(Reshape(mask, B, 1, 1, S, T), B, K, G, S, T)
		m.placement()
	}
}

// fillMask writes the mask [B, S, T] of a step. In extend (S > 1) a token sees those up to itself; in decode only those
// before it, since its own key is not in the cache.
func fillMask(mask []float32, pos0 []int32, S, T int) {
	for b, first := range pos0 {
		for i := range S {
			row := mask[(b*S+i)*T:][:T]
			seen := int(first) + i
			if S > 1 {
				seen++
			}
			clear(row[:min(seen, T)])
			for j := seen; j < T; j++ {
				row[j] = minusInf
			}
		}
	}
}

// rotate applies rotary position embedding to v [N, S, heads, HeadDim].
func (m *body) rotate(v *Node) *Node {
	half := m.cfg.HeadDim / 2
	a := Slice(v, AxisRange(), AxisRange(), AxisRange(), AxisRange(0, half))
	b := Slice(v, AxisRange(), AxisRange(), AxisRange(), AxisRange(half, 2*half))
	return Concatenate([]*Node{Sub(Mul(a, m.cos), Mul(b, m.sin)), Add(Mul(b, m.cos), Mul(a, m.sin))}, -1)
}

// attention of layer l: qkv of (Heads+2*KVHeads)*HeadDim features to [N*S, Heads*HeadDim]. Query heads that share a key head
// are stacked along the row axis of one product.
func (m *body) attention(l int, qkv *Node) *Node {
	c, B, S, T := m.cfg, m.B, m.S, m.T
	H, K, G, D := c.Heads, c.KVHeads, c.group(), c.HeadDim
	heads := func(first, n int) *Node {
		return Reshape(m.features(m.slice(qkv, first*D, (first+n)*D)), m.N, S, n, D)
	}
	q, k, v := MulScalar(m.rotate(heads(0, H)), 1/math.Sqrt(float64(D))), m.rotate(heads(H, K)), heads(H+K, K)
	q = TransposeAllDims(Reshape(q, m.N, S, K, G, D), 0, 2, 3, 1, 4)                // [N, K, G, S, D]
	k, v = TransposeAllDims(k, 0, 2, 1, 3), m.used(TransposeAllDims(v, 0, 2, 1, 3)) // [N, K, S, D], [B, K, S, D]
	m.newKV = append(m.newKV, m.used(k), v)

	var o *Node // [B, K, G*S, D]
	if S == 1 {
		o = m.attendOne(Reshape(q, m.N, K, G, D), k, v, m.caches[2*l], m.caches[2*l+1])
	} else {
		keys, values := m.place(m.caches[2*l], k), m.place(m.caches[2*l+1], v)
		scores := Reshape(Einsum("bkqd,bktd->bkqt", Reshape(q, B, K, G*S, D), keys), B, K, G, S, T)
		scores = Add(scores, m.bias)
		e := Exp(Sub(scores, ReduceAndKeep(scores, ReduceMax, -1)))
		sum := Reshape(ReduceAndKeep(e, ReduceSum, -1), B, K, G*S, 1)
		o = Div(Einsum("bkqt,bktd->bkqd", Reshape(e, B, K, G*S, T), values), sum)
	}
	return m.padded(Reshape(TransposeAllDims(Reshape(o, B, K, G, S, D), 0, 3, 1, 2, 4), B*S, H*D))
}

// attendOne is attention of a single new token a sequence, which sees the cache and itself: q [N, K, G, D], k [N, K, 1, D],
// v [B, K, 1, D] to [B, K, G, D]. The cache is not copied. The token's own score and its exponential are computed for all N,
// because XLA-CPU rounds them differently when there are few.
func (m *body) attendOne(q, k, v, keys, values *Node) *Node {
	old := Add(Einsum("bkqd,bktd->bkqt", m.used(q), keys), m.bias) // [B, K, G, T]
	own := ReduceAndKeep(Mul(q, k), ReduceSum, -1)                 // [N, K, G, 1]
	top := Max(m.padded(ReduceAndKeep(old, ReduceMax, -1)), own)
	eOld, eOwn := Exp(Sub(old, m.used(top))), m.used(Exp(Sub(own, top)))
	sum := Add(ReduceAndKeep(eOld, ReduceSum, -1), eOwn)
	return Div(Add(Einsum("bkqt,bktd->bkqd", eOld, values), Mul(eOwn, v)), sum)
}

// used returns what of x [N, …] belongs to sequences, [B, …].
func (m *body) used(x *Node) *Node {
	if m.N == m.B {
		return x
	}
	return Slice(x, AxisRange(0, m.B))
}

// padded adds zeros to x [B, …] or [B*S, …] for [N, …] or [N*S, …].
func (m *body) padded(x *Node) *Node {
	if m.N == m.B {
		return x
	}
	shape := x.Shape().Clone()
	shape.Dimensions[0] = shape.Dimensions[0] / m.B * (m.N - m.B)
	return Concatenate([]*Node{x, Zeros(m.g, shape)}, 0)
}

// place returns cache [B, K, T, D] with the S new rows of each sequence at its own position: a product with a matrix of
// zeros and ones, which is exact. (Updates of slices compile five times as long, and pure Go does not have them.)
func (m *body) place(cache, rows *Node) *Node {
	return Add(Mul(cache, m.old), Einsum("bkts,bksd->bktd", m.spread, rows))
}

// placement prepares spread [B, K, T, S], 1 where row s belongs at position t, and old [B, 1, T, 1], 1 where none does.
func (m *body) placement() {
	B, S, T := m.B, m.S, m.T
	at := Add(BroadcastToDims(Reshape(m.pos0, B, 1, 1), B, T, S), Iota(m.g, shapes.Make(dtypes.Int32, B, T, S), 2))
	spread := ConvertDType(Equal(Iota(m.g, shapes.Make(dtypes.Int32, B, T, S), 1), at), dtypes.Float32)
	m.old = Reshape(OneMinus(ReduceMax(spread, -1)), B, 1, T, 1)
	m.spread = BroadcastToDims(ExpandDims(spread, 1), B, m.cfg.KVHeads, T, S)
}

// headLogits: hidden [R, Dim] and the head [Vocab, Dim] to logits [Vocab, R].
func headLogits(hidden, head *Node) *Node { return linear(head, Transpose(hidden, 0, 1)) }

// headScores: hidden [R, Dim], head [Vocab, Dim], next [R] int32 to the log-probability of each next token, [R].
func headScores(hidden, head, next *Node) *Node {
	logits := headLogits(hidden, head)
	top := ReduceAndKeep(logits, ReduceMax, 0)
	sum := ReduceSum(Exp(Sub(logits, top)), 0)
	own := ReduceSum(Mul(hidden, Gather(head, ExpandDims(next, -1))), -1)
	return Sub(Sub(own, Reshape(top, -1)), Log(sum))
}

// features moves the feature axis of x [N*S, features] to where this program keeps it, or back.
func (m *body) features(x *Node) *Node {
	if m.axis == 1 {
		return x
	}
	return Transpose(x, 0, 1)
}

// linear multiplies the features of x by w [out, in].
func (m *body) linear(x, w *Node) *Node {
	if m.axis == 1 {
		return DotGeneral(x, []int{1}, nil, w, []int{1}, nil)
	}
	return linear(w, x)
}

// slice returns the features from, …, to-1 of x.
func (m *body) slice(x *Node, from, to int) *Node {
	if m.axis == 1 {
		return Slice(x, AxisRange(), AxisRange(from, to))
	}
	return Slice(x, AxisRange(from, to))
}

// linear multiplies w [out, in] by x [in, n].
func linear(w, x *Node) *Node { return DotGeneral(w, []int{1}, nil, x, []int{0}, nil) }

// rmsNorm scales x to unit root mean square over the given of its two axes, times w.
func rmsNorm(x, w *Node, eps float64, axis int) *Node {
	ms := ReduceAndKeep(Square(x), ReduceMean, axis)
	return Mul(Mul(x, Rsqrt(AddScalar(ms, eps))), ExpandDims(w, 1-axis))
}
