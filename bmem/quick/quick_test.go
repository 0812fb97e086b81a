package quick_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/quick"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/setup/inprocess"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/serve/api"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// In a notebook a question takes two lines: the kernel sees to the server that runs the model.
func Example() {
	talk := quick.Open("examples/conversation.jsonl")
	answer := talk.Ask("When did Rita sign up for the pottery class?")
	fmt.Println(answer.Text, answer.Evidence, answer.Trace.Usage().Dollars)
}

// The same with the tiers chosen, and no more than so many dollars spent.
func ExampleOpenWith() {
	talk := quick.OpenWith(setup.Spec{Model: "qwen2.5-coder-0.5b-instruct", MaxDollars: 0.01}, "examples/conversation.jsonl")
	fmt.Println(talk.Ask("Why did Omar move his trip?", bmem.WithTiers("low,low,mid,low,high")).Text)
}

func TestAsk(t *testing.T) {
	modelstest.Path(t, setup.Embedder)
	server := llmtest.New(llmtest.Config{Reply: func(llmtest.Call) string { return "Porto" }})
	defer server.Close()
	file := filepath.Join("..", "..", "examples", "conversation.jsonl")
	talk := quick.OpenWith(setup.Spec{Engine: inprocess.New("", slog.New(slog.DiscardHandler)), Model: "test-model", AllowUnpriced: true,
		Endpoints: []string{server.URL()}, CacheDir: t.TempDir()}, file)
	defer talk.System.Close()
	if a := talk.Ask("Where do they meet?"); a.Text != "Porto" || a.Trace.Policy != "mid" || len(talk.Turns) != 6 {
		t.Errorf("%+v of %d turns", a, len(talk.Turns))
	}
	if a := talk.Ask("Where do they meet?", bmem.WithTiers("low")); a.Trace.Policy != "low" {
		t.Errorf("policy %s, want the option's", a.Trace.Policy)
	}
	if got := failure(func() { talk.Ask("") }); !strings.Contains(got, "ask") {
		t.Errorf("no question: %s", got)
	}
}

func TestOpenPanics(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	t.Setenv(api.EnvServer, "")
	t.Setenv(setup.EnvCache, t.TempDir())
	modelstest.Path(t, setup.Embedder)
	file := filepath.Join(t.TempDir(), "talk.jsonl")
	if got := failure(func() { quick.Open(file) }); !strings.Contains(got, file) {
		t.Errorf("no file: %s", got)
	}
	if err := os.WriteFile(file, []byte(`{"text": "I moved to Bern."}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := failure(func() { quick.Open(file) }); !strings.Contains(got, "bmem serve --on-demand") {
		t.Errorf("no server: %s", got)
	}
}

// failure returns what f panics with.
func failure(f func()) (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	f()
	return ""
}
