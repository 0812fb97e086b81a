package portable

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var testInfo = Info{
	Dim: 37, Embedder: "test@sha256:00", Lambda: Range{0, 1},
	Modules:     []Module{{"filter", []string{"low", "mid", "high"}}, {"entity", []string{"low", "high"}}, {"summary", []string{"a", "b", "c", "d"}}},
	Calibration: []Point{{0, 0.004, 0.5}, {0.5, 0.002, 0.45}, {1, 0.001, 0.3}},
}

// withSignals is testInfo of a router whose last module looks at two signals.
func withSignals() Info {
	info := testInfo
	info.Signals = []Signal{{"sure", 2}, {"length", 30}}
	return info
}

// random makes a router of random weights whose logits differ enough to tell tiers apart.
func random(t testing.TB, info Info, hidden, actor int, seed uint64) *Router {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	var w Weights
	for _, x := range w.tensors(info, hidden, actor, info.tiers()) {
		n := 1
		for _, d := range x.shape {
			n *= d
		}
		*x.values = make([]float32, n)
		for i := range *x.values {
			(*x.values)[i] = float32(rng.NormFloat64() / math.Sqrt(float64(x.shape[0])))
		}
	}
	r, err := New(info, w)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func vector(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64() / math.Sqrt(float64(n)))
	}
	return v
}

// reference computes a decision's log-probabilities in float64, by the formulas of the package's doc.
func reference(r *Router, q, m, signals []float32, lambda float64, module int) []float64 {
	w := r.w
	hidden, actor := len(w.Lambda), len(w.ActorBias)
	h, e, a := make([]float64, hidden), make([]float64, hidden), make([]float64, actor)
	out := make([]float64, len(w.LogitsBias))
	layer := func(y, x []float64, w, bias []float32) {
		for j := range y {
			y[j] = float64(bias[j])
			for i, v := range x {
				y[j] += v * float64(w[i*len(y)+j])
			}
		}
	}
	positive := func(y []float64) {
		for i := range y {
			y[i] = max(y[i], 0)
		}
	}
	wide := func(x []float32) (y []float64) {
		for _, v := range x {
			y = append(y, float64(v))
		}
		return y
	}
	second := make([]float64, hidden)
	layer(h, wide(q), w.Query, w.Module[module*hidden:])
	layer(second, wide(m), w.Memory, make([]float32, hidden))
	for i := range h {
		h[i] += second[i] + lambda*float64(w.Lambda[i])
	}
	if module == len(r.info.Modules)-1 {
		for n, s := range r.info.Signals {
			if v := float64(signals[n]); !math.IsNaN(v) {
				for i := range h {
					h[i] += v/s.Scale*float64(w.Signals[n*hidden+i]) + float64(w.Signals[(len(signals)+n)*hidden+i])
				}
			}
		}
	}
	positive(h)
	layer(e, h, w.Encoder, w.EncoderBias)
	positive(e)
	layer(a, e, w.Actor, w.ActorBias)
	positive(a)
	layer(out, a, w.Logits, w.LogitsBias)
	out = out[:len(r.info.Modules[module].Tiers)]
	sum := 0.0
	for i := range out {
		sum += math.Exp(out[i])
	}
	for i := range out {
		out[i] -= math.Log(sum)
	}
	return out
}

func TestDecisionsEqualTheFormulas(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, dim := range []int{1, 7, 16, 37, 384} {
		for n, size := range [][2]int{{5, 3}, {32, 16}, {67, 33}} {
			info := testInfo
			if n > 0 {
				info = withSignals()
			}
			info.Dim = dim
			r := random(t, info, size[0], size[1], uint64(dim))
			d := r.NewDecider()
			for range 20 {
				q, lambda := vector(rng, dim), rng.Float64()
				if err := d.Question(q, lambda); err != nil {
					t.Fatal(err)
				}
				var m []float32                                                // none at first
				signals := []float32{float32(math.NaN()), float32(math.NaN())} // unknown at first
				for i := range info.Signals {
					if rng.IntN(3) > 0 {
						signals[i] = float32(info.Signals[i].Scale * rng.NormFloat64())
					}
				}
				if rng.IntN(4) > 0 && info.Signals != nil {
					if err := d.Signals(signals); err != nil {
						t.Fatal(err)
					}
				} else {
					signals[0], signals[1] = float32(math.NaN()), float32(math.NaN())
				}
				for module := range info.Modules {
					want := reference(r, q, m, signals, lambda, module)
					got := slices.Clone(d.LogProbs(module))
					best := 0
					for i := range want {
						if math.Abs(want[i]-float64(got[i])) > 1e-5 {
							t.Fatalf("dim %d, module %d: log-probabilities %v, want %v", dim, module, got, want)
						}
						if want[i] > want[best] {
							best = i
						}
					}
					if len(got) != len(want) || d.Decide(module) != best {
						t.Fatalf("module %d: tier %d of %v, want %d", module, d.Decide(module), got, best)
					}
					m = vector(rng, dim)
					if err := d.Memory(m); err != nil {
						t.Fatal(err)
					}
				}
				if err := d.Memory(nil); err != nil {
					t.Fatal(err)
				}
				if got, want := d.LogProbs(0)[0], reference(r, q, nil, signals, lambda, 0)[0]; math.Abs(want-float64(got)) > 1e-5 {
					t.Fatalf("an empty memory gives %v, want %v", got, want)
				}
			}
		}
	}
}

func TestDecisionsAllocateNothing(t *testing.T) {
	r := random(t, withSignals(), 64, 32, 1)
	signals := []float32{1, float32(math.NaN())}
	rng := rand.New(rand.NewPCG(3, 4))
	q, m := vector(rng, testInfo.Dim), vector(rng, testInfo.Dim)
	d := r.NewDecider()
	sink := 0
	if n := testing.AllocsPerRun(100, func() {
		_ = d.Question(q, 0.25)
		for module := range testInfo.Modules {
			_ = d.Memory(m)
			_ = d.Signals(signals)
			sink += d.Decide(module) + len(d.LogProbs(module))
		}
	}); n != 0 {
		t.Errorf("a question's decisions allocate %v times", n)
	}
}

func TestRefusesWrongInputs(t *testing.T) {
	d := random(t, testInfo, 8, 4, 1).NewDecider()
	q := make([]float32, testInfo.Dim)
	if err := d.Question(q[1:], 0); err == nil || !strings.Contains(err.Error(), "trained on 37 of test@sha256:00") {
		t.Errorf("a query of another width: %v", err)
	}
	for _, lambda := range []float64{-0.1, 1.1, math.NaN()} {
		if err := d.Question(q, lambda); err == nil || !strings.Contains(err.Error(), "trained for 0 to 1") {
			t.Errorf("λ %v: %v", lambda, err)
		}
	}
	if err := d.Memory(q[1:]); err == nil {
		t.Error("a memory of another width was taken")
	}
	if err := d.Signals([]float32{1}); err == nil || !strings.Contains(err.Error(), "trained on 0") {
		t.Errorf("signals that the router does not look at: %v", err)
	}
	d = random(t, withSignals(), 8, 4, 1).NewDecider()
	if err := d.Signals([]float32{1, float32(math.Inf(1))}); err == nil || !strings.Contains(err.Error(), "length") {
		t.Errorf("an infinite signal: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	good := random(t, testInfo, 8, 4, 1)
	for want, change := range map[string]func(*Info, *Weights){
		"dim is 0":                     func(i *Info, _ *Weights) { i.Dim = 0 },
		"a positive scale":             func(i *Info, w *Weights) { i.Signals = []Signal{{"sure", 0}} },
		"signals has 0 numbers":        func(i *Info, w *Weights) { i.Signals = []Signal{{"sure", 1}} },
		"no modules":                   func(i *Info, _ *Weights) { i.Modules = nil },
		"lambda ranges from 1 to 0":    func(i *Info, _ *Weights) { i.Lambda = Range{1, 0} },
		"at least 2 tiers":             func(i *Info, _ *Weights) { i.Modules = []Module{{"filter", []string{"low"}}} },
		"calibration point 1":          func(i *Info, _ *Weights) { i.Calibration = []Point{{0.5, 1, 1}, {0.5, 1, 1}} },
		"query has 295":                func(_ *Info, w *Weights) { w.Query = w.Query[1:] },
		"encoder.bias has 7":           func(_ *Info, w *Weights) { w.EncoderBias = w.EncoderBias[1:] },
		"logits.bias holds +Inf at po": func(_ *Info, w *Weights) { w.LogitsBias = []float32{0, 0, float32(math.Inf(1)), 0} },
		"query has 0 ":                 func(_ *Info, w *Weights) { *w = Weights{} },
	} {
		info, w := good.info, good.w
		change(&info, &w)
		if _, err := New(info, w); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestLambdaFor(t *testing.T) {
	for _, c := range []struct {
		dollars, want float64
		ok            bool
	}{
		{1, 0, true}, {0.004, 0, true}, {0.003, 0.25, true}, {0.002, 0.5, true}, {0.0015, 0.75, true}, {0.001, 1, true}, {0.0009, 0, false},
	} {
		got, ok := testInfo.LambdaFor(c.dollars)
		if ok != c.ok || math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%v dollars: λ %v, %v; want %v, %v", c.dollars, got, ok, c.want, c.ok)
		}
	}
	if _, ok := (Info{}).LambdaFor(1); ok {
		t.Error("a router without a curve gave a λ")
	}
}

func BenchmarkFiveDecisions(b *testing.B) {
	info := testInfo
	info.Dim = 384
	three := []string{"low", "mid", "high"}
	info.Modules = []Module{{"filter", three}, {"entity", three}, {"temporal", three}, {"topic", three}, {"summary", three}}
	r := random(b, info, 256, 128, 1)
	rng := rand.New(rand.NewPCG(5, 6))
	q, m := vector(rng, 384), [][]float32{vector(rng, 384), vector(rng, 384), vector(rng, 384)}
	d := r.NewDecider()
	for b.Loop() {
		_ = d.Question(q, 0.3)
		_ = d.Memory(m[0])
		d.Decide(0)
		_ = d.Memory(m[1])
		d.Decide(1)
		d.Decide(2)
		d.Decide(3)
		_ = d.Memory(m[2])
		d.Decide(4)
	}
}

// BenchmarkSixDecisions decides the answer too, on the notes and nine signals.
func BenchmarkSixDecisions(b *testing.B) {
	info := testInfo
	info.Dim = 384
	three := []string{"low", "mid", "high"}
	info.Modules = []Module{{"filter", three}, {"entity", three}, {"temporal", three}, {"topic", three}, {"summary", three}, {"answer", three}}
	signals := make([]float32, 9)
	for i := range signals {
		info.Signals = append(info.Signals, Signal{string(rune('a' + i)), 1})
		signals[i] = float32(i) / 10
	}
	r := random(b, info, 256, 128, 1)
	rng := rand.New(rand.NewPCG(5, 6))
	q, m := vector(rng, 384), [][]float32{vector(rng, 384), vector(rng, 384), vector(rng, 384), vector(rng, 384)}
	d := r.NewDecider()
	for b.Loop() {
		_ = d.Question(q, 0.3)
		_ = d.Memory(m[0])
		d.Decide(0)
		_ = d.Memory(m[1])
		d.Decide(1)
		d.Decide(2)
		d.Decide(3)
		_ = d.Memory(m[2])
		d.Decide(4)
		_ = d.Memory(m[3])
		_ = d.Signals(signals)
		d.Decide(5)
	}
}
