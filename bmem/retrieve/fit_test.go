//go:build fit

package retrieve

import (
	"encoding/json"
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/optimize"

	"github.com/budgetmem/budgetmem/datasets"
	"github.com/budgetmem/budgetmem/internal/atomicfile"
)

// penalty is the weight of the squared standardised weights in the objective, beside a sum over questions. Chosen on training
// conversations held out in turn; between 0.3 and 10 recall moves by less than 0.01.
const penalty = 1.0

// example is one question of the fit.
type example struct {
	datasets.Question
	query    Query
	hybrid   *hybrid
	rows     [][]float64 // of the turns that are ranked
	evidence []int       // rows
	weight   float64     // in the objective
}

// TestFitWeights is the program that made weights.json: go test ./bmem/retrieve -tags fit -run TestFitWeights -v
//
// It fits on the LoCoMo training questions alone, prints the recall of fits that leave out two of the six conversations each on these, and of
// the final one on the validation questions. Nothing in it is random.
func TestFitWeights(t *testing.T) {
	b := newBench(t)
	d := dataset(t, "locomo")
	train, validation := b.examples(t, d, datasets.Train, Hybrid), b.examples(t, d, datasets.Validation, Hybrid)

	var histories []string
	for _, e := range train {
		if !slices.Contains(histories, e.History) {
			histories = append(histories, e.History)
		}
	}
	slices.Sort(histories)
	var held recalls
	for i := 0; i < len(histories); i += 2 {
		out := histories[i:min(i+2, len(histories))]
		isOut := func(e *example) bool { return slices.Contains(out, e.History) }
		m := fitModel(t, slices.DeleteFunc(slices.Clone(train), isOut))
		for _, e := range train {
			if isOut(e) {
				held.add(e.Question, e.rank(t, m))
			}
		}
	}
	t.Logf("training, each conversation held out %v", held)
	m := fitModel(t, train)
	var final recalls
	for _, e := range validation {
		final.add(e.Question, e.rank(t, m))
	}
	t.Logf("validation                           %v", final)
	for _, line := range calibration(validation, m) {
		t.Log(line)
	}

	m.About = map[string]any{
		"made_by":    "go test ./bmem/retrieve -tags fit -run TestFitWeights",
		"data":       "LoCoMo, training questions with evidence (conversations 0 to 5), " + d.Hash(),
		"questions":  len(train),
		"embedder":   b.embedder.ID(),
		"chunks":     d.ChunkTokens(),
		"objective":  "mean log-softmax of the evidence turns over the memory's turns, minus penalty times the squared standardised weights; L-BFGS; no randomness",
		"penalty":    penalty,
		"recall_of":  "evidence turns inside the top 2, 5, 10 chunks",
		"held_out":   rounded(held),
		"validation": rounded(final),
	}
	writeModel(t, "weights.json", m)
}

// TestFitRerank is the program that made rerank.json: BUDGETMEM_DATA=FOLDER go test ./bmem/retrieve -tags fit -run TestFitRerank -v -timeout 1h
//
// The folder has LongMemEval's training and validation histories. It fits on training questions of LoCoMo and LongMemEval, which count the
// same together, and prints recall on validation questions of both. Nothing in it is random.
func TestFitRerank(t *testing.T) {
	b := newBench(t)
	about := map[string]any{
		"made_by":   "BUDGETMEM_DATA=FOLDER go test ./bmem/retrieve -tags fit -run TestFitRerank",
		"embedder":  b.embedder.ID(),
		"objective": "as in weights.json, over the turns of the candidates, both data sets together of the same weight",
		"penalty":   penalty, "recall_of": "evidence turns inside the top 2, 5, 10 chunks",
	}
	var train []*example
	var sets []datasets.Dataset
	for _, name := range []string{"locomo", "longmemeval"} {
		d := dataset(t, name)
		examples := slices.DeleteFunc(b.examples(t, d, datasets.Train, Rerank), func(e *example) bool { return len(e.evidence) == 0 })
		for _, e := range examples {
			e.weight = 1000 / float64(len(examples))
		}
		about[name] = map[string]any{"data": d.Hash(), "chunks": d.ChunkTokens(), "questions": len(examples)}
		train, sets = append(train, examples...), append(sets, d)
	}
	m := fitModel(t, train)
	hybrid, err := fittedHybrid()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range sets {
		var final, byHybrid recalls
		for _, e := range b.examples(t, d, datasets.Validation, Rerank) {
			final.add(e.Question, e.rank(t, m))
			byHybrid.add(e.Question, e.rank(t, hybrid))
		}
		words, _ := b.measure(t, d, datasets.Validation, BM25)
		t.Logf("%-12s validation %v\nby hybrid's weights     %v\nby BM25                 %v", d.Name(), final, byHybrid, words)
		of := about[d.Name()].(map[string]any)
		of["validation_questions"], of["validation"], of["validation_by_hybrids_weights"], of["validation_by_bm25"] = final.n, rounded(final), rounded(byHybrid), rounded(words)
	}
	for _, line := range calibration(train, m) {
		t.Log(line)
	}
	m.About = about
	writeModel(t, "rerank.json", m)
}

func writeModel(t *testing.T, file string, m *model) {
	t.Helper()
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.WriteFile(file, append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func rounded(r recalls) []float64 {
	var out []float64
	for _, v := range r.chunks[1:] {
		out = append(out, math.Round(1000*v/float64(r.n))/1000)
	}
	return out
}

// mostHistories is of how many histories examples are made, the first ones of a split. LongMemEval has 297 long ones for training, and
// 98 for validation, which are all taken.
const mostHistories = 120

// examples computes the features of a split's questions, of all turns or, for Rerank, of those of the candidates.
func (b *bench) examples(t *testing.T, d datasets.Dataset, split datasets.Split, mode Mode) []*example {
	t.Helper()
	qs := questions(t, d, split)
	retrievers := map[string]*hybrid{}
	var out []*example
	for i, query := range b.queries(t, qs) {
		q := qs[i]
		h := retrievers[q.History]
		if h == nil {
			if len(retrievers) == mostHistories {
				continue
			}
			h = b.retriever(t, d, q.History, mode).ranker.(*hybrid)
			retrievers[q.History] = h
		}
		e := &example{Question: q, query: query, hybrid: h, weight: 1}
		var v *view
		var chunks []int
		err := query.embedding(t.Context(), func(known map[string][]float32) (missing []string, err error) {
			v, chunks, _, missing = h.look(query, nil, deepest, known)
			return missing, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var turns []int
		for _, c := range chunks {
			for at, turn := range h.chunks[c].Turns {
				if slices.Contains(q.Evidence, turn.ID) {
					e.evidence = append(e.evidence, len(turns))
				}
				turns = append(turns, h.corpus.first[c]+at)
			}
		}
		e.rows = v.features(turns)
		out = append(out, e)
	}
	return out
}

// rank orders the example's memory by a model.
func (e *example) rank(t *testing.T, m *model) (hits []Hit) {
	t.Helper()
	h := *e.hybrid
	h.model = m
	k := 1 << 20
	if h.byWords {
		k = deepest
	}
	err := e.query.embedding(t.Context(), func(known map[string][]float32) (missing []string, err error) {
		hits, missing = h.rank(e.query, k, known)
		return missing, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return hits
}

// fitModel maximises the likelihood of the evidence, then calibrates the probabilities.
func fitModel(t *testing.T, examples []*example) *model {
	t.Helper()
	d := len(featureNames)
	means, scales := moments(examples)
	m := &model{Weights: make([]weight, d)}
	use := func(x []float64) {
		for j := range x {
			m.Weights[j] = weight{featureNames[j], x[j] / scales[j]}
		}
	}
	// loss returns the objective at x and, if gradient is not nil, its derivative.
	loss := func(x, gradient []float64) float64 {
		use(x)
		total := 0.0
		for j := range x {
			total += penalty * x[j] * x[j]
			if gradient != nil {
				gradient[j] = 2 * penalty * x[j]
			}
		}
		for _, e := range examples {
			logs := m.shares(m.logits(e.rows), nil, 0)
			each := 1 / float64(len(e.evidence))
			for _, u := range e.evidence {
				total -= e.weight * each * logs[u]
			}
			if gradient == nil {
				continue
			}
			for u, row := range e.rows {
				p := math.Exp(logs[u])
				if slices.Contains(e.evidence, u) {
					p -= each
				}
				for j, v := range row {
					gradient[j] += e.weight * p * (v - means[j]) / scales[j]
				}
			}
		}
		return total
	}
	problem := optimize.Problem{
		Func: func(x []float64) float64 { return loss(x, nil) },
		Grad: func(gradient, x []float64) { loss(x, gradient) },
	}
	settings := &optimize.Settings{MajorIterations: 80, Converger: &optimize.FunctionConverge{Relative: 1e-6, Iterations: 5}}
	result, err := optimize.Minimize(problem, make([]float64, d), settings, &optimize.LBFGS{})
	if err != nil {
		t.Fatal(err)
	}
	use(result.X)
	m.Slope, m.Offset = platt(examples, m)
	return m
}

// moments returns the mean and the deviation of each feature over all turns of all examples.
func moments(examples []*example) (means, scales []float64) {
	means, scales = make([]float64, len(featureNames)), make([]float64, len(featureNames))
	n := 0.0
	for _, e := range examples {
		for _, row := range e.rows {
			n++
			for j, v := range row {
				means[j] += v
				scales[j] += v * v
			}
		}
	}
	for j := range means {
		means[j] /= n
		scales[j] = math.Sqrt(max(0, scales[j]/n-means[j]*means[j])) + 1e-6
	}
	return means, scales
}

// platt fits the logistic regression of being evidence on ln share, by Newton's method.
func platt(examples []*example, m *model) (slope, offset float64) {
	slope, offset = 1, 0
	for range 50 {
		var g0, g1, h00, h01, h11 float64
		for _, e := range examples {
			for u, s := range m.shares(m.logits(e.rows), nil, 0) {
				p := 1 / (1 + math.Exp(-slope*s-offset))
				r, w := e.weight*(indicator(slices.Contains(e.evidence, u))-p), e.weight*p*(1-p)
				g0, g1 = g0+r, g1+r*s
				h00, h01, h11 = h00+w, h01+w*s, h11+w*s*s
			}
		}
		det := h00*h11 - h01*h01
		slope += (h00*g1 - h01*g0) / det
		offset += (h11*g0 - h01*g1) / det
	}
	return slope, offset
}
