package router

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mat"
)

// outcomeModel predicts what any combination of tiers would have brought in the place of a traced episode. It is a Gaussian
// process over rows r = (question, states, choices a) with the covariance
//
//	k(r, r') = q·[same question]
//	         + Σₘ [aₘ = a'ₘ]·(t + x·⟨φₘ(r), φₘ(r')⟩)/M
//	         + p·Σₘ₍ₙ [aₘ = a'ₘ][aₙ = a'ₙ]/(M(M−1)/2)
//	         + noise·[r = r']
//
// that is: questions differ in level, each module's tiers have an effect of their own (t) that may depend linearly on the
// query and memory embeddings that the module looks at (x), and pairs of tiers may do more than their sum (p). How much of
// each there is, is chosen by the marginal likelihood; where nothing depends on the question, x vanishes and what is left
// says which tiers are best for all.
type outcomeModel struct {
	space  Space
	states []int
	logged []Logged
	gram   []*mat.SymDense // by state: ⟨φ(r), φ(r')⟩, centred, with a mean of 1 on the diagonal
	share  [5]float64      // q, t, x, p, noise
	mean   float64
	unit   float64   // standard deviation of the values, in which the shares are measured
	alpha  []float64 // weight of each row, 0 of those that it was not fitted to
	chol   mat.Cholesky
}

// The indexes of share, and the values tried for each, for outcomes of unit variance.
const (
	level = iota
	effect
	dependence
	pairs
	noise
)

var shareGrid = [5][]float64{
	level:      {0.03, 0.3, 1},
	effect:     {0.001, 0.03, 0.3, 1},
	dependence: {0, 0.03, 0.1, 0.3, 1, 3},
	pairs:      {0, 0.03, 0.3},
	noise:      {0.001, 0.03, 0.1, 0.3, 1},
}

// Explained says what an outcome depends on, as shares of its variance by the outcome model, which add up to 1.
type Explained struct {
	// Question is how good or dear a question is, whatever is chosen.
	Question float64 `json:"question"`
	// Tiers is the choice, where it is as good or dear for all questions: what a static assignment can use.
	Tiers float64 `json:"tiers"`
	// TiersByQuestion is the choice where it depends on the query and memory embeddings: what a router can use beyond that.
	TiersByQuestion float64 `json:"tiers_by_question"`
	// Rest is neither: chance, and what embeddings do not tell.
	Rest float64 `json:"rest"`
}

// explained is of the values that the model was fitted to; zero if they do not vary.
func (m *outcomeModel) explained() Explained {
	total := 0.0
	for _, v := range m.share {
		total += v
	}
	if total == 0 {
		return Explained{}
	}
	return Explained{m.share[level] / total, (m.share[effect] + m.share[pairs]) / total, m.share[dependence] / total, m.share[noise] / total}
}

// searchRows bounds how many rows the shares are chosen by; the work grows with the cube.
const searchRows = 400

// grams computes the rows' inner products by state.
func grams(shape Shape, logged []Logged) []*mat.SymDense {
	out := make([]*mat.SymDense, shape.states())
	for s := range out {
		n, d := len(logged), shape.Dim
		f := mat.NewDense(n, 2*d, nil)
		for r, l := range logged {
			row := f.RawRowView(r)
			for i, v := range l.Query {
				row[i] = float64(v)
			}
			for i, v := range l.Memory[s] {
				row[d+i] = float64(v)
			}
		}
		for c := range 2 * d {
			col := mat.Col(nil, c, f)
			m := mean(col)
			for r := range n {
				f.Set(r, c, f.At(r, c)-m)
			}
		}
		g := mat.NewSymDense(n, nil)
		g.SymOuterK(1, f)
		if trace := mat.Trace(g); trace > 0 {
			g.ScaleSym(float64(n)/trace, g)
		}
		out[s] = g
	}
	return out
}

// fitOutcome fits the model to one value a row, of the given rows. A blind one takes the outcome not to depend on the embeddings.
func fitOutcome(shape Shape, logged []Logged, gram []*mat.SymDense, values []float64, rows []int, blind bool, seed uint64) (*outcomeModel, error) {
	y := pick(values, rows)
	m := &outcomeModel{space: shape.Modules, states: shape.States, logged: logged, gram: gram, mean: mean(y), alpha: make([]float64, len(values))}
	if m.unit = std(y); m.unit == 0 {
		return m, nil // nothing to predict: the mean is all
	}
	for i, v := range y {
		y[i] = (v - m.mean) / m.unit
	}
	search := upTo(len(y), len(y))
	if len(search) > searchRows {
		search = rand.New(rand.NewPCG(seed, 3)).Perm(len(y))[:searchRows]
		slices.Sort(search) // so that a question's rows are neighbours
	}
	few, ofFew := pick(rows, search), pick(y, search)
	m.share = [5]float64{0.3, 0.03, 0.03, 0.03, 0.3}
	if blind {
		m.share[dependence] = 0
	}
	best := m.likelihood(few, ofFew)
	for range 2 { // one share after the other, twice round
		for i, grid := range shareGrid {
			if blind && i == dependence {
				continue
			}
			for _, v := range grid {
				before := m.share[i]
				m.share[i] = v
				if l := m.likelihood(few, ofFew); l > best {
					best = l
				} else {
					m.share[i] = before
				}
			}
		}
	}
	if !m.chol.Factorize(m.covariance(rows)) {
		return nil, fmt.Errorf("fit the outcome model: the covariance of %d rows with shares %v is singular", len(y), m.share)
	}
	var alpha mat.VecDense
	if err := m.chol.SolveVecTo(&alpha, mat.NewVecDense(len(y), y)); err != nil {
		return nil, fmt.Errorf("fit the outcome model: %w", err)
	}
	for i, r := range rows {
		m.alpha[r] = m.unit * alpha.AtVec(i)
	}
	return m, nil
}

// pick returns the values at the given places.
func pick[T any](values []T, at []int) []T {
	out := make([]T, len(at))
	for i, r := range at {
		out[i] = values[r]
	}
	return out
}

// addTiers adds to v the covariance that two rows with choices a and b have by their tiers; inner holds their inner products by
// state.
func (m *outcomeModel) addTiers(v float64, a, b []int, inner []float64) float64 {
	modules, same := float64(len(m.states)), 0.0
	for module, s := range m.states {
		if a[module] == b[module] {
			v += (m.share[effect] + m.share[dependence]*inner[s]) / modules
			same++
		}
	}
	return v + m.share[pairs]*same*(same-1)/max(1, modules*(modules-1))
}

// covariance returns that of the given rows.
func (m *outcomeModel) covariance(rows []int) *mat.SymDense {
	inner := make([]float64, len(m.gram))
	k := mat.NewSymDense(len(rows), nil)
	for i, r := range rows {
		for j, o := range rows[:i+1] {
			v := 0.0
			if m.logged[r].Question == m.logged[o].Question {
				v = m.share[level]
			}
			for s, g := range m.gram {
				inner[s] = g.At(r, o)
			}
			v = m.addTiers(v, m.logged[r].Choices, m.logged[o].Choices, inner)
			if i == j {
				v += m.share[noise]
			}
			k.SetSym(i, j, v)
		}
	}
	return k
}

// likelihood is the logarithm of the marginal likelihood of values, one for each of the given rows, up to a constant.
func (m *outcomeModel) likelihood(rows []int, values []float64) float64 {
	y := mat.NewVecDense(len(rows), values)
	var chol mat.Cholesky
	if !chol.Factorize(m.covariance(rows)) {
		return math.Inf(-1)
	}
	var alpha mat.VecDense
	if err := chol.SolveVecTo(&alpha, y); err != nil {
		return math.Inf(-1)
	}
	return -0.5*mat.Dot(y, &alpha) - 0.5*chol.LogDet()
}

// predict returns the expected value of every combination in the place of a row.
func (m *outcomeModel) predict(row int, combinations [][]int) []float64 {
	n := float64(len(m.states))
	width := m.space.tiers()
	base := m.mean
	single := make([]float64, len(m.states)*width)
	double := make([]float64, len(single)*len(single))
	for o, alpha := range m.alpha {
		if alpha == 0 { // a row that the model was not fitted to
			continue
		}
		choices := m.logged[o].Choices
		if m.logged[o].Question == m.logged[row].Question {
			base += alpha * m.share[level]
		}
		for module, s := range m.states {
			at := module*width + choices[module]
			single[at] += alpha * (m.share[effect] + m.share[dependence]*m.gram[s].At(row, o)) / n
			for other := range module {
				double[at*len(single)+other*width+choices[other]] += alpha * 2 * m.share[pairs] / (n * (n - 1))
			}
		}
	}
	out := make([]float64, len(combinations))
	for c, choices := range combinations {
		out[c] = base
		for module := range m.states {
			at := module*width + choices[module]
			out[c] += single[at]
			for other := range module {
				out[c] += double[at*len(single)+other*width+choices[other]]
			}
		}
	}
	return out
}

// variances returns for every combination the posterior variance of its effect, a mean over the rows with the given weights.
// How high or low the questions are is left out, as it is the same for all combinations. The model must be fitted to all rows.
func (m *outcomeModel) variances(weights []float64, combinations [][]int) ([]float64, error) {
	out := make([]float64, len(combinations))
	if m.unit == 0 {
		return out, nil
	}
	n := len(m.logged)
	w := mat.NewVecDense(n, weights)
	near := make([]*mat.VecDense, len(m.gram)) // by state: each row's mean inner product with the weighted rows
	inner := make([]float64, len(m.gram))
	for s, g := range m.gram {
		near[s] = mat.NewVecDense(n, nil)
		near[s].MulVec(g, w)
		inner[s] = mat.Dot(near[s], w)
	}
	prior := m.addTiers(0, combinations[0], combinations[0], inner) // the same for all
	cov, solved := mat.NewVecDense(n, nil), mat.NewVecDense(n, nil)
	for c, choices := range combinations {
		for r := range n {
			for s := range near {
				inner[s] = near[s].AtVec(r)
			}
			cov.SetVec(r, m.addTiers(0, m.logged[r].Choices, choices, inner))
		}
		if err := m.chol.SolveVecTo(solved, cov); err != nil {
			return nil, fmt.Errorf("variances of the outcome model: %w", err)
		}
		out[c] = m.unit * m.unit * max(0, prior-mat.Dot(cov, solved))
	}
	return out, nil
}
