package setup_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/setup/inprocess"
	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/internal/models/modelstest"
	"github.com/budgetmem/budgetmem/tiers"
	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// open opens a system whose embedder runs in this process.
func open(ctx context.Context, s setup.Spec) (*setup.System, error) {
	s.Engine = inprocess.New("", slog.New(slog.DiscardHandler))
	return setup.Open(ctx, s)
}

func TestOpenWantsAnEngine(t *testing.T) {
	if _, err := setup.Open(context.Background(), setup.Spec{}); err == nil || !strings.Contains(err.Error(), "Spec.Engine") {
		t.Errorf("error %v, want one that names the field", err)
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	t.Setenv(models.EnvDir, t.TempDir())
	_, err := open(context.Background(), setup.Spec{CacheDir: t.TempDir()})
	if !errors.Is(err, models.ErrMissing) || !strings.Contains(err.Error(), "bmem models pull "+setup.Embedder) {
		t.Errorf("error %v, want one that says how to get the embedder", err)
	}
}

// A whole system with the real embedder, the model at an endpoint.
func TestOpenWithEndpoint(t *testing.T) {
	ctx := context.Background()
	modelstest.Path(t, setup.Embedder)
	t.Setenv("SETUP_TEST_KEY", "secret-key")
	server := llmtest.New(llmtest.Config{Keys: []string{"secret-key"}, Reply: func(llmtest.Call) string { return "Bern" }})
	defer server.Close()
	prices := filepath.Join("testdata", "prices.yaml")
	spec := setup.Spec{Model: "test-model", Endpoints: []string{server.URL()}, KeyEnv: []string{"SETUP_TEST_KEY"}, CacheDir: t.TempDir(), Prices: prices}

	unpriced := spec
	unpriced.Prices = ""
	if _, err := open(ctx, unpriced); !errors.Is(err, llm.ErrUnpriced) {
		t.Errorf("a model without a price: %v", err)
	}
	for range 2 { // the second time from the cache
		sys, err := open(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		_, err = sys.Memory.Add(ctx, bmem.DefaultMemory, []chunk.Turn{{ID: "1", Session: "1", Speaker: "Ann", Text: "I moved to Bern."}})
		if err != nil {
			t.Fatal(err)
		}
		a, err := sys.Memory.Ask(ctx, "Where did Ann move?", bmem.WithTiers("low"))
		if err != nil || a.Text != "Bern" {
			t.Errorf("answer %q, %v", a.Text, err)
		}
		if u := a.Trace.Usage(); u.Calls != 1 || u.Dollars <= 0 {
			t.Errorf("usage %+v", u)
		}
		if err := sys.Close(); err != nil {
			t.Error(err)
		}
	}
	if server.Count() != 1 {
		t.Errorf("%d calls, want 1", server.Count())
	}

	poor := spec
	poor.CacheDir, poor.MaxDollars = t.TempDir(), 1e-9
	sys, err := open(ctx, poor)
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	if _, err := sys.Memory.Add(ctx, bmem.DefaultMemory, []chunk.Turn{{ID: "1", Session: "1", Text: "I moved to Bern."}}); err != nil {
		t.Fatal(err)
	}
	if _, err := sys.Memory.Ask(ctx, "Where?", bmem.WithTiers("low")); !errors.Is(err, llm.ErrBudget) || server.Count() != 1 {
		t.Errorf("beyond the spend limit: %v after %d calls", err, server.Count())
	}
}

// What calls of unknown outcome may have cost is said at the end.
func TestUncertainMoneyIsSaid(t *testing.T) {
	modelstest.Path(t, setup.Embedder)
	server := llmtest.New(llmtest.Config{Script: func(llmtest.Call) llmtest.Fault { return llmtest.Fault{Kind: llmtest.Cut} }})
	defer server.Close()
	var notes []string
	sys, err := open(t.Context(), setup.Spec{Model: "test-model", Endpoints: []string{server.URL()}, CacheDir: t.TempDir(), MaxDollars: 1,
		Prices: filepath.Join("testdata", "prices.yaml"), Warn: func(line string) { notes = append(notes, line) }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sys.Memory.Add(t.Context(), bmem.DefaultMemory, []chunk.Turn{{ID: "1", Session: "1", Text: "I moved to Bern."}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := sys.Memory.Ask(ctx, "Where?", bmem.WithTiers("low")); err == nil {
		t.Error("no error from an endpoint that ends every reply")
	}
	if err := sys.Close(); err != nil {
		t.Error(err)
	}
	if len(notes) == 0 || !strings.Contains(notes[len(notes)-1], "are spent, and up to $0.") {
		t.Errorf("the user was told %q", notes)
	}
}

// Where the model's endpoint fails, the one in its place answers: at its price, by its own key, and the trace says so.
func TestOpenWithFallback(t *testing.T) {
	ctx := context.Background()
	modelstest.Path(t, setup.Embedder)
	t.Setenv("SETUP_TEST_KEY", "secret-key")
	broken := llmtest.New(llmtest.Config{Script: func(c llmtest.Call) llmtest.Fault {
		if c.Key != "" {
			t.Errorf("the first endpoint was sent the key %q", c.Key)
		}
		return llmtest.Fault{Kind: llmtest.Status, Status: 503}
	}})
	defer broken.Close()
	good := llmtest.New(llmtest.Config{Keys: []string{"secret-key"}, Reply: func(llmtest.Call) string { return "Bern" }})
	defer good.Close()
	second := "llama-3.1-8b@" + good.URL()
	var notes []string
	spec := setup.Spec{Model: "test-model", Endpoints: []string{broken.URL()}, Fallback: []string{second}, KeyEnv: []string{good.URL() + "=SETUP_TEST_KEY"},
		CacheDir: t.TempDir(), Prices: filepath.Join("testdata", "prices.yaml"), Warn: func(line string) { notes = append(notes, line) }}
	sys, err := open(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	if _, err := sys.Memory.Add(ctx, bmem.DefaultMemory, []chunk.Turn{{ID: "1", Session: "1", Speaker: "Ann", Text: "I moved to Bern."}}); err != nil {
		t.Fatal(err)
	}
	for _, question := range []string{"Where did Ann move?", "Where does Ann live?"} {
		a, err := sys.Memory.Ask(ctx, question, bmem.WithTiers("low"))
		if err != nil || a.Text != "Bern" || a.Trace.Answer.Model != "llama-3.1-8b" {
			t.Fatalf("answer %q of %s, %v", a.Text, a.Trace.Answer.Model, err)
		}
		if u := a.Trace.Usage(); u.Dollars != sys.Fallback[0].Price.Dollars(u.In, u.Out) || u.Dollars == 0 {
			t.Errorf("usage %+v, want it at %+v", u, sys.Fallback[0].Price)
		}
	}
	if len(notes) != 1 || !strings.HasPrefix(notes[0], "test-model fails") {
		t.Errorf("the user was told %q", notes)
	}
	if n := broken.Count(); n != 3 {
		t.Errorf("the broken endpoint was asked %d times, want 3 for the first question alone", n)
	}

	// By a setting, which is for all models; it is none for the model that it names.
	bySetting := spec
	bySetting.Fallback, bySetting.CacheDir = nil, t.TempDir()
	if bySetting.Models, err = bySetting.Models.Set("fallback=" + second); err != nil {
		t.Fatal(err)
	}
	again, err := open(ctx, bySetting)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if len(again.Fallback) != 1 || again.Fallback[0].Model() != "llama-3.1-8b" {
		t.Errorf("by a setting: %v", again.Fallback)
	}
	if m, err := again.OpenModel(ctx, second); err != nil || len(m.Fallback) != 0 {
		t.Errorf("the fallback itself: %v, %v", m.Fallback, err)
	}
	spec.Fallback, spec.CacheDir = []string{"nobody-prices-this@" + good.URL()}, t.TempDir()
	if _, err := open(ctx, spec); !errors.Is(err, llm.ErrUnpriced) || !strings.Contains(err.Error(), "fallback of test-model") {
		t.Errorf("a fallback without a price: %v", err)
	}
}

// The capacity axis at an endpoint: every role is asked by its own name, under its own price, and roles that nobody fills
// or asks for are refused before anything is opened.
func TestOpenWithRoles(t *testing.T) {
	ctx := context.Background()
	modelstest.Path(t, setup.Embedder)
	server := llmtest.New(llmtest.Config{Reply: func(llmtest.Call) string { return "Bern" }})
	defer server.Close()
	spec := setup.Spec{Model: "test-model", Endpoints: []string{server.URL()}, CacheDir: t.TempDir(), Prices: filepath.Join("testdata", "prices.yaml"),
		Tiers: tiers.CapacityAxis, Roles: map[string]string{"medium": "llama-3.1-8b@" + server.URL()}}
	sys, err := open(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	for role, want := range map[string]llm.Price{"small": {In: 0.06, Out: 0.06}, "medium": {In: 0.18, Out: 0.18}, "large": {In: 0.88, Out: 0.88}} {
		if got := sys.Roles[role].Price; got != want {
			t.Errorf("%s costs %+v, want the paper's %+v", role, got, want)
		}
	}
	if same, err := sys.OpenModel(ctx, "test-model"); err != nil || same.Client != sys.Client {
		t.Errorf("the answering model opened again: %v, %v", same, err)
	}
	if _, err := sys.Memory.Add(ctx, bmem.DefaultMemory, []chunk.Turn{{ID: "1", Session: "1", Speaker: "Ann", Text: "I moved to Bern."}}); err != nil {
		t.Fatal(err)
	}
	for _, tier := range []string{"low", "mid", "high"} {
		if _, err := sys.Memory.Ask(ctx, "Where did Ann move?", bmem.WithTiers(tier)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"test-model", "meta-llama/Llama-3.2-3B-Instruct", "llama-3.1-8b", "meta-llama/Llama-3.3-70B-Instruct"} {
		asked := 0
		for _, c := range server.Calls() {
			if c.Model == name {
				asked++
			}
		}
		if want := map[bool]int{true: 3, false: tiers.NumModules}[name == "test-model"]; asked < 1 || asked > want {
			t.Errorf("%s was asked %d times, want 1 to %d", name, asked, want)
		}
	}

	for change, want := range map[string]func(*setup.Spec){
		`no role "smal"`:          func(s *setup.Spec) { s.Roles = map[string]string{"smal": "x"} },
		`in the role "tiny"`:      func(s *setup.Spec) { s.Tiers = filepath.Join("testdata", "tiny.yaml") },
		`want NAME@URL`:           func(s *setup.Spec) { s.Embedder = "some-embedder" },
		`did you mean "capacity"`: func(s *setup.Spec) { s.Tiers = "capacty" },
	} {
		bad := spec
		bad.Roles = nil
		want(&bad)
		if _, err := open(ctx, bad); err == nil || !strings.Contains(err.Error(), change) {
			t.Errorf("error %v, want one with %q", err, change)
		}
	}
}

// Vectors come from the endpoint that is named, once for a text.
func TestOpenWithEndpointEmbedder(t *testing.T) {
	ctx := context.Background()
	modelstest.Path(t, setup.Embedder)
	server := llmtest.New(llmtest.Config{Reply: func(llmtest.Call) string { return "Bern" }})
	defer server.Close()
	spec := setup.Spec{Model: "test-model", Endpoints: []string{server.URL()}, CacheDir: t.TempDir(), Prices: filepath.Join("testdata", "prices.yaml"),
		Embedder: "some-embedder@" + server.URL()}
	var embedded [2]int
	after := 0
	for i := range embedded {
		sys, err := open(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(sys.EmbedderID, "some-embedder") {
			t.Errorf("embedder %s", sys.EmbedderID)
		}
		before := server.Count()
		if i > 0 && before != after {
			t.Errorf("the second start cost %d calls", before-after)
		}
		_, err = sys.Memory.Add(ctx, bmem.DefaultMemory, []chunk.Turn{{ID: "1", Session: "1", Speaker: "Ann", Text: "I moved to Bern."}})
		if err != nil {
			t.Fatal(err)
		}
		after = server.Count()
		embedded[i] = after - before
		if u := sys.Embedded(); i == 0 && (u.In == 0 || u.Dollars <= 0) {
			t.Errorf("embedding cost %+v, want dollars", u)
		}
		if err := sys.Close(); err != nil {
			t.Error(err)
		}
	}
	if embedded[0] == 0 || embedded[1] != 0 {
		t.Errorf("the history was embedded by %d calls, then by %d; want some, then none", embedded[0], embedded[1])
	}

	// An endpoint whose vectors have changed is noticed, and the next start takes them as they are.
	widths := filepath.Join(spec.CacheDir, setup.WidthsFile)
	data, err := os.ReadFile(widths)
	if err != nil {
		t.Fatal(err)
	}
	other := regexp.MustCompile(`: \d+`).ReplaceAll(data, []byte(": 7"))
	if err := os.WriteFile(widths, other, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"had 7 numbers", ""} {
		sys, err := open(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		_, err = sys.Memory.Add(ctx, bmem.DefaultMemory, []chunk.Turn{{ID: "2", Session: "1", Speaker: "Ann", Text: "The lake is cold."}})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("start %d with a wrong width: error %v, want %q", i+1, err, want)
		}
		if err := sys.Close(); err != nil {
			t.Error(err)
		}
	}
}

// An endpoint that is slower than Timeout is given up and asked again.
func TestTimeout(t *testing.T) {
	modelstest.Path(t, setup.Embedder)
	server := llmtest.New(llmtest.Config{Reply: func(llmtest.Call) string { return "Bern" }, Latency: time.Minute})
	defer server.Close()
	sys, err := open(t.Context(), setup.Spec{Model: "test-model", Endpoints: []string{server.URL()}, Timeout: 20 * time.Millisecond,
		CacheDir: t.TempDir(), Prices: filepath.Join("testdata", "prices.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		for len(server.Calls()) < 2 && ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
	}()
	if _, err := sys.Client.Chat(ctx, llm.Request{Messages: []llm.Message{{Role: "user", Content: "Where?"}}}); err == nil {
		t.Error("a call that takes a minute succeeded")
	}
	if n := len(server.Calls()); n < 2 {
		t.Errorf("the endpoint was asked %d times, want a second attempt after 20 ms", n)
	}
}
