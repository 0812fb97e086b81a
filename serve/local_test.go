package serve

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem/embed"
	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/local"
	"github.com/budgetmem/budgetmem/tiers/llm/openai"

	"github.com/budgetmem/budgetmem/serve/api"
)

const (
	smol   = "smollm2-135m-instruct"
	miniLM = "all-minilm-l6-v2"
)

// startLocal serves the smallest real models.
func startLocal(t *testing.T) (*running, *local.Model) {
	t.Helper()
	testenv.Slow(t, "loads real models")
	file, dir := modelstest.Path(t, smol), modelstest.Path(t, miniLM)
	be, err := backend.Open("", quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(be.Finalize)
	m, err := local.Open(file, be, local.Options{Name: smol, Context: 1024})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	e, err := embed.OpenMiniLM(dir, be)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return start(t, Config{Chats: []ChatModel{m}, Embedder: &Embedder{Name: miniLM, Embedder: e, Tokenizer: e}}), m
}

// The project's own client gets through the server what the models give by themselves.
func TestRealModels(t *testing.T) {
	s, m := startLocal(t)
	client, err := openai.New(openai.Config{Model: smol, Endpoints: []openai.Endpoint{{BaseURL: "http://" + s.addr + "/v1"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, req := range []llm.Request{
		{Messages: []llm.Message{{Role: llm.User, Content: "What is the capital of France?"}}, MaxTokens: 16},
		{Messages: []llm.Message{{Role: llm.User, Content: "Count to five."}}, MaxTokens: 24, Stop: []string{"3"}},
		{Messages: []llm.Message{{Role: llm.User, Content: `Reply with a JSON object with the keys "name" and "age" for Ann, who is 31.`}}, MaxTokens: 60, JSON: true},
		{Messages: []llm.Message{{Role: llm.User, Content: "Name a colour."}}, MaxTokens: 6, Temperature: 1, Seed: 7, N: 3, LogProbs: true},
	} {
		want, err := m.Chat(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.Chat(t.Context(), req)
		if err != nil || got.Text != want.Text || got.Finish != want.Finish || got.Usage.In != want.Usage.In || got.Usage.Out != want.Usage.Out {
			t.Errorf("%+v through the server: %+v, %v; want %+v", req, got, err, want)
		}
		for i, choice := range want.Choices() {
			same := slices.EqualFunc(got.Choices()[i].LogProbs, choice.LogProbs, func(a, b llm.TokenLogProb) bool {
				return a.LogProb == b.LogProb && a.Second == b.Second
			})
			if got.Choices()[i].Text != choice.Text || !same || req.LogProbs != (choice.LogProbs != nil) {
				t.Errorf("choice %d through the server: %+v, want %+v", i, got.Choices()[i], choice)
			}
		}
		if req.JSON && !json.Valid([]byte(got.Text)) {
			t.Errorf("JSON mode gave %q", got.Text)
		}
	}
	texts := []string{"A cat sat on the mat.", strings.Repeat("long ", 300)}
	embedder, err := openai.New(openai.Config{Model: miniLM, Endpoints: []openai.Endpoint{{BaseURL: "http://" + s.addr + "/v1"}}})
	if err != nil {
		t.Fatal(err)
	}
	vectors, _, err := embedder.Embeddings(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	want, err := s.config.Embedder.Embed(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if !slices.Equal(vectors[i], want[i]) {
			t.Errorf("vector %d differs", i)
		}
	}

	// Of many that leave, none keeps a slot.
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, err := client.Chat(ctx, llm.Request{Messages: []llm.Message{{Role: llm.User, Content: "Count to a million."}}, MaxTokens: 900})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
	eventually(t, "all requests", func() bool { return s.depth() == 20 })
	cancel()
	wg.Wait()
	eventually(t, "an empty queue", func() bool { return s.depth() == 0 })
	before := m.Stats().Decoded
	time.Sleep(300 * time.Millisecond)
	if n := m.Stats().Decoded - before; n > 20 {
		t.Errorf("%d tokens generated after all clients had left", n)
	}

	h, err := api.GetHealth(t.Context(), s.addr, "")
	if err != nil || h.Models[0].Context != 1024 || h.Models[0].Computed == nil || len(h.Models[0].Computed.Shapes) == 0 || h.Models[0].ID != m.ID() {
		t.Errorf("health %+v, %v", h, err)
	}
}

// The official Python client works with the server.
func TestPythonClient(t *testing.T) {
	python := testenv.Python(t, "client", "openai", "client")
	s, _ := startLocal(t)
	out, err := exec.CommandContext(t.Context(), python, filepath.Join("..", "scripts", "check_openai.py"), "http://"+s.addr+"/v1", smol, miniLM).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}
