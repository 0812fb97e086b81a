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
// weights were fitted by maximum likelihood of that softmax). For Rerank the turns are those of the candidates. The probability that the turn itself is evidence is
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

//go:embed rerank.json
var rerankFile []byte

// The shipped models, of Hybrid and of Rerank, which TestFitWeights and TestFitRerank made.
var (
	fittedHybrid = sync.OnceValues(func() (*model, error) { return parseModel(weightsFile) })
	fittedRerank = sync.OnceValues(func() (*model, error) { return parseModel(rerankFile) })
)

// parseModel reads a model and checks that it is for these features.
func parseModel(data []byte) (*model, error) {
	var m model
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("weights of retrieval: %w", err)
	}
	if len(m.Weights) != len(featureNames) {
		return nil, fmt.Errorf("weights of retrieval: %d features, this program has %d; fit them again", len(m.Weights), len(featureNames))
	}
	for i, w := range m.Weights {
		if w.Feature != featureNames[i] {
			return nil, fmt.Errorf("weights of retrieval: feature %d is %q, want %q; fit them again", i, w.Feature, featureNames[i])
		}
	}
	return &m, nil
}

// logits returns each turn's score.
func (m *model) logits(rows [][]float64) []float64 {
	logs := make([]float64, len(rows))
	for i, row := range rows {
		for j, x := range row {
			logs[i] += m.Weights[j].Weight * x
		}
	}
	return logs
}

// shares turns the scores of turns into ln of each one's share of the evidence. rest are scores of turns that count as well, each
// weight times.
func (m *model) shares(logs, rest []float64, weight float64) []float64 {
	highest := math.Inf(-1)
	for _, s := range logs {
		highest = max(highest, s)
	}
	for _, s := range rest {
		highest = max(highest, s)
	}
	if math.IsInf(highest, -1) { // nothing may be seen
		return logs
	}
	sum := 0.0
	for _, s := range logs {
		sum += math.Exp(s - highest)
	}
	for _, s := range rest {
		sum += weight * math.Exp(s-highest)
	}
	for i := range logs {
		logs[i] -= highest + math.Log(sum)
	}
	return logs
}

// probabilities turns the scores of turns into the probability of each to be evidence; see shares.
func (m *model) probabilities(logs, rest []float64, weight float64) []float64 {
	p := m.shares(logs, rest, weight)
	for i, s := range p {
		p[i] = 1 / (1 + math.Exp(-m.Slope*s-m.Offset))
	}
	return p
}
