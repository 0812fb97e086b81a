package main

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/experiments/run/runtest"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/serve/mcp"
	"github.com/budgetmem/budgetmem/serve/memory"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// An agent starts `bmem mcp`, adds, asks and forgets, and ends it by closing its input.
func TestMCPProcess(t *testing.T) {
	modelstest.Path(t, setup.Embedder)
	model := llmtest.New(llmtest.Config{Reply: func(llmtest.Call) string { return "the old mill" }})
	t.Cleanup(model.Close)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "mcp", "--backend", "go", "--cache", t.TempDir(), "--endpoint", model.URL(), "--model", "m", "--allow-unpriced", "--memory", "notes")
	cmd.Env = append(os.Environ(), processEnv+"=1")
	cmd.Stderr = os.Stderr
	client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil)
	s, err := client.Connect(t.Context(), &sdk.CommandTransport{Command: cmd}, nil)
	if err != nil {
		t.Fatal(err)
	}
	call := func(tool string, args, out any) {
		t.Helper()
		r, err := s.CallTool(t.Context(), &sdk.CallToolParams{Name: tool, Arguments: args})
		if err != nil || r.IsError {
			t.Fatalf("%s: %v, %+v", tool, err, r)
		}
		b, err := json.Marshal(r.StructuredContent)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, out); err != nil {
			t.Fatal(err)
		}
	}
	var added memory.AddResult
	call("add_memory", map[string]any{"turns": []any{map[string]any{"speaker": "Rita", "text": "We meet at the old mill on Saturday."}}}, &added)
	if added.New != 1 || added.Memory != "notes" {
		t.Errorf("%+v", added)
	}
	var answer memory.AskResult
	call("ask_memory", map[string]any{"question": "Where do they meet?", "budget": "low"}, &answer)
	if answer.Answer != "the old mill" || len(answer.Evidence) != 1 || answer.TokensIn == 0 {
		t.Errorf("%+v", answer)
	}
	var gone memory.DeleteResult
	call("delete_memory", map[string]any{"turn": added.IDs[0]}, &gone)
	if gone.Turns != 1 {
		t.Errorf("%+v", gone)
	}
	if err := s.Close(); err != nil {
		t.Errorf("the process did not end well: %v", err)
	}
}

// The official Python client runs every tool, over standard input and output and over HTTP.
func TestPythonMCPClient(t *testing.T) {
	modelstest.Path(t, setup.Embedder)
	python := testenv.Python(t, "mcp", "mcp", "client")
	model := llmtest.New(llmtest.Config{Reply: func(llmtest.Call) string { return "the old mill" }})
	t.Cleanup(model.Close)
	m, _ := runtest.MustOpen(t, runtest.Rig{URL: model.URL()})
	server := httptest.NewServer(mcp.Routes(memory.New(m, memory.Options{}), "test", 0, slog.Default()))
	t.Cleanup(server.Close)
	for kind, target := range map[string][]string{
		"stdio": {os.Args[0], "mcp", "--backend", "go", "--cache", t.TempDir(), "--endpoint", model.URL(), "--model", "m", "--allow-unpriced"},
		"http":  {server.URL + "/v1/mcp"},
	} {
		cmd := exec.CommandContext(t.Context(), python, append([]string{filepath.Join("..", "..", "scripts", "check_mcp.py"), kind}, target...)...)
		cmd.Env = append(os.Environ(), processEnv+"=1")
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
