package router

import (
	"slices"

	"gonum.org/v1/gonum/stat"
)

// batch holds the rollouts of one update.
type batch struct {
	shape    Shape
	rollouts []rollout
	returns  []float64 // [n]
}

// paddedIndices lists the given indices and repeats the first of them up to a length, so that every batch has one size and
// GoMLX compiles one graph.
func paddedIndices(indices []int, length int) []int {
	return slices.Concat(indices, slices.Repeat(indices[:1], length-len(indices)))
}

// indices lists 0 … n−1.
func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// rows lays out the rollouts with the given indices.
func (b batch) rows(indices []int) minibatch {
	n := len(indices)
	m := minibatch{
		questions: NewQuestions(b.shape, n),
		choices:   make([]int32, len(b.shape.Modules)*n), logProbs: make([]float32, n), advantage: make([]float32, n),
		returns: make([]float32, n), values: make([]float32, n), weights: make([]float32, n),
	}
	for row, i := range indices {
		e := b.rollouts[i]
		m.questions.Set(b.shape, row, e.query, e.memory, e.lambda, e.signals)
		joint := 0.0
		for module, choice := range e.choices {
			m.choices[module*n+row] = int32(choice)
			joint += e.logProb[module]
		}
		m.logProbs[row] = float32(joint)
		m.returns[row], m.values[row] = float32(b.returns[i]), e.value
	}
	return m
}

// minibatch lays out the rollouts with the given indices, at least 2, padded to a size, with their advantages normalised
// among themselves.
func (b batch) minibatch(indices []int, size int) minibatch {
	advantages := make([]float64, len(indices))
	for i, n := range indices {
		advantages[i] = b.returns[n] - float64(b.rollouts[n].value)
	}
	// The sample deviation and the small constant are those of common PyTorch implementations.
	mean, deviation := stat.MeanStdDev(advantages, nil)
	deviation += 1e-8
	m := b.rows(paddedIndices(indices, size))
	for i, a := range advantages {
		m.advantage[i] = float32((a - mean) / deviation)
		m.weights[i] = 1 / float32(len(indices))
	}
	return m
}

// describe fills in the metrics of the batch before the update.
func (b batch) describe(m *Metrics) {
	n := float64(len(b.rollouts))
	m.Shares = make([][]float64, len(b.shape.Modules))
	for i, module := range b.shape.Modules {
		m.Shares[i] = make([]float64, len(module.Tiers))
	}
	residuals := make([]float64, len(b.rollouts))
	for i, e := range b.rollouts {
		m.Score += e.outcome.Score / n
		m.Dollars += e.outcome.Dollars / n
		m.Lambda += e.lambda / n
		for module, choice := range e.choices {
			m.Shares[module][choice] += 1 / n
		}
		residuals[i] = b.returns[i] - float64(e.value)
	}
	m.Return = stat.Mean(b.returns, nil)
	if variance := stat.PopVariance(b.returns, nil); variance > 0 {
		m.ExplainedVariance = 1 - stat.PopVariance(residuals, nil)/variance
	}
}
