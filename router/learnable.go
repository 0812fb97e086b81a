package router

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"gonum.org/v1/gonum/mat"
)

// A View is what choosing question by question may look at.
type View string

// The views of Learnable.
const (
	// NoView sees nothing: one order of combinations for all questions.
	NoView View = "nothing"
	// EmbeddingView sees what routers see, the query and memory embeddings.
	EmbeddingView View = "embeddings"
	// LabelView sees a label of the question, such as its category in a benchmark, which no router is told.
	LabelView View = "label"
)

// HeldOut is what choices by a view brought on questions that the outcome model was not fitted to.
type HeldOut struct {
	View View
	// Returns[l][q] is the return at the λ number l of question q.
	Returns [][]float64
}

// learnableFolds is how many times a part of the questions is held out.
const learnableFolds = 5

// Learnable tells what there is to learn from traces, before a router is trained on them: for each view the returns of
// choosing by it, cross-validated. The outcome model of LearnOffline is fitted to four fifths of the questions, and of each other
// question's traced combinations that is taken which it holds to be best, so that every return was observed and none
// predicted. All views choose among the same combinations; what one earns beyond NoView is what can be learned from it, with
// this much data and by this model.
//
// logged has several combinations a question. labels, if any, are one an episode, equal within a question. A question's
// combinations are judged by the states that they led to, later ones included, which a router sees one after the other.
// progress, if not nil, is called as fits are done, never twice at one time.
func Learnable(ctx context.Context, shape Shape, logged []Logged, labels []string, reward *Reward, lambdas []float64, seed uint64,
	progress func(done, of int)) ([]HeldOut, error) {
	fail := func(err error) ([]HeldOut, error) { return nil, fmt.Errorf("see what can be learned: %w", err) }
	shape, err := shapeOf(shape, logged)
	if err != nil {
		return fail(err)
	}
	v := &validation{shape: shape, logged: logged, questions: byQuestion(logged)}
	if len(v.questions) < 2*learnableFolds {
		return fail(fmt.Errorf("%d questions; at least %d are needed, to hold out a fifth", len(v.questions), 2*learnableFolds))
	}
	v.scores, v.efficiencies = reward.parts(logged)
	order := rand.New(rand.NewPCG(seed, 5)).Perm(len(v.questions))
	embeddings := grams(shape, logged)
	type view struct {
		View
		gram []*mat.SymDense
	}
	views := []view{{NoView, embeddings}, {EmbeddingView, embeddings}}
	if len(labels) > 0 {
		if len(labels) != len(logged) {
			return fail(fmt.Errorf("%d labels for %d episodes", len(labels), len(logged)))
		}
		views = append(views, view{LabelView, slices.Repeat([]*mat.SymDense{labelGram(labels)}, shape.states())})
	}

	out := make([]HeldOut, len(views))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	var mu sync.Mutex
	done := 0
	for i, view := range views {
		out[i] = HeldOut{View: view.View, Returns: make([][]float64, len(lambdas))}
		for l := range lambdas {
			out[i].Returns[l] = make([]float64, len(v.questions))
		}
		for fold := range learnableFolds {
			group.Go(func() error {
				if err := ctx.Err(); err != nil {
					return err
				}
				held := map[int]bool{}
				for at := fold; at < len(order); at += learnableFolds {
					held[order[at]] = true
				}
				if err := v.fold(view.gram, view.View == NoView, held, lambdas, seed, out[i].Returns); err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				if done++; progress != nil {
					progress(done, len(views)*learnableFolds)
				}
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		return fail(err)
	}
	return out, nil
}

// validation is a cross-validation under way.
type validation struct {
	shape                Shape
	logged               []Logged
	questions            [][]int // rows of each
	scores, efficiencies []float64
}

// byQuestion lists the rows of each question, in the order in which the questions come up.
func byQuestion(logged []Logged) [][]int {
	var out [][]int
	place := map[int]int{}
	for r, l := range logged {
		q, ok := place[l.Question]
		if !ok {
			q = len(out)
			place[l.Question] = q
			out = append(out, nil)
		}
		out[q] = append(out[q], r)
	}
	return out
}

// fold fits to the questions that are not held out, and writes the returns of those that are.
func (v *validation) fold(gram []*mat.SymDense, blind bool, held map[int]bool, lambdas []float64, seed uint64, returns [][]float64) error {
	var rows []int
	for q, of := range v.questions {
		if !held[q] {
			rows = append(rows, of...)
		}
	}
	scores, err := fitOutcome(v.shape, v.logged, gram, v.scores, rows, blind, seed)
	if err != nil {
		return err
	}
	efficiencies, err := fitOutcome(v.shape, v.logged, gram, v.efficiencies, rows, blind, seed)
	if err != nil {
		return err
	}
	for q := range held {
		score, efficiency := map[int]float64{}, map[int]float64{}
		for _, r := range v.questions[q] {
			own := [][]int{v.logged[r].Choices}
			score[r], efficiency[r] = scores.predict(r, own)[0], efficiencies.predict(r, own)[0]
		}
		for l, lambda := range lambdas {
			best := slices.MaxFunc(v.questions[q], func(a, b int) int {
				return cmp.Compare(score[a]+lambda*efficiency[a], score[b]+lambda*efficiency[b])
			})
			returns[l][q] = v.scores[best] + lambda*v.efficiencies[best]
		}
	}
	return nil
}

// labelGram has the rows' inner products of indicators of their labels, centred, with a mean of 1 on the diagonal.
func labelGram(labels []string) *mat.SymDense {
	n := len(labels)
	times := map[string]float64{}
	for _, l := range labels {
		times[l] += 1 / float64(n)
	}
	among := 0.0
	for _, share := range times {
		among += share * share
	}
	g := mat.NewSymDense(n, nil)
	for i, a := range labels {
		for j, b := range labels[:i+1] {
			v := among - times[a] - times[b]
			if a == b {
				v++
			}
			g.SetSym(i, j, v)
		}
	}
	if trace := mat.Trace(g); trace > 0 {
		g.ScaleSym(float64(n)/trace, g)
	}
	return g
}
