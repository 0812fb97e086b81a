package offline

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"

	"github.com/budgetmem/budgetmem/router"
)

// neighbours are the numbers of nearest questions that NearestNeighbours tries; 0 stands for all.
var neighbours = []int{5, 10, 20, 40, 80, 0}

// nearestPenalty is the weight of the squared effects in the regression among neighbours, in episodes.
const nearestPenalty = 1.0

// NearestNeighbours is the baseline of k-nearest-neighbour regression, as RouterBench (Hu et al. 2024) has it: of the measured
// questions the k whose query embeddings are nearest to an asked one by cosine say which tiers it gets. As few combinations are
// measured of each, their returns, less the question's mean, are regressed on the tiers (ridge regression with one effect for each
// tier of each module), and each module gets the tier with the highest effect. k is the one of 5, 10, 20, 40, 80 and all that
// earns most on the measured questions when each is left out and gets its measured combination with the highest sum of effects. It
// returns the k of each λ too.
func NearestNeighbours(shape router.Shape, measured, asked []router.Episode, reward *router.Reward, lambdas []float64) (Choices, []int, error) {
	shape, err := router.CheckEpisodes(shape, slices.Concat(measured, asked))
	if err != nil {
		return nil, nil, fmt.Errorf("choose by nearest neighbours: %w", err)
	}
	n := &nearest{modules: shape.Modules, episodes: measured, questions: byQuestion(measured)}
	n.scores, n.efficiencies = returnParts(reward, measured)
	n.prepare()
	counts := make([]int, len(lambdas))
	out := make(Choices, len(lambdas))
	held := make([][][]float64, len(neighbours)) // [k][question] effects of scores, then of efficiencies
	for i, k := range neighbours {
		for q, rows := range n.questions {
			held[i] = append(held[i], n.effects(measured[rows[0]].Query, k, q))
		}
	}
	for l, lambda := range lambdas {
		best, most := 0, math.Inf(-1)
		for i := range neighbours {
			sum := 0.0
			for q, rows := range n.questions {
				top := slices.MaxFunc(rows, func(a, b int) int {
					return cmp.Compare(n.value(held[i][q], measured[a].Choices, lambda), n.value(held[i][q], measured[b].Choices, lambda))
				})
				sum += n.scores[top] + lambda*n.efficiencies[top]
			}
			if sum > most {
				best, most = i, sum
			}
		}
		counts[l] = neighbours[best]
		if counts[l] == 0 || counts[l] > len(n.questions) {
			counts[l] = len(n.questions)
		}
		for _, e := range asked {
			effects := n.effects(e.Query, neighbours[best], -1)
			choices := make([]int, len(n.modules))
			for m, module := range n.modules {
				choices[m] = slices.MaxFunc(indices(len(module.Tiers)), func(a, b int) int {
					return cmp.Compare(n.effect(effects, m, a, lambda), n.effect(effects, m, b, lambda))
				})
			}
			out[l] = append(out[l], choices)
		}
	}
	return out, counts, nil
}

// nearest holds what regressions among neighbours share.
type nearest struct {
	modules              router.Space
	episodes             []router.Episode
	questions            [][]int
	scores, efficiencies []float64
	width                int // tiers of all modules
	offset               []int
	// Of each question, the sums over its episodes that a regression needs, about the question's means: of the products of tier
	// indicators [width·width], and of their products with both parts of the return [2·width].
	products, targets [][]float64
}

func (n *nearest) prepare() {
	for _, m := range n.modules {
		n.offset = append(n.offset, n.width)
		n.width += len(m.Tiers)
	}
	for _, rows := range n.questions {
		mean, parts := make([]float64, n.width), [2]float64{}
		for _, r := range rows {
			for m, tier := range n.episodes[r].Choices {
				mean[n.offset[m]+tier] += 1 / float64(len(rows))
			}
			parts[0] += n.scores[r] / float64(len(rows))
			parts[1] += n.efficiencies[r] / float64(len(rows))
		}
		products, targets := make([]float64, n.width*n.width), make([]float64, 2*n.width)
		for _, r := range rows {
			x := make([]float64, n.width)
			for i := range x {
				x[i] = -mean[i]
			}
			for m, tier := range n.episodes[r].Choices {
				x[n.offset[m]+tier]++
			}
			for i := range x {
				for j := range x {
					products[i*n.width+j] += x[i] * x[j]
				}
				targets[i] += x[i] * (n.scores[r] - parts[0])
				targets[n.width+i] += x[i] * (n.efficiencies[r] - parts[1])
			}
		}
		n.products, n.targets = append(n.products, products), append(n.targets, targets)
	}
}

// effects regresses among the k questions nearest to a query, 0 for all, without the one of index left. It returns the effects of
// the tiers on scores, then those on efficiencies.
func (n *nearest) effects(query []float32, k, left int) []float64 {
	order := slices.DeleteFunc(indices(len(n.questions)), func(q int) bool { return q == left })
	if k > 0 && k < len(order) {
		similarity := make([]float64, len(n.questions))
		for _, q := range order {
			similarity[q] = cosine(query, n.episodes[n.questions[q][0]].Query)
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(similarity[b], similarity[a]) })
		order = order[:k]
	}
	a, b := mat.NewSymDense(n.width, nil), mat.NewDense(n.width, 2, nil)
	for i := range n.width {
		for j := i; j < n.width; j++ {
			sum := 0.0
			for _, q := range order {
				sum += n.products[q][i*n.width+j]
			}
			if i == j {
				sum += nearestPenalty
			}
			a.SetSym(i, j, sum)
		}
		for part := range 2 {
			sum := 0.0
			for _, q := range order {
				sum += n.targets[q][part*n.width+i]
			}
			b.Set(i, part, sum)
		}
	}
	var chol mat.Cholesky
	var solved mat.Dense
	out := make([]float64, 2*n.width)
	if chol.Factorize(a) && chol.SolveTo(&solved, b) == nil { // the penalty makes it positive definite
		for i := range n.width {
			out[i], out[n.width+i] = solved.At(i, 0), solved.At(i, 1)
		}
	}
	return out
}

func (n *nearest) effect(effects []float64, module, tier int, lambda float64) float64 {
	i := n.offset[module] + tier
	return effects[i] + lambda*effects[n.width+i]
}

func (n *nearest) value(effects []float64, choices []int, lambda float64) float64 {
	sum := 0.0
	for m, tier := range choices {
		sum += n.effect(effects, m, tier, lambda)
	}
	return sum
}

func cosine(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}
