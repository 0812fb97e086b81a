package main

import (
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// A run in which an answer failed ends with an error that says why, whatever the verb, and keeps what it has.
func TestFailedAnswersEndWithTheReason(t *testing.T) {
	modelstest.Path(t, "all-minilm-l6-v2")
	s := llmtest.New(llmtest.Config{Reply: markedReply, Script: func(c llmtest.Call) llmtest.Fault {
		if len(c.Messages) > 0 && strings.Contains(c.Body, "Put only the answer") && crc32.ChecksumIEEE([]byte(c.Body))%3 == 0 {
			return llmtest.Fault{Kind: llmtest.Status, Status: 400, Body: `{"error": {"message": "the prompt offends me"}}`}
		}
		return llmtest.Fault{}
	}})
	defer s.Close()
	dir := t.TempDir()
	prices := filepath.Join(dir, "prices.yaml")
	if err := os.WriteFile(prices, []byte("prices:\n- {model: m, in: 1, out: 2}\n- {model: emb, in: 0, out: 0}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	system := []string{"--backend", "go", "--endpoint", s.URL(), "--model", "m", "--embedder", "emb@" + s.URL(), "--prices", prices, "--cache", filepath.Join(dir, "c"),
		"--runs", filepath.Join(dir, "runs"), "--dataset", "hotpotqa"}
	traces := filepath.Join(dir, "validation.jsonl.gz")
	for _, args := range [][]string{
		{"eval", "--questions", "4", "--policy", "low,mid"},
		{"traces", "collect", "--questions", "4", "--design", "uniform", "--split", "validation", "--out", traces},
		{"train", "--live", "--method", "ppo", "--seeds", "1", "--questions", "4", "--validation-questions", "4", "--test-questions", "4", "--set", "epochs=1", "--set", "batch=4", "--set", "minibatch=4", "--name", "t"},
		{"frontier", "--live=test", "--validation-traces", traces, "--test-questions", "4"},
	} {
		t.Run(args[0], func(t *testing.T) {
			out, err := runVerb(t, "", append(args, system...)...)
			if err == nil || !strings.Contains(err.Error(), "failed") || !strings.Contains(err.Error(), "offends me") {
				t.Errorf("error %v, want one with the reason; the output ended with\n%s", err, out[max(0, len(out)-500):])
			}
		})
	}
}
