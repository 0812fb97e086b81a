package tiers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// TestReasoningTiersAskDifferently: on that axis every module at every tier asks the one model, each tier with a prompt of
// its own and more room for the reply than the tier below.
func TestReasoningTiersAskDifferently(t *testing.T) {
	spec, err := LoadSpec(ReasoningAxis)
	if err != nil {
		t.Fatal(err)
	}
	if roles := spec.Models(); len(roles) != 0 {
		t.Errorf("models %q; want only the default one", roles)
	}
	var last llm.Request
	client := &llmtest.Client{Reply: func(ctx context.Context, r llm.Request) (string, error) {
		last = r
		return scriptedReply(ctx, r)
	}}
	set, err := spec.Build(Deps{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	in := realInput(t)
	for m, tiers := range set {
		var prompts []string
		room := 0
		for _, tier := range tiers {
			out, err := tier.Run(t.Context(), in)
			if err != nil || out.Step.Usage.Calls != 1 || out.Step.Served != tier.Name() {
				t.Fatalf("%s %s: %v, step %+v", Module(m), tier.Name(), err, out.Step)
			}
			text := last.Messages[0].Content
			if slices.Contains(prompts, text) {
				t.Errorf("%s %s asks like a tier below", Module(m), tier.Name())
			}
			if !strings.HasPrefix(text, memoryBlock(in.Items)) {
				t.Errorf("%s %s: the prompt does not begin with the memory", Module(m), tier.Name())
			}
			if last.MaxTokens <= room {
				t.Errorf("%s %s: room for %d tokens, the tier below has %d", Module(m), tier.Name(), last.MaxTokens, room)
			}
			prompts, room = append(prompts, text), last.MaxTokens
		}
	}
}

// TestCapacityTiersAskTheirModels: the same prompt, each tier to its own model.
func TestCapacityTiersAskTheirModels(t *testing.T) {
	spec, err := LoadSpec(CapacityAxis)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(spec.Models()); got != "[large medium small]" {
		t.Errorf("roles %s", got)
	}
	asked := map[string][]string{}
	models := map[string]llm.Client{}
	for _, role := range spec.Models() {
		models[role] = &llmtest.Client{Reply: func(ctx context.Context, r llm.Request) (string, error) {
			asked[role] = append(asked[role], r.Messages[0].Content)
			return scriptedReply(ctx, r)
		}}
	}
	if _, err := spec.Build(Deps{Models: map[string]llm.Client{"small": models["small"]}}); err == nil || !strings.Contains(err.Error(), "medium") {
		t.Errorf("error %v, want one that names the missing role", err)
	}
	set, err := spec.Build(Deps{Models: models})
	if err != nil {
		t.Fatal(err)
	}
	for _, tiers := range set {
		for _, tier := range tiers {
			if _, err := tier.Run(t.Context(), realInput(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(asked["small"]) != int(Answering) || !slices.Equal(asked["small"], asked["medium"]) || !slices.Equal(asked["small"], asked["large"]) {
		t.Errorf("small was asked %d times, medium %d, large %d; want the same %d prompts each",
			len(asked["small"]), len(asked["medium"]), len(asked["large"]), int(Answering))
	}
}

// TestFallbackIsNamedByTheSet: what serves when a model fails is named by the set's tier if it has one of that method.
func TestFallbackIsNamedByTheSet(t *testing.T) {
	for axis, want := range map[string][2]string{ImplementationAxis: {Mid, Low}, ReasoningAxis: {evidenceMethod, plainMethod}} {
		spec, err := LoadSpec(axis)
		if err != nil {
			t.Fatal(err)
		}
		set, err := spec.Build(Deps{Client: &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) { return "no payload", nil }}})
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range []Module{Filter, Summary} {
			out, err := set[m][2].Run(t.Context(), realInput(t))
			if err != nil || out.Step.Served != want[i] || out.Step.Why == "" {
				t.Errorf("%s %s: %v, step %+v; want served by %s", axis, m, err, out.Step, want[i])
			}
		}
	}
}

const mixed = `
about: two to four tiers, mixed
modules:
  filter:
    - {tier: rules, method: keywords}
    - {tier: cosine, method: evidence}
    - {tier: asked, method: llm}
    - {tier: thought, method: llm, prompt: reflect, model: large}
  entity: &two
    - {tier: rules, method: rules}
    - {tier: asked, method: llm, model: small}
  temporal: *two
  topic: *two
  summary:
    - {tier: short, method: prose, model: small}
    - {tier: long, method: prose, prompt: steps, model: large}
`

func TestUserDefinedSet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(path, []byte(mixed), 0o644); err != nil {
		t.Fatal(err)
	}
	spec, err := LoadSpec(path)
	if err != nil {
		t.Fatal(err)
	}
	client := &llmtest.Client{Reply: func(context.Context, llm.Request) (string, error) {
		return "thinking <answer>Caroline went to a support group on 7 May 2023.</answer>", nil
	}}
	set, err := spec.Build(Deps{Client: client, Models: map[string]llm.Client{"small": client, "large": client}})
	if err != nil {
		t.Fatal(err)
	}
	if len(set[Filter]) != 4 || len(set[Summary]) != 2 || set[Summary][1].Name() != "long" {
		t.Errorf("set %v", set)
	}
	out, err := set[Summary][1].Run(t.Context(), realInput(t))
	if err != nil || out.Text != "Caroline went to a support group on 7 May 2023." || out.Step.Served != "long" {
		t.Errorf("prose: %+v, %v", out, err)
	}
	again, err := ParseSpec("other name", []byte("# a comment\n"+mixed))
	if err != nil || again.Hash() != spec.Hash() {
		t.Errorf("hash %s and %s, %v; a comment changes nothing", spec.Hash(), again.Hash(), err)
	}
	changed, err := ParseSpec("x", []byte(strings.Replace(mixed, "prompt: reflect", "prompt: steps", 1)))
	if err != nil || changed.Hash() == spec.Hash() {
		t.Errorf("a changed prompt leaves the hash %s, %v", spec.Hash(), err)
	}
}

func TestExampleSetsLoad(t *testing.T) {
	for name, roles := range map[string]string{"mixed": "[large]", "four_tiers": "[]"} {
		spec, err := LoadSpec("../examples/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(spec.Models()); got != roles {
			t.Errorf("%s: roles %s, want %s", name, got, roles)
		}
	}
}

func TestParseSpecSaysWhatIsWrong(t *testing.T) {
	for change, want := range map[[2]string]string{
		{"method: evidence", "method: evidnce"}:                    `did you mean "evidence"?`,
		{"prompt: reflect", "prompt: reflct"}:                      `did you mean "reflect"?`,
		{"  summary:", "  sumary:"}:                                `did you mean "summary"?`,
		{"tier: cosine", "tier: rules"}:                            `module filter, tier 2: the name "rules" is taken`,
		{"tier: cosine", "tier: \"a,b\""}:                          "give a name without commas",
		{"tier: cosine", "tier: cascade"}:                          "give a name without commas",
		{"tier: cosine", "tier: a@0.3"}:                            "give a name without commas",
		{"method: keywords}", "method: keywords, x: 1}"}:           "x",
		{"method: keywords}", "method: keywords, model: small}"}:   "asks no model",
		{"    - {tier: short, method: prose, model: small}\n", ""}: "module summary has 1 tiers",
	} {
		text := strings.Replace(mixed, change[0], change[1], 1)
		if text == mixed {
			t.Fatalf("%q is not in the set", change[0])
		}
		if _, err := ParseSpec("mine.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "mine.yaml") {
			t.Errorf("%q: error %v, want one with %q", change[1], err, want)
		}
	}
	if _, err := LoadSpec("implementatoin"); err == nil || !strings.Contains(err.Error(), `did you mean "implementation"?`) {
		t.Errorf("error %v", err)
	}
	if _, err := LoadSpec("./missing.yaml"); err == nil {
		t.Error("no error for a missing file")
	}
}

func FuzzParseSpec(f *testing.F) {
	f.Add([]byte(mixed))
	for _, axis := range Axes() {
		data, err := setFiles.ReadFile("sets/" + axis + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSpec("fuzz", data)
		if err != nil {
			return
		}
		client := &likes{}
		models := map[string]llm.Client{}
		for _, role := range s.Models() {
			models[role] = client
		}
		if _, err := s.Build(Deps{Client: client, Models: models}); err != nil {
			t.Errorf("a set that parses does not build: %v", err)
		}
	})
}

// The hash of a set is part of every trace that was collected with it.
func TestHashesAreKept(t *testing.T) {
	for name, want := range map[string]string{ImplementationAxis: "3c4860c405c6", ReasoningAxis: "75e7f6cf6e9d", CapacityAxis: "34cfab56ac55",
		QuotesSet: "6723a2dab317", ReadersSet: "7d98ba442ed0", BreadthSet: "fd09e5b3a469", "../examples/mixed.yaml": "044372a6f3a8", "../examples/four_tiers.yaml": "bdd011f0860b"} {
		s, err := LoadSpec(name)
		if err != nil || s.Hash() != want {
			t.Errorf("%s has the hash %s, %v; want %s", name, s.Hash(), err, want)
		}
	}
}

// readers is a set with an answer section; %s is put in.
const readers = `
modules:
  filter: &two
    - {tier: low, method: keywords}
    - {tier: high, method: evidence}
  summary:
    - {tier: low, method: brief}
    - {tier: high, method: quotes}
  answer:
    - {tier: short, method: reply, prompt: short}
    - {tier: worked, method: reply}
    %s
`

// A set may leave lists out and route the answer: every tier asks its own model in its own way.
func TestAnswerSection(t *testing.T) {
	spec, err := ParseSpec("readers", []byte(fmt.Sprintf(readers, "- {tier: drawn, method: mbr, samples: 3, model: large}")))
	if err != nil {
		t.Fatal(err)
	}
	if got := spec.Models(); !slices.Equal(got, []string{"large"}) || !slices.Equal(spec.Routed(), []Module{Filter, Summary, Answering}) {
		t.Errorf("roles %v, modules %v", got, spec.Routed())
	}
	asked := map[string]llm.Request{}
	model := func(name string) llm.Client {
		return &llmtest.Client{Reply: func(_ context.Context, r llm.Request) (string, error) {
			asked[name] = r
			return "Answer: blue.", nil
		}}
	}
	set, err := spec.Build(Deps{Client: model("small"), Models: map[string]llm.Client{"large": model("large")}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(set.Routed(), spec.Routed()) {
		t.Errorf("the set routes %v", set.Routed())
	}
	in := Input{Query: "Which colour?", Notes: "It is blue.", Style: StyleDated, QueryDate: "3 May 2024"}
	var lengths []int
	for i, want := range []struct {
		client, method string
		n              int
	}{{"small", "one reply", 0}, {"small", "one reply", 0}, {"large", "minimum Bayes risk of 3 replies", 3}} {
		out, err := set[Answering][i].Run(t.Context(), in)
		if err != nil || out.Text != "blue" || out.Answer.Raw != "Answer: blue." || out.Step.Method != want.method || out.Step.Usage.Calls != 1 {
			t.Errorf("tier %d: %+v, %v", i, out, err)
		}
		req := asked[want.client]
		if req.N != want.n || !req.LogProbs || !strings.Contains(req.Messages[len(req.Messages)-1].Content, "It is blue.") {
			t.Errorf("tier %d asked %+v", i, req)
		}
		lengths = append(lengths, len(req.Messages))
	}
	if lengths[0] != 1 || lengths[1] == 1 || lengths[1] != lengths[2] {
		t.Errorf("prompts of %v messages: the short one has worked examples, or the others have none", lengths)
	}
	changed, err := ParseSpec("readers", []byte(fmt.Sprintf(readers, "- {tier: drawn, method: mbr, samples: 4, model: large}")))
	if err != nil || changed.Hash() == spec.Hash() {
		t.Errorf("other samples, the same hash: %v", err)
	}
	for tier, want := range map[string]string{
		"- {tier: x, method: mbr}":                          "give samples, 2 to",
		"- {tier: x, method: mbr, samples: 1}":              "give samples, 2 to",
		"- {tier: x, method: mbr, samples: 1000}":           "give samples, 2 to",
		"- {tier: x, method: reply, samples: 3}":            "samples nothing",
		"- {tier: x, method: reply, prompt: steps}":         `unknown prompt "steps"`,
		"- {tier: x, method: quotes}":                       `unknown method "quotes"`,
		"- {tier: short, method: reply}":                    "is taken",
		"\n  topic:\n    - {tier: low, method: rules}":      "a choice needs at least 2",
		"\n  reader:\n    - {tier: low, method: rules}":     `unknown module "reader"`,
		"- {tier: x, method: reply, prompt: short, top: 1}": "top",
	} {
		if _, err := ParseSpec("readers", []byte(fmt.Sprintf(readers, tier))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", tier, err, want)
		}
	}
}
