package llm_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// The prices of the paper, and the same model under an endpoint's name.
func TestDefaultPrices(t *testing.T) {
	p := llm.DefaultPrices()
	for model, want := range map[string]llm.Price{
		"llama-3.2-3b": {In: 0.06, Out: 0.06}, "meta-llama/Llama-3.2-3B-Instruct": {In: 0.06, Out: 0.06},
		"llama-3.1-8b": {In: 0.18, Out: 0.18}, "meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo": {In: 0.18, Out: 0.18},
		"llama-3.3-70b": {In: 0.88, Out: 0.88}, "META-LLAMA/LLAMA-3.3-70B-INSTRUCT": {In: 0.88, Out: 0.88},
		"openai/gpt-oss-120b":              {In: 0.15, Out: 0.60},
		"Qwen/Qwen3-Next-80B-A3B-Instruct": {In: 0.15, Out: 1.50},
	} {
		if got, err := p.Price(model); err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", model, got, err, want)
		}
	}
	for _, model := range p.Models() { // a model that costs nothing could not be compared with the others
		if price, _ := p.Price(model); price.In <= 0 || price.Out <= 0 {
			t.Errorf("%s costs %v", model, price)
		}
	}
}

func TestLoadPricesOverDefaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(path, []byte("prices:\n- {model: Mine, in: 1, out: 2, aliases: [gpt-oss-120b]}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := llm.LoadPrices(path)
	if err != nil {
		t.Fatal(err)
	}
	for model, want := range map[string]llm.Price{"mine": {In: 1, Out: 2}, "gpt-oss-120b": {In: 1, Out: 2}, "openai/gpt-oss-120b": {In: 0.15, Out: 0.6}} {
		if got, err := p.Price(model); err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", model, got, err, want)
		}
	}
	if _, err := llm.LoadPrices(path + ".missing"); err == nil || !strings.Contains(err.Error(), "mine.yaml.missing") {
		t.Errorf("missing file: %v", err)
	}
}

func TestBadPriceFiles(t *testing.T) {
	for name, tt := range map[string]struct{ yaml, want string }{
		"empty":         {"", `no entry under "prices:"`},
		"no out":        {"prices:\n- {model: a, in: 1}", `entry 1 (a): field "out" is missing`},
		"negative":      {"prices:\n- {model: ok, in: 1, out: 1}\n- {model: a, in: -1, out: 1}", `entry 2 (a): field "in" is -1`},
		"not a number":  {"prices:\n- {model: a, in: .nan, out: 1}", `field "in" is NaN`},
		"infinite":      {"prices:\n- {model: a, in: .inf, out: 1}", `field "in" is +Inf`},
		"no name":       {"prices:\n- {in: 1, out: 1}", "entry 1 (): a model name or alias is empty"},
		"name twice":    {"prices:\n- {model: a, in: 1, out: 1, aliases: [A]}", `the name "A" is already taken`},
		"unknown field": {"prices:\n- {model: a, in: 1, out: 1, input: 3}", `"input"`},
		"words":         {"prices:\n- {model: a, in: much, out: 1}", "[2:"},
		"no YAML":       {"prices: [", "f.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := llm.ParsePrices("f.yaml", []byte(tt.yaml))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "f.yaml: ") {
				t.Errorf("error is %v, want the file's name and %q", err, tt.want)
			}
		})
	}
}

func TestUnpricedModelIsAnErrorUnlessAllowed(t *testing.T) {
	model := &llmtest.Client{Name: "brand-new"}
	_, err := llm.Stack(model, llm.StackOptions{Prices: llm.DefaultPrices()})
	wantErr(t, err, llm.ErrUnpriced)
	if !strings.Contains(err.Error(), "brand-new") {
		t.Errorf("error does not name the model: %v", err)
	}
	c, err := llm.Stack(model, llm.StackOptions{Prices: llm.DefaultPrices().AllowUnpriced("Brand-New", "gpt-oss-120b")})
	if err != nil {
		t.Fatal(err)
	}
	if resp := mustChat(t, c, ask("q")); resp.Usage.Dollars != 0 {
		t.Errorf("allowed to be free, but costs %v", resp.Usage.Dollars)
	}
	if p, _ := llm.DefaultPrices().AllowUnpriced("gpt-oss-120b").Price("gpt-oss-120b"); p.In != 0.15 {
		t.Errorf("AllowUnpriced changed a known price to %v", p)
	}
}

func TestBoundCountsTokensIfTheClientCan(t *testing.T) {
	bound := func(c llm.Client) llm.Bound {
		return stack(t, c, llm.StackOptions{}).(llm.Bounder).Bound(ask("three short words"))
	}
	exact := bound(&llmtest.Client{})
	if exact.In != 3 || exact.Out != 16 || math.Abs(exact.Dollars-(3*1+16*4)/1e6) > 1e-18 {
		t.Errorf("bound of a client that counts is %+v", exact)
	}
	estimate := bound(endpoint(t, "http://localhost:1/v1", 0))
	if estimate.In < len("three short words") || estimate.In != llm.UpperBound(ask("three short words").Messages) {
		t.Errorf("bound of a client that cannot count is %+v, want at least a token a byte", estimate)
	}
	// Parameters may be read as part of the prompt, as a schema or documents are.
	further := stack(t, endpoint(t, "http://localhost:1/v1", 0), llm.StackOptions{Settings: llm.Settings{Parameters: map[string]any{"documents": "twenty bytes of text"}}})
	if got := further.(llm.Bounder).Bound(ask("three short words")).In; got < estimate.In+len(`{"documents":"twenty bytes of text"}`) {
		t.Errorf("bound with parameters is %d prompt tokens, %d without", got, estimate.In)
	}
}

func FuzzParsePrices(f *testing.F) {
	f.Add([]byte("prices:\n- {model: a, in: 1, out: 2, aliases: [b]}\n"))
	f.Add([]byte("prices: 3"))
	f.Add([]byte("prices:\n- model: &x a\n  in: 1e400\n  out: .inf\n  aliases: *x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := llm.ParsePrices("f.yaml", data)
		if err != nil {
			return
		}
		for _, m := range p.Models() {
			price, err := p.Price(m)
			if err != nil || !(price.In >= 0) || !(price.Out >= 0) || math.IsInf(price.In+price.Out, 0) {
				t.Errorf("%q: %v %v", m, price, err)
			}
		}
	})
}

func ExampleStack() {
	model := &llmtest.Client{Name: "llama-3.3-70b"}
	c, err := llm.Stack(model, llm.StackOptions{Prices: llm.DefaultPrices()})
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, _ := c.Chat(context.Background(), llm.Request{Messages: []llm.Message{{Role: llm.User, Content: "one two three"}}})
	fmt.Printf("%d tokens in, %d out, $%.8f\n", resp.Usage.In, resp.Usage.Out, resp.Usage.Dollars)
	// Output: 3 tokens in, 1 out, $0.00000352
}
