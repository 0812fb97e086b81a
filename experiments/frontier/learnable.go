package frontier

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/report"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/kernel/chart"
	"github.com/budgetmem/budgetmem/router"
	"github.com/budgetmem/budgetmem/router/offline"
)

// Learnable estimates what a router can learn from episodes: the cross-validated gain of choosing by question over one ranking
// of combinations for all questions. Scale is the reward's α. See offline.Learnable.
type Learnable struct {
	Dataset   string    `json:"dataset"`
	Splits    []string  `json:"splits"`
	Questions int       `json:"questions"`
	Episodes  int       `json:"traces"`
	Lambdas   []float64 `json:"lambdas"`
	Scale     float64   `json:"reward_scale"`
	// Views holds the result of choosing by each view; the first sees nothing of the question.
	Views []LearnableView `json:"views"`
}

// LearnableView is the result of choosing by a view on held-out questions.
type LearnableView struct {
	View offline.View `json:"view"`
	// Returns are the mean returns, one per λ. Gains are the paired differences to the first view, one per λ and the last for the
	// mean over the λs; nil for the first view.
	Returns []float64        `json:"returns"`
	Gains   []stats.Interval `json:"gains,omitempty"`
}

// wordsView sees the words of the question.
const wordsView offline.View = "words"

// hindsight is the view that knows the outcomes; it bounds the others.
const hindsight offline.View = "outcomes"

// learnableLambdas are those of a Learnable.
var learnableLambdas = []float64{0, 0.1, 0.2, 0.5, 1}

// MeasureLearnable computes Learnable on the questions of several files together, such as training and validation, which must
// have episodes of the same system. progress, if not nil, is called after each fit. The errors are those of episodes.Join and
// offline.Learnable.
func MeasureLearnable(ctx context.Context, files []*episodes.File, seed int64, progress func(done, of int)) (*Learnable, error) {
	all, err := episodes.Join(files...)
	if err != nil {
		return nil, err
	}
	r := &Learnable{Lambdas: learnableLambdas, Splits: all.Splits()}
	if err := all.Usable(); err != nil {
		return nil, err
	}
	reward := all.Reward(true)
	r.Dataset, r.Questions, r.Episodes, r.Scale = all.Dataset, len(all.IDs()), len(all.Episodes), reward.Scale()
	features := featureViews(all.Episodes)
	held, err := offline.Learnable(ctx, all.Shape(), all.Episodes, reward, offline.LearnableOptions{Lambdas: r.Lambdas, Seed: uint64(seed), Progress: progress,
		Features: features})
	if err != nil {
		return nil, err
	}
	best := offline.HeldOut{View: hindsight}
	index := map[string]int{} // of a question
	for q, id := range all.IDs() {
		index[id] = q
	}
	for _, lambda := range r.Lambdas {
		of := slices.Repeat([]float64{math.Inf(-1)}, r.Questions)
		for _, t := range all.Episodes {
			q := index[t.ID]
			of[q] = max(of[q], reward.Return(t.Outcome(), lambda))
		}
		best.Returns = append(best.Returns, of)
	}
	for _, h := range append(held, best) {
		view := LearnableView{View: h.View}
		mean := make([]float64, r.Questions)
		for l, of := range h.Returns {
			diffs, sum := make([]float64, len(of)), 0.0
			for q, v := range of {
				diffs[q] = v - held[0].Returns[l][q]
				mean[q] += diffs[q] / float64(len(r.Lambdas))
				sum += v
			}
			view.Returns = append(view.Returns, sum/float64(len(of)))
			view.Gains = append(view.Gains, stats.Bootstrap(diffs, seed))
		}
		view.Gains = append(view.Gains, stats.Bootstrap(mean, seed))
		if h.View == offline.NoView {
			view.Gains = nil
		}
		r.Views = append(r.Views, view)
	}
	return r, nil
}

// featureViews are the views beside embeddings and categories: the question's words, and every signal that most episodes have, those of
// the notes first.
func featureViews(all []router.Episode) []offline.FeatureView {
	var texts []string
	for _, e := range all {
		texts = append(texts, e.Question)
	}
	views := []offline.FeatureView{{View: wordsView, Values: tfidf(texts)}}
	views = append(views, signalViews(all, signalView, func(e router.Episode) map[string]float64 { return e.Signals })...)
	return append(views, signalViews(all, answerView, func(e router.Episode) map[string]float64 { return e.AnswerSignals })...)
}

// The views of signals begin with these. Those of an answer are known when it is paid for: what is gained by them is gained by paying
// for the answers of all combinations and taking the one that looks best.
const (
	signalView = "signal "
	answerView = "answer's signal "
)

// signalViews are the views of signals that at least half of the episodes have and that differ; an episode without one counts with the
// others' mean.
func signalViews(all []router.Episode, prefix string, of func(router.Episode) map[string]float64) []offline.FeatureView {
	values := map[string][]float64{} // of the episodes that have it
	for _, e := range all {
		for name, v := range of(e) {
			values[name] = append(values[name], v)
		}
	}
	var views []offline.FeatureView
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if 2*len(values[name]) < len(all) || slices.Min(values[name]) == slices.Max(values[name]) {
			continue
		}
		mean := stats.Mean(values[name])
		view := offline.FeatureView{View: offline.View(prefix + name)}
		for _, e := range all {
			v, ok := of(e)[name]
			if !ok {
				v = mean
			}
			view.Values = append(view.Values, []float64{v})
		}
		views = append(views, view)
	}
	return views
}

// described says what a view sees.
func described(v offline.View) string {
	if text, ok := seen[v]; ok {
		return text
	}
	return string(v)
}

// seen describes the views in tables.
var seen = map[offline.View]string{
	offline.NoView:        "nothing",
	offline.EmbeddingView: "embeddings, as routers do",
	offline.CategoryView:  "category, which routers do not see",
	wordsView:             "the question's words (TF-IDF)",
	hindsight:             "the outcomes (not reachable)",
}

// WriteTable prints it as aligned text. The error is that of w.
func (r *Learnable) WriteTable(w io.Writer) error {
	returns, gains := [][]string{{"what the choice sees"}}, [][]string{{"what the choice sees", "mean over λ", "95 %"}}
	for _, l := range r.Lambdas {
		returns[0] = append(returns[0], fmt.Sprintf("λ %g", l))
		gains[0] = append(gains[0], fmt.Sprintf("λ %g", l), "95 %")
	}
	for _, v := range r.Views {
		row := []string{described(v.View)}
		for _, x := range v.Returns {
			row = append(row, fmt.Sprintf("%.4f", x))
		}
		returns = append(returns, row)
		if v.Gains == nil {
			continue
		}
		row = []string{described(v.View)}
		for _, g := range slices.Concat(v.Gains[len(v.Gains)-1:], v.Gains[:len(v.Gains)-1]) {
			row = append(row, fmt.Sprintf("%+.4f", g.Mean), spread(g, "%+.3f"))
		}
		gains = append(gains, row)
	}
	if _, err := fmt.Fprintf(w, "%s %s: %d questions with %d traces, each question held out of the fit that chooses for it; reward scale %.3f\n",
		r.Dataset, strings.Join(r.Splits, " and "), r.Questions, r.Episodes, r.Scale); err != nil {
		return err
	}
	return report.WriteTables(w, []chart.Table{
		{Title: "return of the chosen one of each question's traced combinations", Rows: returns},
		{Title: "what that adds to seeing nothing, the same order of combinations for all questions", Rows: gains},
	})
}
