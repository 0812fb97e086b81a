package frontier

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/experiments/episodes"
	"github.com/budgetmem/budgetmem/experiments/stats"
	"github.com/budgetmem/budgetmem/router"
)

// answersFile makes up traces of two kinds of notes and three readers. The log-probability of an answer tells how likely it is right,
// and nothing else does: no embedding shows which questions need a better reader.
func answersFile(split string, questions int, seed uint64) *episodes.File {
	f := &episodes.File{Header: episodes.Header{Format: episodes.Format, Version: episodes.Version, Dataset: "made up", DataHash: "one", Split: split, Metric: "f1",
		Space:       router.Space{{Name: "summary", Tiers: []string{"low", "high"}}, {Name: "answer", Tiers: []string{"low", "mid", "high"}}},
		MemoryIndex: []int{0, 1}, Embedder: "made-up@1", Dim: 4}}
	rng := rand.New(rand.NewPCG(seed, 9))
	for q := range questions {
		query := []float32{float32(rng.NormFloat64()), float32(rng.NormFloat64()), 0, 1}
		for notes := range 2 {
			for reader := range 3 {
				p := rng.Float64()
				if reader == 2 {
					p = 0.7 + 0.3*p
				}
				e := router.Episode{ID: fmt.Sprint(split, q), Question: "Who?", Choices: []int{notes, reader}, Query: query, Memory: [][]float32{query, query},
					ModulesDollars: []float64{1e-6, 2e-6}[notes], AnswerDollars: []float64{1e-5, 2e-5, 2e-4}[reader],
					AnswerSignals: map[string]float64{"logprob_mean": math.Log(p), "sample_agreement": p}}
				if rng.Float64() < p {
					e.Score = 1
				}
				f.Episodes = append(f.Episodes, e)
			}
		}
	}
	return f
}

func replayed(t *testing.T, f *episodes.File) *episodes.Replay {
	t.Helper()
	r, err := episodes.NewReplay(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Where an answer's log-probability tells whether it is right, the cascades earn more than the best static assignment, and the
// cascade's price is that of all its answers.
func TestCascadesBeatStatic(t *testing.T) {
	o := Options{Train: replayed(t, answersFile("train", 60, 1)), Validation: replayed(t, answersFile("validation", 80, 2)), Test: replayed(t, answersFile("test", 250, 3)),
		Lambdas: []float64{0.2}, Seed: 1}
	r, err := Compare(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, e := range r.Entries {
		switch e.Name {
		case cascadeName, thresholdName, verifyName:
			found++
			if e.ReturnVersus.Questions[0] <= 0 {
				t.Errorf("%s earns %+v", e.Name, e.ReturnVersus)
			}
			if e.Counts.Traced <= 250 || e.Counts.Predicted > 0 { // some questions were asked again
				t.Errorf("%s: %+v", e.Name, e.Counts)
			}
		}
	}
	if found != 3 {
		t.Errorf("%d cascades of 3", found)
	}
	if len(r.Verdicts) != 1 || r.Verdicts[0].Policy != cascadeName || r.Verdicts[0].Found != Better || !strings.Contains(r.Verdict(), "cascade is better than") {
		t.Errorf("verdicts %+v", r.Verdicts)
	}
	// Without signals there are none.
	for _, replay := range []**episodes.Replay{&o.Train, &o.Validation, &o.Test} {
		f, _ := (*replay).Snapshot()
		for i := range f.Episodes {
			f.Episodes[i].AnswerSignals = nil
		}
		*replay = replayed(t, f)
	}
	if r, err = Compare(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	for _, e := range r.Entries {
		if strings.Contains(e.Name, "cascade") {
			t.Errorf("%s without signals", e.Name)
		}
	}
}

// Of the signals, the one that tells which answers are right adds much, and one that tells nothing adds nothing.
func TestLearnableSignals(t *testing.T) {
	f := answersFile("train", 60, 1)
	rng := rand.New(rand.NewPCG(4, 4))
	for i := range f.Episodes {
		e := &f.Episodes[i]
		delete(e.AnswerSignals, "sample_agreement")
		e.Signals = map[string]float64{"notes_tokens": rng.NormFloat64(), "asks_list": 1}
		if i%9 == 0 {
			delete(e.Signals, "notes_tokens")
		}
	}
	r, err := MeasureLearnable(context.Background(), []*episodes.File{f}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	gains := map[string]stats.Interval{}
	for _, v := range r.Views[1:] {
		gains[string(v.View)] = v.Gains[len(v.Gains)-1]
	}
	if sure, noise := gains["answer's signal logprob_mean"], gains["signal notes_tokens"]; sure.Low <= 0.05 || noise.Low > 0 {
		t.Errorf("gains: %+v", gains)
	}
	if _, constant := gains["signal asks_list"]; constant || len(gains) != 5 {
		t.Errorf("views: %+v", gains)
	}
	var b strings.Builder
	if err := r.WriteTable(&b); err != nil || !strings.Contains(b.String(), "answer's signal logprob_mean") {
		t.Errorf("%v\n%s", err, &b)
	}
}
