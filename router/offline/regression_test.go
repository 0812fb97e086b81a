package offline

import (
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/router"
)

// Both baselines choose for questions that were never seen far better than one assignment does, where embeddings show what is best.
func TestRegressionBaselines(t *testing.T) {
	env, fresh := newClusters(24, 100, 1), newClusters(24, 128, 1)
	fresh.Seed = 1 << 32
	measured, asked := env.episodes(8, 0.05), fresh.episodes(1, 0)
	reward := observed(measured, true)
	lambdas := []float64{0, 0.5, 1}
	var features [][]float64
	for _, e := range slices.Concat(measured, asked) {
		row := make([]float64, len(e.Query))
		for i, x := range e.Query {
			row[i] = float64(x)
		}
		features = append(features, row)
	}
	regressed, err := ChooseByFeatures(env.shape, measured, asked, features, reward, lambdas, 1)
	if err != nil {
		t.Fatal(err)
	}
	near, counts, err := NearestNeighbours(env.shape, measured, asked, reward, lambdas)
	if err != nil {
		t.Fatal(err)
	}
	for l, lambda := range lambdas {
		oracle, static := fresh.oracle(reward, lambda)
		for name, choices := range map[string]Choices{"features": regressed, "nearest": near} {
			got := 0.0
			for q := range fresh.N {
				got += reward.Return(fresh.outcome(q, choices[l][q]), lambda) / float64(fresh.N)
			}
			t.Logf("%s at λ %g: %.1f %% of the oracle, the best assignment %.1f %%; k %d", name, lambda, 100*got/oracle, 100*static/oracle, counts[l])
			if got < static+0.3*(oracle-static) {
				t.Errorf("%s at λ %g earns %.3f, the best assignment %.3f, the oracle %.3f", name, lambda, got, static, oracle)
			}
		}
	}
}

// Features that say nothing leave one assignment for all questions.
func TestRegressionWithoutFeatures(t *testing.T) {
	env := newClusters(24, 60, 1)
	measured := env.episodes(8, 0)
	asked := measured[:32]
	choices, err := ChooseByFeatures(env.shape, measured, asked, slices.Repeat([][]float64{{1}}, len(measured)+len(asked)), observed(measured, true), []float64{0.5}, 1)
	if err != nil {
		t.Fatal(err)
	}
	for q, c := range choices[0] {
		if asked[q].ID != asked[0].ID && !slices.Equal(c, choices[0][0]) {
			t.Errorf("question %s gets %v, the first %v", asked[q].ID, c, choices[0][0])
		}
	}
	wrong := []router.Episode{{ID: "x", Query: []float32{1}}}
	if _, err := ChooseByFeatures(env.shape, measured, wrong, nil, observed(measured, true), nil, 1); err == nil || !strings.Contains(err.Error(), "query of 1 numbers") {
		t.Errorf("error %v", err)
	}
	if _, _, err := NearestNeighbours(env.shape, measured, wrong, observed(measured, true), nil); err == nil || !strings.Contains(err.Error(), "query of 1 numbers") {
		t.Errorf("error %v", err)
	}
}

// A last module that sees signals is chosen for by the features too.
func TestChooseByFeaturesWithSignals(t *testing.T) {
	env := withAnswer(24, 30, 1)
	measured := env.episodes(4, 0.05)
	var features [][]float64
	for _, e := range slices.Concat(measured, measured[:1]) {
		cluster, _ := env.Query(number(t, e))
		features = append(features, []float64{float64(cluster)})
	}
	choices, err := ChooseByFeatures(env.shape, measured, measured[:1], features, observed(measured, true), []float64{0.5}, 1)
	if err != nil || len(choices[0]) != 1 || len(choices[0][0]) != len(env.shape.Modules) {
		t.Errorf("%v, %v", choices, err)
	}
}
