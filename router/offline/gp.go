package offline

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/budgetmem/budgetmem/router"
)

// GaussianProcess predicts the outcome of any combination of tiers in the place of a measured episode. It is a regression over rows r = (question, embeddings φ, choices a) with M modules and the covariance
//
//	k(r, r') = q·[same question]
//	         + Σₘ [aₘ = a'ₘ]·(t + x·⟨φₘ(r), φₘ(r')⟩)/M
//	         + p·Σₘ₍ₙ [aₘ = a'ₘ][aₙ = a'ₙ]/(M(M−1)/2)
//	         + noise·[r = r']
//
// where φ holds the signals too, with the same weight as the embeddings, for the last module of a router that looks at some;
// that is: questions differ in level (q), each module's tiers have an effect of their own (t) that may depend linearly on
// the query and memory embeddings that the module sees (x), and pairs of tiers may do more than the sum of both (p). The
// variances q, t, x, p and noise are chosen by the marginal likelihood. Where nothing depends on the question, x vanishes,
// and what is left says which tiers are best for all questions.
type GaussianProcess struct {
	modules  router.Space
	inputs   []int // of each module, the number of the products of what it sees
	episodes []router.Episode
	question []int           // [episodes] index of the episode's question
	gram     []*mat.SymDense // of what modules see, see gramIndex: ⟨φ(r), φ(r')⟩, centred, with a mean of 1 on the diagonal
	variance [5]float64      // q, t, x, p, noise
	mean     float64
	unit     float64   // standard deviation of the values, in which the variances are measured
	alpha    []float64 // weight of each row; 0 for rows that it was not fitted to
	chol     mat.Cholesky
}

// The indices of the variances, and the values tried for each, for outcomes of unit variance.
const (
	level = iota
	effect
	dependence
	pairs
	noise
)

var varianceGrid = [5][]float64{
	level:      {0.03, 0.3, 1},
	effect:     {0.001, 0.03, 0.3, 1},
	dependence: {0, 0.03, 0.1, 0.3, 1, 3},
	pairs:      {0, 0.03, 0.3},
	noise:      {0.001, 0.03, 0.1, 0.3, 1},
}

// Explained says what an outcome depends on, as shares of its variance, which add up to 1.
type Explained struct {
	// Question is how high or low a question is, whatever is chosen.
	Question float64 `json:"question"`
	// Tiers is the effect of the choice that is equal for all questions: what a static assignment can use.
	Tiers float64 `json:"tiers"`
	// TiersByQuestion is the effect of the choice that depends on the query and memory embeddings: what a router can use
	// beyond that.
	TiersByQuestion float64 `json:"tiers_by_question"`
	// Rest is neither: noise, and what embeddings do not show.
	Rest float64 `json:"rest"`
}

// Explained says what the values that the model was fitted to depend on; zero if they do not vary.
func (p *GaussianProcess) Explained() Explained {
	total := 0.0
	for _, v := range p.variance {
		total += v
	}
	if total == 0 {
		return Explained{}
	}
	v := p.variance
	return Explained{v[level] / total, (v[effect] + v[pairs]) / total, v[dependence] / total, v[noise] / total}
}

// searchRows bounds how many rows the variances are chosen by; the work grows with their cube.
const searchRows = 400

// gramIndex is for each module the number in grams of the products of what it sees: that of its memory embedding, and for the last
// module of a router that looks at signals one of its own.
func gramIndex(shape router.Shape) []int {
	index := slices.Clone(shape.MemoryIndex)
	if len(shape.Signals) > 0 {
		index[len(index)-1] = shape.Memories()
	}
	return index
}

// grams computes the rows' inner products of what modules see.
func grams(shape router.Shape, episodes []router.Episode) []*mat.SymDense {
	out := make([]*mat.SymDense, shape.Memories())
	for s := range out {
		out[s] = gramOf(len(episodes), 2*shape.Dim, func(r int, row []float64) {
			for i, v := range episodes[r].Query {
				row[i] = float64(v)
			}
			for i, v := range episodes[r].Memory[s] {
				row[shape.Dim+i] = float64(v)
			}
		})
	}
	if len(shape.Signals) > 0 {
		both := mat.NewSymDense(len(episodes), nil)
		both.AddSym(out[shape.MemoryIndex[len(shape.Modules)-1]], signalGram(shape, episodes))
		both.ScaleSym(0.5, both)
		out = append(out, both)
	}
	return out
}

// signalGram holds the rows' inner products of their signals, each with a variance of 1 over the rows, unknown ones at their mean
// and marked.
func signalGram(shape router.Shape, episodes []router.Episode) *mat.SymDense {
	n, k := len(episodes), len(shape.Signals)
	rows := make([][]float64, n)
	for r, e := range episodes {
		for _, v := range shape.SignalInputs(e.Signals) {
			rows[r] = append(rows[r], float64(v))
		}
	}
	for c := range k {
		var known []float64
		for _, row := range rows {
			if row[k+c] > 0 {
				known = append(known, row[c])
			}
		}
		if len(known) == 0 {
			continue
		}
		mean := stat.Mean(known, nil)
		for _, row := range rows {
			if row[k+c] == 0 {
				row[c] = mean
			}
		}
	}
	for c := range 2 * k {
		column := make([]float64, n)
		for r, row := range rows {
			column[r] = row[c]
		}
		if deviation := stat.PopStdDev(column, nil); deviation > 0 {
			for _, row := range rows {
				row[c] /= deviation
			}
		}
	}
	return gramOf(n, 2*k, func(r int, row []float64) { copy(row, rows[r]) })
}

// gramOf holds the inner products of rows [n, width], centred, with a mean of 1 on the diagonal.
func gramOf(n, width int, fill func(r int, row []float64)) *mat.SymDense {
	f := mat.NewDense(n, width, nil)
	for r := range n {
		fill(r, f.RawRowView(r))
	}
	for c := range width {
		col := mat.Col(nil, c, f)
		m := stat.Mean(col, nil)
		for r := range n {
			f.Set(r, c, f.At(r, c)-m)
		}
	}
	g := mat.NewSymDense(n, nil)
	g.SymOuterK(1, f)
	if trace := mat.Trace(g); trace > 0 {
		g.ScaleSym(float64(n)/trace, g)
	}
	return g
}

// fitOptions says how a model is fitted.
type fitOptions struct {
	// nonContextual makes the outcome independent of the embeddings.
	nonContextual bool
	// seed draws the rows that the variances are chosen by, where there are too many.
	seed uint64
}

// fit fits a model to the values [episodes] of the given rows.
func fit(shape router.Shape, episodes []router.Episode, gram []*mat.SymDense, values []float64, rows []int, opts fitOptions) (*GaussianProcess, error) {
	y := pick(values, rows)
	p := &GaussianProcess{modules: shape.Modules, inputs: gramIndex(shape), episodes: episodes, question: questionIndices(episodes),
		gram: gram, mean: stat.Mean(y, nil), alpha: make([]float64, len(values))}
	if p.unit = stat.PopStdDev(y, nil); p.unit == 0 {
		return p, nil // nothing to predict but the mean
	}
	for i, v := range y {
		y[i] = (v - p.mean) / p.unit
	}
	p.chooseVariances(y, rows, opts)
	if !p.chol.Factorize(p.covariance(rows)) {
		return nil, fmt.Errorf("fit a Gaussian process: the covariance of %d rows with variances %v is singular", len(y), p.variance)
	}
	var alpha mat.VecDense
	if err := p.chol.SolveVecTo(&alpha, mat.NewVecDense(len(y), y)); err != nil {
		return nil, fmt.Errorf("fit a Gaussian process: %w", err)
	}
	for i, r := range rows {
		p.alpha[r] = p.unit * alpha.AtVec(i)
	}
	return p, nil
}

// chooseVariances searches the grid for the largest marginal likelihood, one variance after the other, twice.
func (p *GaussianProcess) chooseVariances(y []float64, rows []int, opts fitOptions) {
	search := indices(len(y))
	if len(search) > searchRows {
		search = rand.New(rand.NewPCG(opts.seed, 3)).Perm(len(y))[:searchRows]
		slices.Sort(search) // so that a question's rows are neighbours
	}
	rows, y = pick(rows, search), pick(y, search)
	p.variance = [5]float64{0.3, 0.03, 0.03, 0.03, 0.3}
	if opts.nonContextual {
		p.variance[dependence] = 0
	}
	best := p.likelihood(rows, y)
	for range 2 {
		for i, grid := range varianceGrid {
			if opts.nonContextual && i == dependence {
				continue
			}
			for _, v := range grid {
				before := p.variance[i]
				p.variance[i] = v
				if l := p.likelihood(rows, y); l > best {
					best = l
				} else {
					p.variance[i] = before
				}
			}
		}
	}
}

// pick returns the values at the given indices.
func pick[T any](values []T, at []int) []T {
	out := make([]T, len(at))
	for i, r := range at {
		out[i] = values[r]
	}
	return out
}

// byQuestion lists the rows of each question, in the order of the questions' first episodes.
func byQuestion(episodes []router.Episode) [][]int {
	var out [][]int
	for row, q := range questionIndices(episodes) {
		if q == len(out) {
			out = append(out, nil)
		}
		out[q] = append(out[q], row)
	}
	return out
}

// questionIndices numbers the episodes' questions in the order of their first episodes.
func questionIndices(episodes []router.Episode) []int {
	out, index := make([]int, len(episodes)), map[string]int{}
	for row, e := range episodes {
		q, ok := index[e.ID]
		if !ok {
			q = len(index)
			index[e.ID] = q
		}
		out[row] = q
	}
	return out
}

// addTiers adds to v the covariance of two rows with choices a and b that their tiers cause; inner holds the rows' inner
// products by memory embedding.
func (p *GaussianProcess) addTiers(v float64, a, b []int, inner []float64) float64 {
	modules, same := float64(len(p.inputs)), 0.0
	for module, s := range p.inputs {
		if a[module] == b[module] {
			v += (p.variance[effect] + p.variance[dependence]*inner[s]) / modules
			same++
		}
	}
	return v + p.variance[pairs]*same*(same-1)/max(1, modules*(modules-1))
}

// covariance returns the covariance matrix of the given rows.
func (p *GaussianProcess) covariance(rows []int) *mat.SymDense {
	inner := make([]float64, len(p.gram))
	k := mat.NewSymDense(len(rows), nil)
	for i, r := range rows {
		for j, o := range rows[:i+1] {
			v := 0.0
			if p.question[r] == p.question[o] {
				v = p.variance[level]
			}
			for s, g := range p.gram {
				inner[s] = g.At(r, o)
			}
			v = p.addTiers(v, p.episodes[r].Choices, p.episodes[o].Choices, inner)
			if i == j {
				v += p.variance[noise]
			}
			k.SetSym(i, j, v)
		}
	}
	return k
}

// likelihood is the logarithm of the marginal likelihood of values, one for each of the given rows, up to a constant.
func (p *GaussianProcess) likelihood(rows []int, values []float64) float64 {
	y := mat.NewVecDense(len(rows), values)
	var chol mat.Cholesky
	if !chol.Factorize(p.covariance(rows)) {
		return math.Inf(-1)
	}
	var alpha mat.VecDense
	if err := chol.SolveVecTo(&alpha, y); err != nil {
		return math.Inf(-1)
	}
	return -0.5*mat.Dot(y, &alpha) - 0.5*chol.LogDet()
}

// predict returns the expected value of every combination in the place of a row.
func (p *GaussianProcess) predict(row int, combinations [][]int) []float64 {
	n := float64(len(p.inputs))
	width := p.modules.MaxTiers()
	base := p.mean
	single := make([]float64, len(p.inputs)*width)
	double := make([]float64, len(single)*len(single))
	for o, alpha := range p.alpha {
		if alpha == 0 { // a row that the model was not fitted to
			continue
		}
		choices := p.episodes[o].Choices
		if p.question[o] == p.question[row] {
			base += alpha * p.variance[level]
		}
		for module, s := range p.inputs {
			at := module*width + choices[module]
			single[at] += alpha * (p.variance[effect] + p.variance[dependence]*p.gram[s].At(row, o)) / n
			for other := range module {
				double[at*len(single)+other*width+choices[other]] += alpha * 2 * p.variance[pairs] / (n * (n - 1))
			}
		}
	}
	out := make([]float64, len(combinations))
	for c, choices := range combinations {
		out[c] = base
		for module := range p.inputs {
			at := module*width + choices[module]
			out[c] += single[at]
			for other := range module {
				out[c] += double[at*len(single)+other*width+choices[other]]
			}
		}
	}
	return out
}

// variances returns the posterior variance of every combination's effect, averaged over the rows with the given weights. The
// questions' levels are left out, as they are the same for all combinations. The model must be fitted to all rows.
func (p *GaussianProcess) variances(weights []float64, combinations [][]int) ([]float64, error) {
	out := make([]float64, len(combinations))
	if p.unit == 0 {
		return out, nil
	}
	n := len(p.episodes)
	w := mat.NewVecDense(n, weights)
	near := make([]*mat.VecDense, len(p.gram)) // by memory embedding: each row's mean inner product with the weighted rows
	inner := make([]float64, len(p.gram))
	for s, g := range p.gram {
		near[s] = mat.NewVecDense(n, nil)
		near[s].MulVec(g, w)
		inner[s] = mat.Dot(near[s], w)
	}
	prior := p.addTiers(0, combinations[0], combinations[0], inner) // the same for all
	cov, solved := mat.NewVecDense(n, nil), mat.NewVecDense(n, nil)
	for c, choices := range combinations {
		for r := range n {
			for s := range near {
				inner[s] = near[s].AtVec(r)
			}
			cov.SetVec(r, p.addTiers(0, p.episodes[r].Choices, choices, inner))
		}
		if err := p.chol.SolveVecTo(solved, cov); err != nil {
			return nil, fmt.Errorf("posterior variances: %w", err)
		}
		out[c] = p.unit * p.unit * max(0, prior-mat.Dot(cov, solved))
	}
	return out, nil
}
