package main

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/tiers/llm/local/localtest"
	"github.com/budgetmem/budgetmem/tune"
)

// Each line is a pass over all examples, also where the last step has fewer; no pass changes the model.
func TestALineIsAPass(t *testing.T) {
	be, err := backend.Open("go", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(be.Finalize)
	r := tune.Run{Dir: t.TempDir(), Model: "tiny", Path: localtest.Tiny(t, "qwen2", 1), Backend: be, Config: tune.Defaults()}
	c := &r.Config
	c.Rank, c.Layers, c.Batch, c.PackTokens, c.LearningRate = 4, 1, 2, 256, rate
	for _, a := range []string{"red", "two", "Ann"} {
		r.Train = append(r.Train, tune.Example{Question: a + "?", Answer: a})
	}
	var out bytes.Buffer
	if err := passes(t.Context(), r, strings.NewReader("\n\n"), json.NewEncoder(&out)); err != nil {
		t.Fatal(err)
	}
	tokens, steps := map[string]int{}, 0
	var losses []float64
	for dec := json.NewDecoder(&out); dec.More(); {
		var m measured
		if err := dec.Decode(&m); err != nil {
			t.Fatal(err)
		}
		if m.Seconds <= 0 {
			t.Errorf("%+v takes no time", m)
		}
		tokens[m.Phase] += m.Tokens
		if m.Phase == "train" {
			if steps++; steps%2 == 1 {
				losses = append(losses, 0)
			}
			losses[len(losses)-1] += m.Loss * float64([]int{1, 2}[steps%2]) // by the examples of the step: 2, then 1
		}
	}
	if steps != 4 || tokens["hidden"] == 0 || tokens["train"] != 2*tokens["hidden"] {
		t.Fatalf("%d steps, %v tokens; want two passes of two steps", steps, tokens)
	}
	if math.Abs(losses[0]-losses[1]) > 1e-4*losses[0] {
		t.Errorf("losses of the passes %v", losses)
	}
}
