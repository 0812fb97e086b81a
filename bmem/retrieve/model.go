package retrieve

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"sync"
)

// model turns the features of all turns of a memory into probabilities.
//
// A turn's score is s = Σ weight·feature. Among the turns of the memory, e^s/Σe^s is the share that the turn has of the evidence (the
// weights were fitted by maximum likelihood of that softmax). The probability that the turn itself is evidence is
// 1/(1 + e^−(slope·ln share + offset)).
type model struct {
	// About says how the weights were made; it is for readers.
	About   map[string]any `json:"about"`
	Weights []weight       `json:"weights"`
	Slope   float64        `json:"slope"`
	Offset  float64        `json:"offset"`
}

type weight struct {
	Feature string  `json:"feature"`
	Weight  float64 `json:"weight"`
}

//go:embed weights.json
var weightsFile []byte

// fitted returns the shipped model. TestFitWeights made it; with -fit it makes it anew.
var fitted = sync.OnceValues(func() (*model, error) { return parseModel(weightsFile) })

// parseModel reads a model and checks that it is for these features.
func parseModel(data []byte) (*model, error) {
	var m model
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("weights of hybrid retrieval: %w", err)
	}
	if len(m.Weights) != len(featureNames) {
		return nil, fmt.Errorf("weights of hybrid retrieval: %d features, this program has %d; fit them anew", len(m.Weights), len(featureNames))
	}
	for i, w := range m.Weights {
		if w.Feature != featureNames[i] {
			return nil, fmt.Errorf("weights of hybrid retrieval: feature %d is %q, want %q; fit them anew", i, w.Feature, featureNames[i])
		}
	}
	return &m, nil
}

// shares returns ln of each turn's share of the evidence.
func (m *model) shares(rows [][]float64) []float64 {
	logs := make([]float64, len(rows))
	highest := math.Inf(-1)
	for i, row := range rows {
		for j, x := range row {
			logs[i] += m.Weights[j].Weight * x
		}
		highest = max(highest, logs[i])
	}
	sum := 0.0
	for _, s := range logs {
		sum += math.Exp(s - highest)
	}
	for i := range logs {
		logs[i] -= highest + math.Log(sum)
	}
	return logs
}

// probabilities returns for each turn the probability that it is evidence.
func (m *model) probabilities(rows [][]float64) []float64 {
	p := m.shares(rows)
	for i, s := range p {
		p[i] = 1 / (1 + math.Exp(-m.Slope*s-m.Offset))
	}
	return p
}
