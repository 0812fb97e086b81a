package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	goopenai "github.com/sashabaranov/go-openai"

	"github.com/budgetmem/budgetmem/internal/backend"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/internal/testenv"
	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/tiers/llm/local/adapter"
)

func TestServeRefuses(t *testing.T) {
	t.Setenv(models.EnvDir, t.TempDir())
	t.Setenv(api.EnvToken, "")
	for want, args := range map[string]string{
		api.EnvToken:                   "serve --addr 0.0.0.0:0 --model smollm2-135m-instruct",
		"missing port":                 "serve --addr localhost",
		"bmem models pull smollm2-135": "serve --addr 127.0.0.1:0 --model smollm2-135m-instruct",
		"smollm2-135m-instruct":        "serve --addr 127.0.0.1:0 --model smollm2",
		"no such file":                 "serve --addr 127.0.0.1:0 --backend go --model nowhere.gguf",
		`--max-memory "much"`:          "serve --addr 127.0.0.1:0 --on-demand --max-memory much",
	} {
		if _, err := runVerb(t, "", strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("bmem %s: %v, want %q", args, err, want)
		}
	}
}

// A whole server: it says where it is, finishes what is in flight when it is told to stop, and ends well.
func TestServeStops(t *testing.T) {
	testenv.Slow(t, "loads real models")
	const model = "smollm2-135m-instruct"
	modelstest.Path(t, model)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	root := newRoot()
	out, w := io.Pipe()
	root.SetArgs([]string{"serve", "--addr", "127.0.0.1:0", "--model", model, "--json"})
	root.SetOut(w)
	root.SetErr(io.Discard)
	ended := make(chan error, 1)
	go func() {
		err := root.ExecuteContext(ctx)
		w.CloseWithError(errors.Join(io.EOF, err))
		ended <- err
	}()
	var ready struct {
		URL    string   `json:"url"`
		Models []string `json:"models"`
	}
	if err := json.NewDecoder(out).Decode(&ready); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, out)
	if ready.Models[0] != model {
		t.Errorf("serving %q", ready.Models)
	}
	config := goopenai.DefaultConfig("none")
	config.BaseURL = ready.URL
	stream, err := goopenai.NewClientWithConfig(config).CreateChatCompletionStream(t.Context(), goopenai.ChatCompletionRequest{
		Model: model, MaxCompletionTokens: 40, Messages: []goopenai.ChatCompletionMessage{{Role: "user", Content: "Tell me a story about a pear."}}})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	pieces, finish := 0, ""
	for {
		c, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if pieces++; pieces == 3 {
			stop()
		}
		finish = string(c.Choices[0].FinishReason)
	}
	if pieces < 20 || finish != "length" {
		t.Errorf("the reply in flight ended with %q after %d pieces", finish, pieces)
	}
	if err := <-ended; err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

func TestPrintServer(t *testing.T) {
	var out bytes.Buffer
	printServer(&out, api.Health{Status: "ok", Queue: api.Queue{Depth: 2}, Memory: api.Memory{Resident: 3e9}, Models: []api.Model{
		{Name: "m", Kind: "chat", Computed: &api.Computed{Shapes: []api.Shape{{Sequences: 1, Tokens: 256, Cache: 512}, {Sequences: 16, Tokens: 1, Cache: 1536}}}}, {Name: "e", Kind: "embedding"}}})
	for _, want := range []string{"2 requests running or waiting, 3.0 GB", "chat m; compiled for 1×256/512 16×1/1536", "embedding e\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// The server opens models with the adapters that have names, and with no others.
func TestServeAdapters(t *testing.T) {
	testenv.Slow(t, "loads real models")
	const model = "smollm2-135m-instruct"
	modelstest.Path(t, model)
	catalogue, err := models.Open()
	if err != nil {
		t.Fatal(err)
	}
	be, err := backend.Open("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer be.Finalize()
	t.Chdir(t.TempDir())
	const dim = 576 // of the model
	a := &adapter.Adapter{Rank: 1, Alpha: 1, Info: adapter.Info{Base: model, Template: "notes", License: "CC0", Data: []adapter.Data{{Name: "made-up", Examples: 3}}},
		Pairs: map[adapter.Key]adapter.Pair{{Layer: 29, Target: "o_proj"}: {A: make([]float32, dim), B: make([]float32, dim), In: dim, Out: dim}}}
	for _, dir := range []string{filepath.Join("adapters", "mine"), "elsewhere"} {
		if err := a.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	source := &catalogueSource{catalogue: catalogue, backend: be, log: slog.New(slog.DiscardHandler)}
	if names := source.Names(t.Context()); !slices.Contains(names, model+"+mine") {
		t.Errorf("names %q", names)
	}
	for _, name := range []string{model + "+elsewhere", model + "+../elsewhere", model + "+", "nobody+mine"} {
		if m, err := source.Open(t.Context(), name); err == nil {
			m.Close()
			t.Errorf("%s was opened", name)
		}
	}
	read, err := adapter.Read(filepath.Join("adapters", "mine"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := source.Open(t.Context(), model+"+mine")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if !read.In(m.ID()) || m.Model() != model+"+mine" {
		t.Errorf("%s %s, want the adapter %s", m.Model(), m.ID(), read.SHA256)
	}
	out, err := runVerb(t, "", "models", "list")
	if err != nil || !regexp.MustCompile(`smollm2-135m-instruct\+mine +here .*CC0 .*3 examples of made-up`).MatchString(out) {
		t.Errorf("list: %v\n%s", err, out)
	}
}
