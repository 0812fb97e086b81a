package offline

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

	"github.com/budgetmem/budgetmem/router"
)

// View is what a choice of tiers may look at.
type View string

// The views of Learnable.
const (
	// NoView sees nothing: one ranking of combinations for all questions.
	NoView View = "nothing"
	// EmbeddingView sees what routers see, the query and memory embeddings, and signals if the shape has some.
	EmbeddingView View = "embeddings"
	// SignalView sees the signals alone, for all modules.
	SignalView View = "signals"
	// CategoryView sees the question's category, which no router does.
	CategoryView View = "category"
)

// HeldOut holds the returns of choices by a view on questions that the model was not fitted to.
type HeldOut struct {
	View View
	// Returns[l][q] is the return at the λ with index l of question q, in the order of the questions' first episodes.
	Returns [][]float64
}

// learnableFolds is the number of folds of the cross-validation.
const learnableFolds = 5

// LearnableOptions says what Learnable measures.
type LearnableOptions struct {
	// Lambdas are the weights λ of the returns.
	Lambdas []float64
	// Seed draws the folds.
	Seed uint64
	// Features are further views, measured in this order after the others.
	Features []FeatureView
	// Progress, if not nil, is called as fits finish, never concurrently.
	Progress func(done, of int)
}

// FeatureView is a view by numbers of its own.
type FeatureView struct {
	View View
	// Values has one vector for each episode, all of one width.
	Values [][]float64
}

// Learnable measures what there is to learn from episodes before a router is trained: for each view, the returns of choosing
// by it, cross-validated over questions. A GaussianProcess is fitted to four fifths of the questions; for each other
// question, the choice is the measured combination that the model ranks highest, so that every return was observed and none
// predicted. All views choose among the same combinations. What a view earns beyond NoView can be learned from it, with
// this much data and by this model.
//
// Each question needs several combinations. SignalView is measured only if the shape has signals, CategoryView only if the episodes
// have more than one category.
// A question's combinations are ranked with the embeddings that they led to, also later ones, which a router sees one by one.
//
// Episodes that do not fit the shape, fewer than ten questions, and an ended context (match it with errors.Is) are errors.
func Learnable(ctx context.Context, shape router.Shape, episodes []router.Episode, reward *router.Reward, opts LearnableOptions) ([]HeldOut, error) {
	fail := func(err error) ([]HeldOut, error) { return nil, fmt.Errorf("measure what can be learned: %w", err) }
	shape, err := router.CheckEpisodes(shape, episodes)
	if err != nil {
		return fail(err)
	}
	v := &validation{shape: shape, episodes: episodes, questions: byQuestion(episodes), opts: opts}
	if len(v.questions) < 2*learnableFolds {
		return fail(fmt.Errorf("%d questions; at least %d are needed, to hold out a fifth", len(v.questions), 2*learnableFolds))
	}
	v.scores, v.efficiencies = returnParts(reward, episodes)
	embeddings := grams(shape, episodes)
	views := []view{{NoView, embeddings}, {EmbeddingView, embeddings}}
	if len(shape.Signals) > 0 {
		views = append(views, view{SignalView, slices.Repeat([]*mat.SymDense{signalGram(shape, episodes)}, len(embeddings))})
	}
	if slices.ContainsFunc(episodes, func(e router.Episode) bool { return e.Category != episodes[0].Category }) {
		views = append(views, view{CategoryView, slices.Repeat([]*mat.SymDense{categoryGram(episodes)}, len(embeddings))})
	}
	for _, f := range opts.Features {
		if len(f.Values) != len(episodes) {
			return fail(fmt.Errorf("view %s has features of %d episodes for %d", f.View, len(f.Values), len(episodes)))
		}
		views = append(views, view{f.View, slices.Repeat([]*mat.SymDense{featureGram(f.Values)}, len(embeddings))})
	}
	out, err := v.run(ctx, views)
	if err != nil {
		return fail(err)
	}
	return out, nil
}

// view is a View with the inner products of what it sees, by memory embedding.
type view struct {
	View
	gram []*mat.SymDense
}

// validation is a cross-validation under way.
type validation struct {
	shape                router.Shape
	episodes             []router.Episode
	questions            [][]int // rows of each
	scores, efficiencies []float64
	opts                 LearnableOptions
}

// run fits and evaluates each fold of each view.
func (v *validation) run(ctx context.Context, views []view) ([]HeldOut, error) {
	order := rand.New(rand.NewPCG(v.opts.Seed, 5)).Perm(len(v.questions))
	out := make([]HeldOut, len(views))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	var mu sync.Mutex
	done := 0
	for i, view := range views {
		out[i] = HeldOut{View: view.View, Returns: make([][]float64, len(v.opts.Lambdas))}
		for l := range v.opts.Lambdas {
			out[i].Returns[l] = make([]float64, len(v.questions))
		}
		for fold := range learnableFolds {
			group.Go(func() error {
				if err := ctx.Err(); err != nil {
					return err
				}
				heldOut := map[int]bool{}
				for at := fold; at < len(order); at += learnableFolds {
					heldOut[order[at]] = true
				}
				if err := v.fold(view, heldOut, out[i].Returns); err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				if done++; v.opts.Progress != nil {
					v.opts.Progress(done, len(views)*learnableFolds)
				}
				return nil
			})
		}
	}
	return out, group.Wait()
}

// fold fits to the questions that are not held out, and writes the returns of those that are.
func (v *validation) fold(view view, heldOut map[int]bool, returns [][]float64) error {
	var rows []int
	for q, of := range v.questions {
		if !heldOut[q] {
			rows = append(rows, of...)
		}
	}
	opts := fitOptions{nonContextual: view.View == NoView, seed: v.opts.Seed}
	scores, err := fit(v.shape, v.episodes, view.gram, v.scores, rows, opts)
	if err != nil {
		return err
	}
	efficiencies, err := fit(v.shape, v.episodes, view.gram, v.efficiencies, rows, opts)
	if err != nil {
		return err
	}
	for q := range heldOut {
		score, efficiency := map[int]float64{}, map[int]float64{}
		for _, r := range v.questions[q] {
			own := [][]int{v.episodes[r].Choices}
			score[r], efficiency[r] = scores.predict(r, own)[0], efficiencies.predict(r, own)[0]
		}
		for l, lambda := range v.opts.Lambdas {
			best := slices.MaxFunc(v.questions[q], func(a, b int) int {
				return cmp.Compare(score[a]+lambda*efficiency[a], score[b]+lambda*efficiency[b])
			})
			returns[l][q] = v.scores[best] + lambda*v.efficiencies[best]
		}
	}
	return nil
}

// categoryGram holds the rows' inner products of indicators of their categories, centred, with a mean of 1 on the diagonal.
func categoryGram(episodes []router.Episode) *mat.SymDense {
	n := len(episodes)
	share := map[string]float64{}
	for _, e := range episodes {
		share[e.Category] += 1 / float64(n)
	}
	mean := 0.0 // of all inner products
	for _, s := range share {
		mean += s * s
	}
	g := mat.NewSymDense(n, nil)
	for i, a := range episodes {
		for j, b := range episodes[:i+1] {
			v := mean - share[a.Category] - share[b.Category]
			if a.Category == b.Category {
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
