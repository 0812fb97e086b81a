package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/budgetmem/budgetmem/tiers/llm"
	"github.com/budgetmem/budgetmem/tiers/llm/llmtest"
)

// Only what is used is read, in whatever form it comes.
func TestReadChat(t *testing.T) {
	choice := func(c string) string {
		return `{"choices": [` + c + `], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}`
	}
	for name, tt := range map[string]struct {
		body string
		want chatReply
	}{
		"plain":              {choice(`{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}`), chatReply{text: "a", finish: "stop"}},
		"fields of any form": {`{"id": 7, "created": 1.5, "object": null, "model": [], "choices": [{"index": "x", "logprobs": 3, "message": {"role": 1, "content": "a"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3.0, "completion_tokens": "2", "details": "none"}}`, chatReply{text: "a", finish: "stop"}},
		"parts":              {choice(`{"message": {"content": [{"type": "text", "text": "a"}, "b", {"type": "thinking", "thinking": "no"}, {"type": "output_text", "text": "c"}]}}`), chatReply{text: "abc", reasoning: "no "}},
		"an object":          {choice(`{"message": {"content": {"type": "text", "text": "a"}}}`), chatReply{text: "a"}},
		"NaN":                {choice(`{"message": {"content": "NaN \"NaN"}, "logprobs": [NaN, -Infinity, Infinity]}`), chatReply{text: `NaN "NaN`}},
		"completions":        {choice(`{"text": "a", "finish_reason": "max_tokens"}`), chatReply{text: "a", finish: "length"}},
		"Ollama's own form":  {`{"message": {"role": "assistant", "content": "a", "thinking": "hm"}, "done_reason": "length", "prompt_eval_count": 3, "eval_count": 2}`, chatReply{text: "a", reasoning: "hm", finish: "length"}},
		"a mark before it":   {"\xef\xbb\xbf" + choice(`{"message": {"content": "a"}}`), chatReply{text: "a"}},
		"something after it": {choice(`{"message": {"content": "a"}}`) + "\n\ntrailing", chatReply{text: "a"}},
		"null":               {choice(`{"message": {"content": null, "refusal": null, "tool_calls": null}}`), chatReply{}},
		"several": {choice(`{"message": {"content": "a"}}, {"index": 1, "message": {"content": "b"}, "finish_reason": "length"}, {"index": 2, "message": {"content": " "}}`),
			chatReply{text: "a", others: []llm.Choice{{Text: "b", Finish: "length"}}}},
		"log-probabilities": {choice(`{"message": {"content": "ab"}, "logprobs": {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -2}]}, {"token": "b", "logprob": -1, "top_logprobs": []}]}}`),
			chatReply{text: "ab", logProbs: []llm.TokenLogProb{{LogProb: -0.5, Second: -2}, {LogProb: -1}}}},
		"a token without one": {choice(`{"message": {"content": "ab"}, "logprobs": {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": null}]}}`), chatReply{text: "ab"}},
		"total above both":    {`{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 5}}`, chatReply{text: "a"}},
	} {
		got, err := readChat([]byte(tt.body))
		tt.want.found, tt.want.usage.in, tt.want.usage.out = true, 3, 2
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, tt.want)
		}
	}
	for body, cut := range map[string]bool{"": true, `{"choices": [{"mess`: true, "data: {\"choices\": [{\"delta\": {\"content\": \"a\"}}]}\n": true, "hello": false, "3": false, "[]": false} {
		if _, err := readChat([]byte(body)); err == nil || cutShort(err) != cut {
			t.Errorf("%q: %v, want an error, by a cut: %v", body, err, cut)
		}
	}
}

// A reply is found in every form that proxies and servers give it, whether or not it was to be streamed.
func TestReadChatForms(t *testing.T) {
	const whole = `{"choices": [{"message": {"content": "Mill"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}`
	const piece = `{"choices": [{"delta": {"content": "Mill"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}`
	with := func(s string) string { return "{" + s + ", " + whole[1:] }
	choices := func(s string) string {
		return `{"choices": ` + s + `, "usage": {"input_tokens": 3, "output_tokens": 2}}`
	}
	for name, body := range map[string]string{
		"no error, a text":            with(`"error": ""`),
		"no error, an object":         with(`"error": {"code": 0, "message": null, "details": []}`),
		"no error, false":             with(`"error": false`),
		"an object for the choices":   choices(`{"message": {"content": "Mill"}}`),
		"null among the choices":      choices(`[null, {"message": {"content": "Mill"}}]`),
		"an empty choice before it":   choices(`[{"message": {"content": ""}}, {"message": {"content": "Mill"}}]`),
		"a text for the message":      choices(`[{"message": "Mill"}]`),
		"a piece for the message":     choices(`[{"delta": {"content": "Mill"}}]`),
		"text with annotations":       choices(`[{"message": {"content": [{"type": "text", "text": {"value": "Mill", "annotations": []}}]}}]`),
		"content of a part":           choices(`[{"message": {"content": [{"type": "text", "content": "Mill"}]}}]`),
		"parts of the content":        choices(`[{"message": {"content": {"parts": [{"text": "hm", "thought": true}, {"text": "Mill"}]}}}]`),
		"a summary of reasoning":      choices(`[{"message": {"content": [{"type": "reasoning", "summary": [{"text": "hm"}]}, {"type": "output_text", "text": "Mill"}]}}]`),
		"null for reasoning":          choices(`[{"message": {"content": "Mill", "reasoning_content": null, "reasoning": {"text": "hm"}}}]`),
		"DashScope":                   `{"output": {"choices": [{"message": {"content": "Mill"}}]}, "usage": {"input_tokens": 3, "output_tokens": 2}}`,
		"Responses":                   `{"output": [{"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]}, {"type": "message", "content": [{"type": "output_text", "text": "Mill"}]}], "usage": {"input_tokens": 3, "output_tokens": 2}}`,
		"Anthropic":                   `{"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Mill"}], "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 2}}`,
		"Gemini":                      `{"candidates": [{"content": {"parts": [{"text": "Mill"}]}, "finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2}}`,
		"Ollama's generate":           `{"response": "Mill", "done": true, "prompt_eval_count": 3, "eval_count": 2}`,
		"Ollama's stream":             "{\"message\": {\"content\": \"Mi\"}, \"done\": false}\n{\"message\": {\"content\": \"ll\"}, \"done\": false}\n{\"message\": {\"content\": \"\"}, \"done\": true, \"prompt_eval_count\": 3, \"eval_count\": 2}\n",
		"pieces a line":               `{"choices": [{"delta": {"content": "Mi"}}]}` + "\n" + strings.Replace(piece, "Mill", "ll", 1),
		"events with ids":             "id: 1\nevent: message\ndata: " + piece + "\n\n",
		"events after a wait":         "retry: 3000\n\n:\r\n\r\ndata:" + piece + "\r\n\r\n",
		"events after a mark":         "\xef\xbb\xbf\ndata: " + piece + "\n\n",
		"usage in an event of itself": "data: {\"choices\": [{\"delta\": {\"content\": \"Mill\", \"reasoning_content\": null}}]}\n\ndata: {\"choices\": [], \"usage\": {\"prompt_tokens\": 3, \"completion_tokens\": 2}}\n\n",
		"a whole message at the end":  "data: {\"choices\": [{\"delta\": {\"content\": \"Mill\"}}]}\n\ndata: " + whole + "\n\ndata: [DONE]\n\n",
		"a whole reply as an event":   "data: " + whole + "\n\ndata: [DONE]\n\n",
		"a result around it":          `{"result": {"response": "Mill", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}, "success": true, "errors": [], "messages": []}`,
		"data around it":              `{"code": 0, "msg": "ok", "data": ` + whole + `}`,
		"a body around it":            `{"status": 200, "message": "success", "body": ` + whole + `}`,
		"a response around it":        `{"response": ` + whole + `}`,
		"a comment before it":         ": keep-alive\n\n: keep-alive\n\n" + whole,
	} {
		r, err := readChat([]byte(body))
		if err != nil || r.text != "Mill" || r.usage.in != 3 || r.usage.out != 2 || r.said.words != "" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// What an endpoint says is wrong is said in its words, once.
func TestErrorsAreReportedAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		fault llmtest.Fault
		kind  error
		says  string
	}{
		"under 200":          {llmtest.Fault{Status: 200, Body: `{"error": {"message": "no such plan", "code": "x"}}`}, llm.ErrUnavailable, "no such plan"},
		"a string under 200": {llmtest.Fault{Status: 200, Body: `{"error": "no such plan"}`}, llm.ErrUnavailable, "no such plan"},
		"code under 200":     {llmtest.Fault{Status: 200, Body: `{"error": {"message": "no such plan", "code": 403}}`}, llm.ErrAuth, "no such plan"},
		"in a choice":        {llmtest.Fault{Status: 200, Body: `{"choices": [{"error": {"message": "rate_limit upstream", "code": 429}}]}`}, llm.ErrRateLimited, "rate_limit upstream"},
		"no choices":         {llmtest.Fault{Status: 200, Body: `{"choices": []}`}, llm.ErrUnavailable, "no choices"},
		"FastAPI":            {llmtest.Fault{Status: 422, Body: `{"detail": [{"loc": ["body", "messages"], "msg": "field required", "type": "missing"}]}`}, llm.ErrBadRequest, "field required"},
		"a list":             {llmtest.Fault{Status: 400, Body: `[{"error": {"message": "bad key"}}]`}, llm.ErrBadRequest, "bad key"},
		"no JSON":            {llmtest.Fault{Status: 200, Body: "hello there"}, llm.ErrUnavailable, "hello there"},
		"no status":          {llmtest.Fault{Status: 200, Body: `{"object": "error", "message": "no such model", "code": 404}`}, llm.ErrBadRequest, "no such model"},
		"a detail":           {llmtest.Fault{Status: 200, Body: `{"detail": "not signed in"}`}, llm.ErrUnavailable, "not signed in"},
		"Cloudflare":         {llmtest.Fault{Status: 200, Body: `{"success": false, "errors": [{"code": 7, "message": "no such account"}], "result": null}`}, llm.ErrUnavailable, "no such account"},
		"MiniMax":            {llmtest.Fault{Status: 200, Body: `{"base_resp": {"status_code": 1004, "status_msg": "not authorized"}, "choices": null}`}, llm.ErrUnavailable, "not authorized"},
		"a result of errors": {llmtest.Fault{Status: 200, Body: `{"code": 0, "message": "", "data": {"error": {"message": "no such plan"}}}`}, llm.ErrUnavailable, "no such plan"},
		"not paid for":       {llmtest.Fault{Status: 429, Body: `{"error": {"message": "Your account is not active, please check your billing details on our website.", "type": "billing_not_active", "code": "billing_not_active"}}`}, llm.ErrQuota, "not active"},
		"no credit":          {llmtest.Fault{Status: 429, Body: `{"error": {"message": "Your credit balance is too low to access the API", "type": "rate_limit_error"}}`}, llm.ErrQuota, "credit balance"},
		"Moonshot's quota":   {llmtest.Fault{Status: 429, Body: `{"error": {"message": "Your account is suspended, please check your plan and billing details", "type": "exceeded_current_quota_error"}}`}, llm.ErrQuota, "suspended"},
		"ZhipuAI's balance":  {llmtest.Fault{Status: 429, Body: `{"error": {"code": "1113", "message": "Insufficient balance or no resource package. Please recharge."}}`}, llm.ErrQuota, "recharge"},
		"after some events":  {llmtest.Fault{Status: 200, Body: "data: {\"choices\": [{\"delta\": {\"content\": \"Mi\"}}]}\n\nevent: error\ndata: {\"error\": {\"message\": \"overloaded\"}}\n\n"}, llm.ErrUnavailable, "overloaded"},
		"a function":         {llmtest.Fault{Status: 200, Body: `{"choices": [{"message": {"content": "", "function_call": {"name": "x"}}, "finish_reason": "function_call"}]}`}, llm.ErrEmpty, "tool"},
		"a tool":             {llmtest.Fault{Status: 200, Body: `{"choices": [{"message": {"tool_calls": [{"id": "x"}]}, "finish_reason": "tool_calls"}]}`}, llm.ErrEmpty, "tool"},
	} {
		tt.fault.Kind = llmtest.Status
		s := start(t, llmtest.Config{Script: llmtest.Always(tt.fault)})
		_, err := retried(t, quick, client(t, at(s))).Chat(t.Context(), hello)
		if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) || s.Count() != 1 {
			t.Errorf("%s: %v after %d calls, want %v that says %q after 1", name, err, s.Count(), tt.kind, tt.says)
		}
	}
}

// A reply that always ends too early is not paid for as often as a fault that costs nothing is tried.
func TestCutRepliesArePaidForAFewTimes(t *testing.T) {
	s := start(t, llmtest.Config{Script: llmtest.Always(llmtest.Fault{Kind: llmtest.Status, Status: 200, Body: `{"choices": [{"message": {"content": "Mill"}}`})})
	_, err := retried(t, quick, client(t, at(s))).Chat(t.Context(), hello)
	if !errors.Is(err, llm.ErrUnavailable) || !strings.Contains(err.Error(), "ends too early") || s.Count() != 3 {
		t.Errorf("%v after %d calls, want 3", err, s.Count())
	}
}

// A reply beyond all measure is not asked for again.
func TestTooLongReplyIsPaidForOnce(t *testing.T) {
	s := start(t, llmtest.Config{Script: llmtest.Always(llmtest.Fault{Kind: llmtest.Status, Status: 200, Body: strings.Repeat(" ", maxBody+1)})})
	_, err := retried(t, quick, client(t, at(s))).Chat(t.Context(), hello)
	if !errors.Is(err, llm.ErrUnavailable) || !strings.Contains(err.Error(), "64 MB") || s.Count() != 1 {
		t.Errorf("%v after %d calls, want 1", err, s.Count())
	}
}

// An endpoint's own hint is followed once and remembered.
func TestHints(t *testing.T) {
	refuse := func(words, param string) llmtest.Fault {
		b, _ := json.Marshal(map[string]any{"error": map[string]any{"message": words, "param": param}})
		return llmtest.Fault{Kind: llmtest.Status, Status: 400, Body: string(b)}
	}
	for name, tt := range map[string]struct {
		field string // refused while it is in the request
		fault llmtest.Fault
		want  string // in the request that succeeds
		says  string // to the user
	}{
		"newer name":       {`"max_tokens"`, refuse("Unsupported parameter: use max_completion_tokens instead.", "max_tokens"), `"max_completion_tokens":512`, "max_completion_tokens=true"},
		"temperature":      {`"temperature"`, refuse("`temperature` must be strictly positive", ""), `"max_tokens":512`, "no_temperature=true"},
		"stop":             {`"stop"`, refuse("Unsupported parameter: 'stop' is not supported with this model.", "stop"), `"seed":7`, "parameters.stop=null"},
		"seed":             {`"seed"`, refuse("seed: Extra inputs are not permitted", ""), `"stop":["x"]`, "parameters.seed=null"},
		"reply too long":   {`"max_tokens":512`, refuse("max_tokens is too large: 512. This model supports at most 300 completion tokens.", "max_tokens"), `"max_tokens":300`, "max_tokens=300"},
		"context too long": {`"max_tokens":512`, refuse("This model's maximum context length is 600 tokens. However, you requested 712 tokens (200 in the messages, 512 in the completion).", ""), `"max_tokens":400`, "max_tokens=400"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, llmtest.Config{Script: func(c llmtest.Call) llmtest.Fault {
				if strings.Contains(c.Body, tt.field) {
					return tt.fault
				}
				return llmtest.Fault{}
			}})
			var warnings []string
			cfg := at(s)
			cfg.Warn = func(m string) { warnings = append(warnings, m) }
			c := client(t, cfg)
			req := hello
			req.Stop, req.Seed = []string{"x"}, 7
			for range 2 {
				if resp, err := c.Chat(t.Context(), req); err != nil || resp.Usage.Calls != 1 {
					t.Fatalf("%+v, %v", resp, err)
				}
			}
			if last := s.Calls()[s.Count()-1].Body; s.Count() != 3 || !strings.Contains(last, tt.want) {
				t.Errorf("%d calls, the last %s; want 3, with %s", s.Count(), last, tt.want)
			}
			if len(warnings) != 1 || !strings.Contains(warnings[0], tt.says) {
				t.Errorf("warnings %q, want one that names %q", warnings, tt.says)
			}
		})
	}
	// A hint that does not help is followed once, and the setting is named.
	s := start(t, llmtest.Config{Script: llmtest.Always(refuse("'temperature' does not support this value", "temperature"))})
	if _, err := client(t, at(s)).Chat(t.Context(), hello); !errors.Is(err, llm.ErrBadRequest) || s.Count() != 2 || !strings.Contains(err.Error(), "--model-set no_temperature=true") {
		t.Errorf("%v after %d calls", err, s.Count())
	}
}

func TestEmbeddingsWithoutIndex(t *testing.T) {
	for name, data := range map[string]string{
		"no index": `[{"embedding": [1, 2]}, {"embedding": [3, 4]}]`,
		"base64":   `[{"index": 1, "embedding": "AABAQAAAgEA="}, {"index": 0.0, "embedding": [1, 2]}]`,
	} {
		s := start(t, llmtest.Config{Script: llmtest.Always(llmtest.Fault{Kind: llmtest.Status, Status: 200, Body: `{"data": ` + data + `}`})})
		got, u, err := client(t, at(s)).Embeddings(t.Context(), []string{"a", "b"})
		if err != nil || len(got) != 2 || got[0][0] != 1 || got[1][1] != 4 || u.In != 2 {
			t.Errorf("%s: %v, %+v, %v", name, got, u, err)
		}
	}
}

// A reply of any bytes is read or refused, and no count in it is beyond reason.
func FuzzReadReply(f *testing.F) {
	for _, family := range llmtest.Families() {
		f.Add([]byte(family.Body))
	}
	f.Add([]byte(`{"choices": [NaN]}`))
	f.Add([]byte("data: {}\n\ndata: [DONE]"))
	f.Fuzz(func(t *testing.T, body []byte) {
		reply, err := readChat(body)
		if err == nil && len(reply.text) > 4*len(body)+8 {
			t.Errorf("%d bytes became %d of text", len(body), len(reply.text))
		}
		readError(body)
		if r, err := readEmbeddings(body); err == nil {
			_, _ = inOrder(r.data, len(r.data))
		}
		_, _ = readModels(body)
		if !bytes.Contains(body, []byte("N")) && !bytes.Contains(body, []byte("I")) && !bytes.Equal(withoutNaN(body), body) {
			t.Errorf("%q was changed", body)
		}
	})
}
