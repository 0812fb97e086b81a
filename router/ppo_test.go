package router

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/router/internal/routertest"
)

// reference is router/testdata/ppo.json, which scripts/ppo_reference.py makes with PyTorch in float64.
type reference struct {
	MadeBy string `json:"made_by"`
	Cases  []struct {
		Name               string
		Dim, Hidden, Actor int
		Minibatch          int
		Tiers, States      []int
		Config             json.RawMessage
		Start, End         map[string][]float32
		Batch              struct {
			Query, Memories, Lambda, Returns, Values []float64
			Choices                                  []int
			LogProbs                                 []float64 `json:"log_probs"`
		}
		Steps []struct {
			Places []int
			Report struct {
				PolicyLoss   float64 `json:"policy_loss"`
				ValueLoss    float64 `json:"value_loss"`
				Entropy      float64
				ApproxKL     float64 `json:"approx_kl"`
				ClipFraction float64 `json:"clip_fraction"`
				GradNorm     float64 `json:"grad_norm"`
			}
		}
	}
}

// Gradient steps on equal inputs report and change what PyTorch reports and changes.
func TestUpdateEqualsPyTorch(t *testing.T) {
	file, err := os.ReadFile("testdata/ppo.json")
	if err != nil {
		t.Fatal(err)
	}
	var ref reference
	if err := json.Unmarshal(file, &ref); err != nil {
		t.Fatal(err)
	}
	for _, be := range routertest.Engines(t) {
		t.Run(string(be.Kind), func(t *testing.T) { compareWithPyTorch(t, be, ref) })
	}
}

func compareWithPyTorch(t *testing.T, be *backend.Backend, ref reference) {
	for _, c := range ref.Cases {
		t.Run(c.Name, func(t *testing.T) {
			cfg := Default()
			if err := cfg.Merge(c.Config); err != nil {
				t.Fatal(err)
			}
			shape := Shape{Dim: c.Dim, Hidden: c.Hidden, Actor: c.Actor, MemoryIndex: c.States}
			for m, tiers := range c.Tiers {
				shape.Modules = append(shape.Modules, Module{Name: fmt.Sprint("module ", m), Tiers: []string{"a", "b", "c"}[:tiers]})
			}
			net, err := NewNetwork(be, shape, Init{ActorGain: 1, CriticGain: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer net.Close()
			for name, values := range c.Start {
				v := net.store.GetVariable(root + name)
				if err := v.SetValue(tensors.FromFlatDataAndDimensions(values, v.Shape().Dimensions...)); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			p, err := newPPO(net, cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer p.learner.Close()

			n := len(c.Batch.Lambda)
			episodes := make([]rollout, n)
			for i := range episodes {
				e := rollout{query: float32s(c.Batch.Query[i*c.Dim : (i+1)*c.Dim]), lambda: c.Batch.Lambda[i], value: float32(c.Batch.Values[i]), logProb: make([]float64, len(c.Tiers))}
				for state := range shape.Memories() {
					e.memory = append(e.memory, float32s(c.Batch.Memories[(state*n+i)*c.Dim:(state*n+i+1)*c.Dim]))
				}
				for m := range c.Tiers {
					e.choices = append(e.choices, c.Batch.Choices[m*n+i])
				}
				e.logProb[0] = c.Batch.LogProbs[i] // the joint one; the sum over modules counts
				episodes[i] = e
			}
			b := batch{net.shape, episodes, c.Batch.Returns}

			worst := 0.0
			compare := func(what string, got, want float64) {
				diff := math.Abs(got-want) / max(1, math.Abs(want))
				worst = max(worst, diff)
				if diff > 1e-5 || math.IsNaN(diff) {
					t.Errorf("%s is %v, PyTorch has %v", what, got, want)
				}
			}
			for i, step := range c.Steps {
				minibatch := b.minibatch(step.Places, c.Minibatch).inputs(net.shape)
				u, err := p.step(minibatch, cfg.LearningRate)
				if err := minibatch.Free(); err != nil {
					t.Fatal(err)
				}
				if err != nil {
					t.Fatal(err)
				}
				r := step.Report
				for name, pair := range map[string][2]float64{"policy loss": {u.policyLoss, r.PolicyLoss}, "value loss": {u.valueLoss, r.ValueLoss},
					"entropy": {u.entropy, r.Entropy}, "KL": {u.kl, r.ApproxKL}, "clip fraction": {u.clipFraction, r.ClipFraction}, "gradient norm": {u.gradNorm, r.GradNorm}} {
					compare(fmt.Sprintf("step %d: %s", i, name), pair[0], pair[1])
				}
			}
			moved := 0.0
			for name, want := range c.End {
				value, err := net.store.GetVariable(root + name).Value()
				if err != nil {
					t.Fatal(err)
				}
				got, err := tensors.CopyFlatData[float32](value)
				if err != nil {
					t.Fatal(err)
				}
				for i := range want {
					compare(fmt.Sprintf("%s[%d]", name, i), float64(got[i]), float64(want[i]))
					moved = max(moved, math.Abs(float64(got[i]-c.Start[name][i])))
				}
			}
			t.Logf("%s: largest difference %.2g; weights moved by up to %.2g", ref.MadeBy, worst, moved)
			weights := len(slices.Collect(net.weights()))
			if moved < 1e-4 || len(c.End) != weights {
				t.Errorf("%d of %d variables were compared, moved by %v", len(c.End), weights, moved)
			}
		})
	}
}

func float32s(v []float64) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}
