package offline

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"

	"github.com/budgetmem/budgetmem/router"
)

// Choices holds a combination of tiers for each λ and question: Choices[l][q].
type Choices [][][]int

// regressionRows bounds the episodes that a regression is fitted to, because its work grows with their cube.
const regressionRows = 1200

// ChooseByFeatures is the baseline of a regression on features of the question: a GaussianProcess with the inner products of
// features in place of those of embeddings is fitted to measured episodes, and each asked question gets the combination with the
// highest predicted return. features has one vector for each measured episode and then one for each asked question. Only the
// question of an asked episode is looked at. Of more than 1,200 measured episodes that many are drawn by the seed. Episodes that do not fit the shape are an error.
func ChooseByFeatures(shape router.Shape, measured, asked []router.Episode, features [][]float64, reward *router.Reward, lambdas []float64, seed uint64) (Choices, error) {
	fail := func(err error) (Choices, error) {
		return nil, fmt.Errorf("choose by a regression on features: %w", err)
	}
	all := slices.Concat(measured, asked)
	shape, err := router.CheckEpisodes(shape, all)
	if err != nil {
		return fail(err)
	}
	if len(features) != len(all) {
		return fail(fmt.Errorf("features of %d episodes for %d", len(features), len(all)))
	}
	combinations, err := shape.Modules.Combinations()
	if err != nil {
		return fail(err)
	}
	shape.MemoryIndex, shape.Signals = make([]int, len(shape.Modules)), nil // all modules look at the same
	gram := []*mat.SymDense{featureGram(features)}
	rows := indices(len(measured))
	if len(rows) > regressionRows {
		rows = rand.New(rand.NewPCG(seed, 7)).Perm(len(measured))[:regressionRows]
		slices.Sort(rows)
	}
	parts := make([]*GaussianProcess, 2)
	scores, efficiencies := returnParts(reward, all)
	for i, values := range [][]float64{scores, efficiencies} {
		if parts[i], err = fit(shape, all, gram, values, rows, fitOptions{seed: seed}); err != nil {
			return fail(err)
		}
	}
	out := make(Choices, len(lambdas))
	for q := range asked {
		score, efficiency := parts[0].predict(len(measured)+q, combinations), parts[1].predict(len(measured)+q, combinations)
		for l, lambda := range lambdas {
			best := slices.MaxFunc(indices(len(combinations)), func(a, b int) int {
				return cmp.Compare(score[a]+lambda*efficiency[a], score[b]+lambda*efficiency[b])
			})
			out[l] = append(out[l], combinations[best])
		}
	}
	return out, nil
}

// featureGram holds the inner products of feature vectors, centred, with a mean of 1 on the diagonal.
func featureGram(features [][]float64) *mat.SymDense {
	n, d := len(features), len(features[0])
	f := mat.NewDense(n, max(d, 1), nil)
	for r, row := range features {
		copy(f.RawRowView(r), row)
	}
	for c := range d {
		col := mat.Col(nil, c, f)
		mean := stat.Mean(col, nil)
		for r := range n {
			f.Set(r, c, col[r]-mean)
		}
	}
	g := mat.NewSymDense(n, nil)
	g.SymOuterK(1, f)
	if trace := mat.Trace(g); trace > 0 {
		g.ScaleSym(float64(n)/trace, g)
	}
	return g
}
