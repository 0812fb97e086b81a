package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/safetensors"
	"github.com/budgetmem/budgetmem/router/internal/routertest"
	"github.com/budgetmem/budgetmem/router/portable"
)

// small are settings for tests that look at how training goes, not at what it reaches.
func small() Config {
	c := Default()
	c.Epochs, c.Batch, c.Minibatch, c.Passes = 3, 16, 8, 2
	return c
}

func smallTask() *clusters {
	env := newClusters(12, 40, 3) // the third batch of an epoch is half full
	env.shape.Hidden, env.shape.Actor = 32, 16
	env.fail = func(q int) bool { return q%13 == 5 }
	return env
}

func saved(t testing.TB, tr *Trainer) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "checkpoint.safetensors")
	if err := tr.Save(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Equal seeds give equal weights, however many questions are played at once, and another seed gives others.
func TestTrainingIsDeterministic(t *testing.T) {
	be, env := routertest.Open(t), smallTask()
	var first []byte
	var metrics []Metrics
	for i, inFlight := range []int{1, 8} {
		cfg := small()
		cfg.InFlight = inFlight
		tr, m := train(t, be, env, env.shape, cfg)
		if i == 0 {
			first, metrics = saved(t, tr), m
			continue
		}
		if !bytes.Equal(first, saved(t, tr)) || !reflect.DeepEqual(m, metrics) {
			t.Error("the same training gave two different results")
		}
	}
	last := metrics[len(metrics)-1]
	if last.Episodes != 3*40 || last.Failed != 3*3 || last.Updates != 3*(2+2+1)*2 {
		t.Errorf("%d episodes, %d failed, %d updates; want 120, 9, 30", last.Episodes, last.Failed, last.Updates)
	}
	cfg := small()
	cfg.Seed++
	other, _ := train(t, be, env, env.shape, cfg)
	if bytes.Equal(first, saved(t, other)) {
		t.Error("another seed gave the same result")
	}
}

// A training that is stopped after any step and restored in another trainer ends with the same bytes.
func TestRestoreGoesOnBitIdentically(t *testing.T) {
	for _, be := range routertest.Engines(t) {
		stops := 9
		if be.Kind != backend.Go {
			stops = 2 // each trainer compiles its graphs
		}
		t.Run(string(be.Kind), func(t *testing.T) { restoreAfterSteps(t, be, stops) })
	}
}

func restoreAfterSteps(t *testing.T, be *backend.Backend, stops int) {
	env, cfg := smallTask(), small()
	whole, metrics := train(t, be, env, env.shape, cfg)
	want := saved(t, whole)
	path := filepath.Join(t.TempDir(), "checkpoint.safetensors")
	for stop := range min(stops, len(metrics)) {
		first, err := NewTrainer(be, env, env.shape, cfg)
		if err != nil {
			t.Fatal(err)
		}
		for range stop {
			if _, err := first.Step(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if err := first.Save(path); err != nil {
			t.Fatal(err)
		}
		first.Close()
		second, err := NewTrainer(be, env, env.shape, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := second.Restore(path); err != nil {
			t.Fatal(err)
		}
		for step := stop; !second.Done(); step++ {
			m, err := second.Step(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(m, metrics[step]) {
				t.Fatalf("stopped after %d steps, step %d reports %+v instead of %+v", stop, step, m, metrics[step])
			}
		}
		if !bytes.Equal(saved(t, second), want) {
			t.Errorf("stopped after %d steps, the training ends differently", stop)
		}
		second.Close()
	}
}

// A checkpoint of an earlier release, whose optimizer was another implementation of Adam, is loaded, and its training ends with
// the same router up to rounding.
func TestRestoreEarlierRelease(t *testing.T) {
	const path, end = "testdata/checkpoint.safetensors", "testdata/checkpoint-end.safetensors"
	be, env := routertest.Open(t), newClusters(4, 40, 3)
	env.shape.Hidden, env.shape.Actor = 4, 3
	n, cfg, err := LoadNetwork(be, path)
	if err != nil {
		t.Fatal(err)
	}
	n.Close()
	cfg.InFlight = 4
	tr, err := NewTrainer(be, env, env.shape, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if err := tr.Restore(path); err != nil {
		t.Fatal(err)
	}
	steps := 0
	for ; !tr.Done(); steps++ {
		if _, err := tr.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want, err := portable.ReadFile(end)
	if err != nil {
		t.Fatal(err)
	}
	apart, err := tr.net.Agreement(want)
	if err != nil {
		t.Fatal(err)
	}
	if t.Logf("after %d more steps, log-probabilities differ by %.2g", steps, apart); steps != 5 || apart > 1e-4 {
		t.Errorf("after %d more steps, log-probabilities differ by %.2g from those of the earlier release", steps, apart)
	}
}

func TestRestoreRefuses(t *testing.T) {
	be, env, cfg := routertest.Open(t), smallTask(), small()
	tr, _ := train(t, be, env, env.shape, cfg)
	good := saved(t, tr)
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// changed is the good file with another metadata entry, sealed again or not.
	changed := func(key, value string, seal bool) []byte {
		f, err := safetensors.Parse(good)
		if err != nil {
			t.Fatal(err)
		}
		f.Metadata[key] = value
		if seal {
			f.Seal()
		}
		out, err := f.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	newer := strconv.Itoa(checkpointSignalsVersion + 1)
	goodPath := write("good", good)
	r, err := tr.Portable()
	if err != nil {
		t.Fatal(err)
	}
	exported, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := NewTrainer(be, env, env.shape, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	before := saved(t, fresh)
	for name, c := range map[string]struct{ path, want string }{
		"cut":      {write("cut", good[:len(good)-1]), "cut"},
		"exported": {write("exported", exported), `"budgetmem-router", not a training's checkpoint`},
		"future":   {write("future", changed("version", newer, true)), fmt.Sprintf("version %q", newer)},
		"damaged":  {write("damaged", changed("training", "{}", false)), "the file is damaged"},
		"none":     {filepath.Join(dir, "none"), "no such file"},
	} {
		if err := fresh.Restore(c.path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("%s: error %v, want one with %q and the path", name, err, c.want)
		}
		if _, _, err := LoadNetwork(be, c.path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: LoadNetwork gave %v", name, err)
		}
	}
	if !bytes.Equal(saved(t, fresh), before) {
		t.Error("a refused file changed the training")
	}
	cfg.LearningRate *= 2
	other, err := NewTrainer(be, env, env.shape, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Restore(goodPath); err == nil || !strings.Contains(err.Error(), "another training") {
		t.Errorf("a checkpoint of other settings: %v", err)
	}
	n, _, err := LoadNetwork(be, goodPath)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	again, err := n.Portable(small().Lambdas())
	if err != nil || !reflect.DeepEqual(again, r) {
		t.Errorf("the network of the checkpoint is not the trained one (%v)", err)
	}
}

// The update starts from the probabilities that choices were sampled with, so every ratio is 1 at first.
func TestFirstRatioIsOne(t *testing.T) {
	env := smallTask()
	cfg := small()
	cfg.ActorGain = 2 // so that probabilities differ from the start
	_, metrics := train(t, routertest.Open(t), env, env.shape, cfg)
	for i, m := range metrics {
		if !(m.FirstRatioError < 1e-5) {
			t.Errorf("step %d: a ratio is %v away from 1 before the first step", i, m.FirstRatioError)
		}
		if i > 0 && m.ApproxKL <= 0 {
			t.Errorf("step %d: the KL divergence is %v, as if nothing were learned", i, m.ApproxKL)
		}
	}
}

// bandit pays for one tier of one module, whatever the question.
type bandit struct {
	clusters
	module, tier int
}

func (b *bandit) Play(ctx context.Context, i int, p Policy) (Outcome, error) {
	var o Outcome
	_, query := b.Query(i)
	for m := range b.shape.Modules {
		t, err := p.Decide(ctx, State{Module: m, Query: query, Memory: func(context.Context) ([]float32, error) {
			_, memory := b.Memory(i, b.shape.MemoryIndex[m], 0)
			return memory, nil
		}})
		if err != nil {
			return o, err
		}
		if m == b.module && t == b.tier {
			o.Score = 1
		}
	}
	return o, nil
}

// Each module by itself finds the one tier that pays.
func TestEveryModuleLearnsABandit(t *testing.T) {
	be := routertest.Open(t)
	for m, module := range five(8).Modules {
		for tier := range module.Tiers {
			env := &bandit{*newClusters(8, 64, 5), m, tier}
			env.shape.Hidden, env.shape.Actor = 32, 16
			cfg := small()
			cfg.Epochs, cfg.Batch, cfg.Minibatch, cfg.Passes, cfg.LearningRate, cfg.EntropyCoef = 10, 32, 32, 4, 1e-2, 0.01
			_, metrics := train(t, be, env, env.shape, cfg)
			first, last := metrics[0].Shares[m][tier], metrics[len(metrics)-1].Shares[m][tier]
			if first > 0.8 || last < 0.95 {
				t.Errorf("module %s: the share of tier %s went from %.2f to %.2f", module.Name, module.Tiers[tier], first, last)
			}
		}
	}
}

// broken is an environment that goes wrong in one way.
type broken struct {
	*clusters
	how string
}

func (b broken) Play(ctx context.Context, i int, p Policy) (Outcome, error) {
	memory := func(context.Context) ([]float32, error) { return b.Centres[0], nil }
	ask := func(m int, memory func(context.Context) ([]float32, error)) error {
		_, err := p.Decide(ctx, State{Module: m, Query: b.Centres[0], Memory: memory})
		return err
	}
	switch b.how {
	case "fails":
		return Outcome{}, fmt.Errorf("judge: %w", ErrFailed)
	case "ends":
		return Outcome{}, errors.New("no money left")
	case "twice":
		return Outcome{}, errors.Join(ask(0, memory), ask(0, memory))
	case "another memory":
		return Outcome{}, errors.Join(ask(1, memory), ask(2, func(context.Context) ([]float32, error) { return b.Centres[1], nil }))
	case "not all":
		return Outcome{}, ask(0, memory)
	case "memory":
		return Outcome{}, ask(0, func(context.Context) ([]float32, error) { return nil, errors.New("no embedder") })
	case "width":
		return Outcome{}, ask(0, func(context.Context) ([]float32, error) { return make([]float32, 3), nil })
	}
	o, err := b.clusters.Play(ctx, i, p)
	o.Dollars = -1
	return o, err
}

func TestBrokenEnvironments(t *testing.T) {
	be := routertest.Open(t)
	for how, want := range map[string]string{
		"fails": "all 16 episodes failed", "ends": "no money left", "twice": "filter is decided twice", "another memory": "looks at another",
		"not all": "did not ask for the tier of module entity", "memory": "no embedder", "width": "3 numbers", "negative": "-1 dollars",
	} {
		env := broken{smallTask(), how}
		env.fail = nil
		tr, err := NewTrainer(be, env, env.shape, small())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Step(context.Background()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", how, err, want)
		}
		tr.Close()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	tr, err := NewTrainer(be, smallTask(), smallTask().shape, small())
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if _, err := tr.Step(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled step gave %v", err)
	}
}
