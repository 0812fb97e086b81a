package frontier

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat"

	"github.com/budgetmem/budgetmem/experiments/calibrate"
	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/cascade"
	"github.com/budgetmem/budgetmem/router/confidence"
)

// crossFolds is how many parts the histories are divided into at most. Questions about each part are answered by a calibration that was
// fitted to questions about the others: what holds within a conversation need not hold in the next.
const crossFolds = 10

// Advantage is by how much the return of cascades is above that of fixed choices, both chosen on other questions than they are measured
// on.
type Advantage struct {
	// Lambdas are the weights of cost, and ByLambda the mean advantage at each.
	Lambdas  []float64 `json:"lambdas"`
	ByLambda []float64 `json:"by_lambda"`
	// Histories is the number of histories that the questions are about. With few of them the interval, which is over questions, is too
	// narrow for what to expect of others.
	Histories int `json:"histories"`
	// Mean is that over all λ, with an interval over questions, and Error its standard error with this number of them.
	Mean  stats.Interval `json:"mean"`
	Error float64        `json:"standard_error"`
}

// crossed are cascades of which each question's was fitted to other questions.
type crossed struct {
	lambdas   []float64
	fold      []int // of each question
	histories int
	played    [][]played // by λ and question
	reward    cascade.Reward
}

// played is what a question earned and cost.
type played struct{ score, dollars float64 }

// errNoCascade means that no cascade can be played on the traces.
var errNoCascade = errors.New("no cascade can be played")

// crossCascades plays a cascade for each λ on every question, by a calibration that was fitted to other questions. Where there can be
// none, since answers come without signals or are too few, that is an errNoCascade.
func crossCascades(f *episodes.File, ids []string, o BoughtOptions) (*crossed, error) {
	measured, notes := calibrate.Measured(f)
	groups, of := calibrate.Complete(measured, notes)
	if len(measured[0].Answers) < 2 {
		return nil, fmt.Errorf("%w: the traces have one way of answering", errNoCascade)
	}
	if len(groups) == 0 || len(groups[0]) != len(ids) {
		return nil, fmt.Errorf("%w: not every question has an answer of every tier from the same notes", errNoCascade)
	}
	x := &crossed{lambdas: DefaultLambdas(), fold: make([]int, len(ids)), reward: f.Reward(true).Fixed()}
	for range x.lambdas {
		x.played = append(x.played, make([]played, len(ids)))
	}
	about := episodes.Histories(ids)
	if x.histories = len(about); x.histories == 1 { // there is no other one to choose on
		about = nil
		for q := range ids {
			about = append(about, []int{q})
		}
	}
	for i, h := range rand.New(rand.NewPCG(uint64(o.Seed), 4)).Perm(len(about)) {
		for _, q := range about[h] {
			x.fold[q] = i % crossFolds
		}
	}
	at := map[string]int{}
	for q, id := range ids {
		at[id] = q
	}
	for k := range crossFolds {
		others := f.Where(func(e router.Episode) bool { return x.fold[at[e.ID]] != k })
		c, err := calibrate.Fit(calibrate.Options{Validation: others, Models: f.Space[len(f.Space)-1].Tiers, Signals: o.Signals, Lambdas: x.lambdas})
		if errors.Is(err, cascade.ErrNoSignals) || errors.Is(err, confidence.ErrTooFew) {
			return nil, fmt.Errorf("%w: %w", errNoCascade, err)
		}
		if err != nil {
			return nil, err
		}
		for l, lambda := range x.lambdas {
			begin, err := f.Space.Choices(c.At(lambda).Tiers)
			if err != nil {
				return nil, err
			}
			last := len(begin) - 1
			g := slices.IndexFunc(of, func(n []int) bool { return slices.Equal(n, begin[:last]) })
			if g < 0 {
				return nil, fmt.Errorf("%w: not every question has an answer of every tier from the notes %v", errNoCascade, c.At(lambda).Tiers[:last])
			}
			for _, m := range groups[g] {
				if q := at[m.Question]; x.fold[q] == k {
					score, dollars, _ := c.Play(m, begin[last], lambda) // all are measured
					x.played[l][q] = played{score, dollars}
				}
			}
		}
	}
	return x, nil
}

// shown are the cascades that a table has.
func (x *crossed) shown() []Priced {
	var out []Priced
	for _, lambda := range []float64{0, 0.1, 0.2, 0.4} {
		p := Priced{Name: fmt.Sprintf("cascade at λ %g", lambda), Cascade: true}
		for _, m := range x.played[slices.Index(x.lambdas, lambda)] {
			p.scores, p.dollars = append(p.scores, m.score), append(p.dollars, m.dollars)
			p.Dollars += m.dollars / float64(len(x.fold))
		}
		out = append(out, p)
	}
	return out
}

// advantage compares with the fixed choice that has the highest return at each λ on the questions of the other folds.
func (x *crossed) advantage(fixed []Priced, seed int64) *Advantage {
	a := &Advantage{Histories: x.histories, Lambdas: x.lambdas, ByLambda: make([]float64, len(x.lambdas))}
	gains := make([]float64, len(x.fold))
	for l, lambda := range x.lambdas {
		earned := func(p Priced, q int) float64 { return x.reward.Return(p.scores[q], p.dollars[q], lambda) }
		for k := range crossFolds {
			best, top := 0, math.Inf(-1)
			for i, p := range fixed {
				sum := 0.0
				for q := range x.fold {
					if x.fold[q] != k {
						sum += earned(p, q)
					}
				}
				if sum > top {
					best, top = i, sum
				}
			}
			for q, m := range x.played[l] {
				if x.fold[q] == k {
					gain := x.reward.Return(m.score, m.dollars, lambda) - earned(fixed[best], q)
					a.ByLambda[l] += gain / float64(len(x.fold))
					gains[q] += gain / float64(len(x.lambdas))
				}
			}
		}
	}
	a.Mean = stats.Bootstrap(gains, seed)
	a.Error = stat.StdErr(stat.StdDev(gains, nil), float64(len(gains)))
	return a
}

// String is the comparison in one sentence.
func (a *Advantage) String() string {
	chosen := "histories"
	if a.Histories == 1 {
		chosen = "questions"
	}
	return fmt.Sprintf("The return of cascades, averaged over λ, is %+.4f %s above that of the best fixed choice at each λ (%d questions about %d histories, standard error over questions %.4f; both are chosen on other %s).",
		a.Mean.Mean, spread(a.Mean, "%+.4f"), a.Mean.N, a.Histories, a.Error, chosen)
}
