package llm_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

func TestStripReasoning(t *testing.T) {
	for reply, want := range map[string]string{
		"The old mill.": "The old mill.",
		"<think>\nRome? No.\n</think>\n\nThe old mill.":                                                              "The old mill.",
		"<think>\n\n</think>\n\nThe old mill.":                                                                       "The old mill.",
		"Rome? No.\n</think>\nThe old mill.":                                                                         "The old mill.",
		"<THINK>a</Think>The old mill.":                                                                              "The old mill.",
		"<think>a <think>b</think> c</think>The old mill.":                                                           "The old mill.",
		"<think>a</think>The old<think>b</think> mill.":                                                              "The old mill.",
		"<thinking>a</thinking><answer>The mill</answer>":                                                            "<answer>The mill</answer>",
		"<reasoning>a</reasoning>The old mill.":                                                                      "The old mill.",
		"<thought>\na\n</thought>\nThe old mill.":                                                                    "The old mill.",
		"<seed:think>a</seed:think>The old mill.":                                                                    "The old mill.",
		"[THINK]a[/THINK]The old mill.":                                                                              "The old mill.",
		"◁think▷a◁/think▷The old mill.":                                                                              "The old mill.",
		"<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>The old mill.<|END_RESPONSE|>":                         "The old mill.",
		"<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|>The old mill.<|end_of_solution|>":             "The old mill.",
		"<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>The old mill.<|return|>": "The old mill.",
		"analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>b<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>{\"a\":1}": `{"a":1}`,
		"analysisWe need a place.assistantfinalThe old mill.": "The old mill.",
		// Variants of the tags.
		"<think >a</think >The old mill.":                                             "The old mill.",
		"<|thinking|>a<|/thinking|>The old mill.":                                     "The old mill.",
		"&lt;think&gt;a&lt;/think&gt;The old mill.":                                   "The old mill.",
		"<thoughts>a</thoughts>The old mill.":                                         "The old mill.",
		"<analysis>a</analysis>\nThe old mill.":                                       "The old mill.",
		"<scratchpad>a</scratchpad>The old mill.":                                     "The old mill.",
		"<inner_monologue>a</inner_monologue>The old mill.":                           "The old mill.",
		"<think:6124c78e>a</think:6124c78e>The old mill.":                             "The old mill.",
		"<longcat_think>a</longcat_think>The old mill.":                               "The old mill.",
		"<mm:think>a</mm:think>The old mill.":                                         "The old mill.",
		"<start_of_thought>a<end_of_thought>The old mill.":                            "The old mill.",
		"<unused94>thought\na<unused95>The old mill.":                                 "The old mill.",
		"<|channel>thought\na<channel|>The old mill.":                                 "The old mill.",
		"<|im_start|>think\na<|im_end|>\n<|im_start|>answer\nThe old mill.<|im_end|>": "The old mill.",
		"assistantanalysisWe need a place.assistantfinalThe old mill.":                "The old mill.",
		"\ufeff<think>a</think>The old mill.":                                         "The old mill.",
		"<details type=\"reasoning\" done=\"true\" duration=\"3\">\n<summary>Thought for 3 seconds</summary>\n> Rome?\n</details>\nThe old mill.": "The old mill.",
		"```thinking\nRome?\n```\nThe old mill.":                                    "The old mill.",
		"<|inner_prefix|>Rome?<|inner_suffix|>The old mill.":                        "The old mill.",
		"<|begin▁of▁thinking|>Rome?<|end▁of▁thinking|>The old mill.":                "The old mill.",
		"<｜begin▁of▁thinking｜>Rome?<｜end▁of▁thinking｜>The old mill.":                "The old mill.",
		"Here is my thought process:\nRome?\n\nHere is my response:\nThe old mill.": "The old mill.",
		"Here's my thought process: Rome? Here's my response: The old mill.":        "The old mill.",
		"analysisthe place is wanted.assistantfinalThe old mill.":                   "The old mill.",
		"commentary to=functions.x Rome?assistantfinalThe old mill.":                "The old mill.",
		"<ant_thinking>a</ant_thinking>The old mill.":                               "The old mill.",
		"<antThinking>a</antThinking>The old mill.":                                 "The old mill.",
		"<internal_reasoning>a</internal_reasoning>The old mill.":                   "The old mill.",
		"<think>a<\\/think>The old mill.":                                           "The old mill.",
		"<|assistant|>\n<think>a</think>The old mill.":                              "The old mill.",
		"<｜Assistant｜><think>a</think>The old mill.":                                "The old mill.",
		"<|im_start|>assistant\nThe old mill.<|im_end|>":                            "The old mill.",
		"<|start_header_id|>assistant<|end_header_id|>\n\nThe old mill.<|eot_id|>":  "The old mill.",
		"<reasoning_content>a</reasoning_content>The old mill.":                     "The old mill.",
		"<thinking_process>a</thinking_process>The old mill.":                       "The old mill.",
		"<think>a</think>\n<response>\nThe old mill.\n</response>":                  "The old mill.",
		"<Thought>a</Thought><Output>The old mill.</Output>":                        "The old mill.",
		"<REASONING>a</REASONING>\n\n<CONCLUSION>The old mill.</CONCLUSION>":        "The old mill.",
		"<think>a</think><output>The old":                                           "The old",
		"<output>The old mill.</output>":                                            "<output>The old mill.</output>",
		// Reasoning elsewhere, about its tags, and marks around the answer.
		"<think>a\n</think>\n<think>b\n</think>\nThe old mill.":       "The old mill.",
		"<think>The tag </think> ends it.</think>The old mill.":       "The old mill.",
		"<think>The tag `</think>` ends it.</think>The old mill.":     "The old mill.",
		"<think>a</think>The old mill.<think>":                        "The old mill.",
		"<think>a</think>The old mill.</think>":                       "The old mill.",
		"<|begin_of_box|>The old mill.<|end_of_box|>":                 "The old mill.",
		"<think>a</think><|begin_of_box|>The old mill.<|end_of_box|>": "The old mill.",
		"The old mill.<|im_end|>":                                     "The old mill.",
		"The old mill.</s>\n":                                         "The old mill.",
		// Text that only looks like it.
		"Write `<think>` and `</think>` around it.":            "Write `<think>` and `</think>` around it.",
		"The tag \"</think>\" closes it.":                      "The tag \"</think>\" closes it.",
		"<thing>a</thing>":                                     "<thing>a</thing>",
		"Use the tag <think> for that.":                        "Use the tag <think> for that.",
		"a < b and [x] and <i>y</i>":                           "a < b and [x] and <i>y</i>",
		"Analysis of the mill.":                                "Analysis of the mill.",
		"<details><summary>Where</summary>The mill.</details>": "<details><summary>Where</summary>The mill.</details>",
		"```go\nthinking()\n```":                               "```go\nthinking()\n```",
		"Here is my response: the mill.":                       "Here is my response: the mill.",
		"analysis paralysis":                                   "analysis paralysis",
		"":                                                     "",
	} {
		if got, inside := llm.StripReasoning(reply); got != want || inside {
			t.Errorf("%q became %q, inside %v; want %q", reply, got, inside, want)
		}
	}
	for _, reply := range []string{
		"<think>", "<think>\nRome?", "  <think>Rome", "<think>a</think><think>b", "[THINK]a", "◁think▷a", "<|START_THINKING|>a",
		"<|channel|>analysis<|message|>We need", "<|channel|>analysis<|message|>a<|end|><|start|>assistant", "<|channel|>",
		"<details type=\"reasoning\">\nRome?", "```thinking\nRome?", "<|inner_prefix|>Rome?", "Here is my thought process:\nRome?",
	} {
		if got, inside := llm.StripReasoning(reply); got != "" || !inside {
			t.Errorf("%q became %q, inside %v; want nothing but reasoning", reply, got, inside)
		}
	}
}

func FuzzStripReasoning(f *testing.F) {
	for _, s := range []string{"<think>a</think>b", "a</think>b", "<|channel|>final<|message|>x<|return|>", "<think><think></think>", "[THINK]◁think▷"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, reply string) {
		text, inside := llm.StripReasoning(reply)
		if len(text) > len(reply) || inside && text != "" || utf8.ValidString(reply) && !utf8.ValidString(text) {
			t.Errorf("%q became %q, inside %v", reply, text, inside)
		}
	})
}

// thinker is a local model that reasons in its replies for some words before it answers.
func thinker(words int, opened bool) *llmtest.Client {
	return &llmtest.Client{Reply: func(_ context.Context, req llm.Request) (string, error) {
		text := strings.Repeat("hm ", words) + "</think> The mill."
		if opened {
			text = "<think> " + text
		}
		all := strings.Fields(text)
		return strings.Join(all[:min(len(all), req.ReplyLimit())], " "), nil
	}}
}

// cutAtLimit says that a reply ended by its length where it did: llmtest.Client does not.
type cutAtLimit struct{ *llmtest.Client }

func (c cutAtLimit) Chat(ctx context.Context, req llm.Request) (llm.Response, error) {
	resp, err := c.Client.Chat(ctx, req)
	if resp.Usage.Out >= req.ReplyLimit() {
		resp.Finish = "length"
	}
	return resp, err
}

// A local model is treated like one at an endpoint: reasoning goes, and a reply that was cut inside it gets a second try
// with more room, once for all calls that follow.
func TestReasoningGetsRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replies.db")
	model := cutAtLimit{thinker(300, true)}
	var warnings []string
	o := llm.StackOptions{Retry: once, Cache: openCache(t, path), Warn: func(s string) { warnings = append(warnings, s) }}
	c := stack(t, model, o)
	first := mustChat(t, c, ask("a"))
	if first.Text != "The mill." || model.Calls() != 2 || first.Usage.Calls != 1 || first.Usage.Retries != 1 || first.Usage.Failed != 0 || first.Usage.Out != 16+304 {
		t.Errorf("%+v after %d calls", first, model.Calls())
	}
	if second := mustChat(t, c, ask("b")); second.Text != "The mill." || model.Calls() != 3 {
		t.Errorf("%+v after %d calls, want one more: the room is remembered", second, model.Calls())
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "reasoning_tokens") {
		t.Errorf("warnings %q", warnings)
	}
	again := mustChat(t, stack(t, model, o), ask("a"))
	if again.Text != "The mill." || again.Usage.Cached != 1 || model.Calls() != 3 {
		t.Errorf("from the cache: %+v after %d calls", again, model.Calls())
	}
}

// What never comes to an answer is an error that names the setting; it was paid for, and is not paid for again.
func TestReasoningWithoutEnd(t *testing.T) {
	for name, opened := range map[string]bool{"tag in the reply": true, "tag in the prompt": false} {
		t.Run(name, func(t *testing.T) {
			words := 1 << 20
			model := cutAtLimit{thinker(words, opened)}
			if !opened { // the first reply shows that this model closes what the prompt opens
				inner := model.Client.Reply
				model.Client.Reply = func(ctx context.Context, req llm.Request) (string, error) {
					if req.Messages[0].Content == "short" {
						return "hm </think> The mill.", nil
					}
					return inner(ctx, req)
				}
			}
			o := llm.StackOptions{Retry: once, Cache: openCache(t, cachePath(t))}
			c := stack(t, model, o)
			if !opened {
				mustChat(t, c, ask("short"))
			}
			before := model.Calls()
			for range 2 {
				resp, err := c.Chat(t.Context(), ask("a"))
				wantErr(t, err, llm.ErrReasoning)
				if resp.Text != "" || !strings.Contains(err.Error(), "--model-set reasoning_tokens") {
					t.Errorf("text %q, error %v", resp.Text, err)
				}
			}
			if n := model.Calls() - before; n != 2 {
				t.Errorf("%d calls, want a first and a second try, and the error from the cache after that", n)
			}
		})
	}
}

// The room that a user sets is what is sent, and no second try is made.
func TestReasoningTokensSetting(t *testing.T) {
	model := cutAtLimit{thinker(300, true)}
	c := stack(t, model, llm.StackOptions{Retry: once, Settings: llm.Settings{ReasoningTokens: 400}})
	if resp := mustChat(t, c, ask("a")); resp.Text != "The mill." || model.Calls() != 1 {
		t.Errorf("%+v after %d calls", resp, model.Calls())
	}
	c = stack(t, model, llm.StackOptions{Retry: once, Settings: llm.Settings{ReasoningTokens: 100}})
	_, err := c.Chat(t.Context(), ask("a"))
	wantErr(t, err, llm.ErrReasoning)
	if model.Calls() != 2 {
		t.Errorf("%d calls", model.Calls())
	}
	if b := c.(llm.Bounder).Bound(ask("a")); b.Out != 116 {
		t.Errorf("a call is bounded by %d reply tokens, want its own 16 and 100", b.Out)
	}
}
