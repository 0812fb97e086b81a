package router

import (
	"math"

	"github.com/gomlx/gomlx/core/tensors"
)

// batch holds the episodes of one update.
type batch struct {
	shape    Shape
	episodes []episode
	returns  []float64 // [n]
	values   []float32 // [n] before the update
}

func newBatch(shape Shape, episodes []episode, returns []float64) batch {
	return batch{shape, episodes, returns, make([]float32, len(episodes))}
}

// inputs lays out what the episodes were decided on, filled up with zeros to so many of them, so that every batch has one
// size and GoMLX compiles one graph: queries [size, dim], memories [states·size, dim] state by state, and λ [size, 1].
func (b batch) inputs(size int) (states []*tensors.Tensor, lambda *tensors.Tensor) {
	dim := b.shape.Dim
	queries, memories, lambdas := make([]float32, size*dim), make([]float32, b.shape.states()*size*dim), make([]float32, size)
	for i, e := range b.episodes {
		copy(queries[i*dim:], e.query)
		for state, memory := range e.memory {
			copy(memories[(state*size+i)*dim:], memory)
		}
		lambdas[i] = float32(e.lambda)
	}
	return []*tensors.Tensor{
		tensors.FromFlatDataAndDimensions(queries, size, dim),
		tensors.FromFlatDataAndDimensions(memories, b.shape.states()*size, dim),
	}, tensors.FromFlatDataAndDimensions(lambdas, size, 1)
}

// minibatch lays out the episodes at the given places, at least 2, filled up to size, with their advantages normalised
// among themselves.
func (b batch) minibatch(places []int, size int) minibatch {
	advantages := make([]float64, len(places))
	for i, p := range places {
		advantages[i] = b.returns[p] - float64(b.values[p])
	}
	// The sample's deviation and the small constant are those of PyTorch implementations, which results are compared with.
	centre := mean(advantages)
	spread := std(advantages)*math.Sqrt(float64(len(places))/float64(len(places)-1)) + 1e-8
	m := minibatch{
		places: make([]int32, size), lambda: make([]float32, size), choices: make([]int32, len(b.shape.Modules)*size), logProbs: make([]float32, size),
		advantage: make([]float32, size), returns: make([]float32, size), values: make([]float32, size), weights: make([]float32, size),
	}
	for row := range size {
		place := places[0]
		if row < len(places) {
			place = places[row]
			m.advantage[row] = float32((advantages[row] - centre) / spread)
			m.weights[row] = 1 / float32(len(places))
		}
		e := b.episodes[place]
		joint := 0.0
		for module, choice := range e.choices {
			m.choices[module*size+row] = int32(choice)
			joint += e.logProb[module]
		}
		m.places[row], m.lambda[row], m.logProbs[row] = int32(place), float32(e.lambda), float32(joint)
		m.returns[row], m.values[row] = float32(b.returns[place]), b.values[place]
	}
	return m
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
		missed[i] = b.returns[i] - float64(b.values[i])
	}
	m.Return = mean(b.returns)
	if s := std(b.returns); s > 0 {
		m.ExplainedVariance = 1 - std(missed)*std(missed)/(s*s)
	}
}
