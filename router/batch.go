package router

import "gonum.org/v1/gonum/stat"

// batch holds the episodes of one update.
type batch struct {
	shape    Shape
	episodes []rollout
	returns  []float64 // [n]
}

// upTo lists 0 … n−1 and goes on with 0 up to a length, so that every batch has one size and GoMLX compiles one graph.
func upTo(length, n int) []int {
	out := make([]int, length)
	for i := range n {
		out[i] = i
	}
	return out
}

// rows lays out the inputs of the episodes at the given places.
func (b batch) rows(places []int) minibatch {
	n, dim := len(places), b.shape.Dim
	m := minibatch{
		query: make([]float32, n*dim), memory: make([]float32, b.shape.Memories()*n*dim), lambda: make([]float32, n),
		choices: make([]int32, len(b.shape.Modules)*n), logProbs: make([]float32, n), advantage: make([]float32, n),
		returns: make([]float32, n), values: make([]float32, n), weights: make([]float32, n),
	}
	for row, place := range places {
		e := b.episodes[place]
		copy(m.query[row*dim:], e.query)
		for state, memory := range e.memory {
			copy(m.memory[(state*n+row)*dim:], memory)
		}
		m.lambda[row] = float32(e.lambda)
		joint := 0.0
		for module, choice := range e.choices {
			m.choices[module*n+row] = int32(choice)
			joint += e.logProb[module]
		}
		m.logProbs[row] = float32(joint)
		m.returns[row], m.values[row] = float32(b.returns[place]), e.value
	}
	return m
}

// minibatch lays out the episodes at the given places, at least 2, filled up to size, with their advantages normalised
// among themselves, in so many equal parts.
func (b batch) minibatch(places []int, size, parts int) []minibatch {
	advantages := make([]float64, len(places))
	for i, p := range places {
		advantages[i] = b.returns[p] - float64(b.episodes[p].value)
	}
	// The sample's deviation and the small constant are those of PyTorch implementations, which results are compared with.
	mean, deviation := stat.MeanStdDev(advantages, nil)
	deviation += 1e-8
	all := make([]minibatch, parts)
	for i, rows := range SplitRows(places, size, parts) {
		all[i] = b.rows(rows)
	}
	rows := len(all[0].weights)
	for i, a := range advantages {
		m := all[i/rows]
		m.advantage[i%rows] = float32((a - mean) / deviation)
		m.weights[i%rows] = 1 / float32(len(places))
	}
	return all
}

// describe fills in what the metrics say of the batch before the update.
func (b batch) describe(m *Metrics) {
	n := float64(len(b.episodes))
	m.Shares = make([][]float64, len(b.shape.Modules))
	for i, module := range b.shape.Modules {
		m.Shares[i] = make([]float64, len(module.Tiers))
	}
	missed := make([]float64, len(b.episodes))
	for i, e := range b.episodes {
		m.Score += e.outcome.Score / n
		m.Dollars += e.outcome.Dollars / n
		m.Lambda += e.lambda / n
		for module, choice := range e.choices {
			m.Shares[module][choice] += 1 / n
		}
		missed[i] = b.returns[i] - float64(e.value)
	}
	m.Return = stat.Mean(b.returns, nil)
	if variance := stat.PopVariance(b.returns, nil); variance > 0 {
		m.ExplainedVariance = 1 - stat.PopVariance(missed, nil)/variance
	}
}
