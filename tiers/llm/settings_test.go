package llm_test

import (
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

func TestModelsFor(t *testing.T) {
	m, err := llm.ParseModels("f.yaml", []byte(`models:
- {model: "*", max_tokens: 100, headers: {A: x, B: y}}
- {model: Big, max_tokens: 200, headers: {B: z}}
- {model: big@http://h/v1, reasoning_effort: low}
`))
	if err != nil {
		t.Fatal(err)
	}
	if s := m.For("other", ""); s.MaxTokens != 100 || s.Headers["B"] != "y" {
		t.Errorf("another model: %+v", s)
	}
	if s := m.For("big", "http://h/v1"); s.MaxTokens != 200 || s.Headers["A"] != "x" || s.Headers["B"] != "z" || s.ReasoningEffort != "low" {
		t.Errorf("big at its endpoint: %+v", s)
	}
	if s := m.For("big", ""); s.ReasoningEffort != "" {
		t.Errorf("big elsewhere: %+v", s)
	}
	over, err := m.Set("max_tokens=7")
	if err != nil || over.For("big", "").MaxTokens != 7 || m.For("big", "").MaxTokens != 200 {
		t.Errorf("a flag goes before the file: %+v, %v", over.For("big", ""), err)
	}
	for set, ok := range map[string]func(llm.Settings) bool{
		"no_temperature=true":                 func(s llm.Settings) bool { return s.NoTemperature },
		"query.api-version=a=b":               func(s llm.Settings) bool { return s.Query["api-version"] == "a=b" },
		"parameters.top_p=0.5":                func(s llm.Settings) bool { return s.Parameters["top_p"] == 0.5 },
		"parameters.stop=null":                func(s llm.Settings) bool { v, set := s.Parameters["stop"]; return set && v == nil },
		"parameters.n=null":                   func(s llm.Settings) bool { v, set := s.Parameters["n"]; return set && v == nil },
		`parameters.response_format={"n": 1}`: func(s llm.Settings) bool { return s.Parameters["response_format"] != nil },
		"parameters.mode=fast":                func(s llm.Settings) bool { return s.Parameters["mode"] == "fast" },
		"api_key_env=A,B":                     func(s llm.Settings) bool { return len(s.KeyEnv) == 2 },
		"headers.X-Title=my note":             func(s llm.Settings) bool { return s.Headers["X-Title"] == "my note" },
	} {
		got, err := llm.Models{}.Set(set)
		if err != nil || !ok(got.For("m", "")) {
			t.Errorf("%s: %+v, %v", set, got.For("m", ""), err)
		}
	}
}

func TestBadModelSettings(t *testing.T) {
	for yaml, want := range map[string]string{
		"":                                                  `no entry under "models:"`,
		"models:\n- {max_tokens: 3}":                        `field "model" is empty`,
		"models:\n- {model: a}\n- {model: A}":               "has an entry already",
		"models:\n- {model: a, max_tokens: -1}":             `field "max_tokens" is -1`,
		"models:\n- {model: a, max_token: 1}":               "max_token",
		"models:\n- {model: a, max_tokens: many}":           "[2:",
		"models:\n- {model: a, parameters: {model: b}}":     `"model" cannot be set`,
		"models:\n- {model: a, headers: {\"a b\": c}}":      "no header's name",
		"models:\n- {model: a, headers: {A: \"b\\r\\nC\"}}": "more than one line",
	} {
		if _, err := llm.ParseModels("f.yaml", []byte(yaml)); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "f.yaml: ") {
			t.Errorf("%q: %v, want %q", yaml, err, want)
		}
	}
	for set, want := range map[string]string{
		"max_tokens": "want field=value", "max_tokns=3": `did you mean "max_tokens"`, "max_tokens=-1": "is -1", "headers=x": "want headers.NAME",
		"max_tokens.a=3": "has no parts", "no_temperature=maybe": "neither true nor false", "parameters.messages=[]": "cannot be set",
		// What would bill more than the worst case of a call says.
		"parameters.max_tokens=5000": "--model-set max_tokens=N", "parameters.max_tokens=null": "--model-set max_tokens=N", "parameters.maxTokens=1": "--model-set max_tokens=N",
		"parameters.max_completion_tokens=5000": "--model-set max_tokens=N", "parameters.best_of=20": "--max-dollars", "parameters.n=4": "samples",
		`parameters.extra_body={"Max-Tokens": 9}`: "extra_body", `parameters.options={"num_predict": -1}`: "num_predict", "parameters.tools=[]": "--max-dollars",
		`parameters.models=["dear"]`: "--model-set fallback=NAME",
	} {
		if _, err := (llm.Models{}).Set(set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", set, err, want)
		}
	}
}

func TestContextLimitsTheReply(t *testing.T) {
	s := llm.Settings{ContextTokens: 1000}
	for _, tt := range []struct {
		limit, bytes, want int
		ok                 bool
	}{{500, 400, 500, true}, {5000, 400, 900, true}, {500, 3999, 1, true}, {500, 1 << 20, 0, false}} {
		if n, ok := s.AtMost(tt.limit, tt.bytes); n != tt.want || ok != tt.ok {
			t.Errorf("a limit of %d after %d bytes: %d, %v; want %d, %v", tt.limit, tt.bytes, n, ok, tt.want, tt.ok)
		}
	}
	if n, ok := (llm.Settings{}).AtMost(7, 1<<30); n != 7 || !ok {
		t.Errorf("without a context: %d, %v", n, ok)
	}
}

func FuzzModelSettings(f *testing.F) {
	f.Add([]byte("models:\n- {model: a, max_tokens: 1, parameters: {x: [1, {y: null}]}}\n"), "max_tokens=3")
	f.Add([]byte("models: 3"), "parameters.a={}")
	f.Add([]byte("models:\n- &x {model: a, headers: {A: b}}\n- *x"), "headers.=")
	f.Fuzz(func(t *testing.T, data []byte, set string) {
		m, err := llm.ParseModels("f.yaml", data)
		if err != nil {
			m = llm.Models{}
		}
		if over, err := m.Set(set); err == nil {
			m = over
		}
		for _, name := range append(m.Names(), "other") {
			s := m.For(name, "http://h/v1")
			if s.MaxTokens < 0 || s.ReasoningTokens < 0 || s.EmbedBatch < 0 || s.ContextTokens < 0 {
				t.Errorf("%s: %+v", name, s)
			}
		}
	})
}
