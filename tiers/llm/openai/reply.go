package openai

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// chatReply is what is used of a chat's reply.
type chatReply struct {
	found     bool   // there is a choice
	text      string // of the answer
	reasoning string // what the endpoint sent apart from the answer
	refusal   string
	finish    string // "stop", "length" or what the endpoint says
	tools     bool   // the model called a tool
	usage     struct{ in, out int }
	said      endpointError // an error in place of a reply
	inChoice  bool          // that error is one of the choice
	logProbs  []llm.TokenLogProb
	others    []llm.Choice // the choices after the first that have a text
}

// readChat reads the body of a chat's reply, or of a stream that nobody asked for.
func readChat(body []byte) (chatReply, error) {
	body, events := unwrapped(body)
	if events != nil {
		return readStream(events)
	}
	o, err := readObject(body)
	if err != nil {
		return chatReply{}, err
	}
	o = inside(o)
	var r chatReply
	r.readUsage(o)
	if o.says("error") {
		r.said = errorOf(o)
		return r, nil
	}
	r.readChoices(o)
	if !r.found {
		r.said = errorOf(o)
	}
	return r, nil
}

// inside returns the reply that some gateways put into a field of their own answer; o itself if it is the reply.
func inside(o object) object {
	if o.set("choices") || o.says("error") {
		return o
	}
	for _, name := range []string{"result", "data", "body", "response"} {
		inner := o.get(name)
		if len(inner.list("choices")) > 0 || len(otherForms(inner)) > 0 || inner.says("error") {
			return inner
		}
	}
	return o
}

// readChoices reads the first choice that holds a text, or the first if none does; other texts are the further replies.
func (r *chatReply) readChoices(o object) {
	choices := o.list("choices")
	if len(choices) == 0 {
		choices = otherForms(o)
	}
	before := *r
	for i, choice := range choices {
		this := before
		this.readChoice(choice, "message", "delta")
		switch {
		case i == 0 || !r.inChoice && r.text == "" && this.text != "":
			*r = this
		case strings.TrimSpace(this.text) != "":
			r.others = append(r.others, llm.Choice{Text: this.text, Finish: this.finish, LogProbs: this.logProbs})
		}
	}
}

// otherForms returns what stands for the choices in a reply that has none: a single one, and the forms of Ollama,
// Anthropic, DashScope, OpenAI's Responses and Gemini, which proxies pass on.
func otherForms(o object) []object {
	for _, name := range []string{"choices", "output"} {
		if inner := o.get(name); inner.set("message") {
			return []object{inner}
		} else if list := inner.list("choices"); len(list) > 0 {
			return list
		}
	}
	if o.get("message") != nil || o.set("response") {
		return []object{o}
	}
	if parts := o["content"]; len(o.list("content")) > 0 {
		return []object{{"message": mustJSON(object{"content": parts}), "finish_reason": o["stop_reason"]}}
	}
	for _, item := range append(o.list("output"), o.list("candidates")...) {
		if item.set("content") && (item.text("type") == "message" || o.set("candidates")) {
			return []object{{"message": mustJSON(object{"content": item["content"]}), "finish_reason": item["finishReason"]}}
		}
	}
	return nil
}

// readChoice reads a choice, or adds a piece of a stream to the reply. Of the parts, the names of what holds the message,
// the first that is there is read.
func (r *chatReply) readChoice(choice object, parts ...string) {
	r.found = true
	if choice.says("error") {
		r.said, r.inChoice = errorOf(choice), true
		return
	}
	raw := json.RawMessage(nil)
	for _, name := range parts {
		if choice.set(name) {
			raw = choice[name]
			break
		}
	}
	var message object
	if json.Unmarshal(raw, &message) != nil || message == nil { // a text in place of a message, or the older completions
		message = object{"content": raw}
		for _, name := range []string{"text", "response"} {
			if raw == nil && choice.set(name) {
				message["content"] = choice[name]
			}
		}
	}
	text, reasoning := contentOf(message["content"])
	r.text += text
	r.reasoning += reasoning
	for _, name := range []string{"reasoning_content", "reasoning", "thinking"} {
		if s := message.text(name); s != "" {
			r.reasoning += s
			break
		}
	}
	r.refusal += message.text("refusal")
	r.logProbs = append(r.logProbs, logProbsOf(choice)...)
	r.tools = r.tools || len(message.list("tool_calls")) > 0 || message.get("function_call") != nil
	if finish := choice.text("finish_reason"); finish != "" {
		r.finish = finishOf(finish)
	} else if done := choice.text("done_reason"); done != "" {
		r.finish = finishOf(done)
	} else if bytes.Equal(choice["done"], []byte("true")) {
		r.finish = "stop"
	}
}

// logProbsOf reads a choice's log-probabilities; nil if a token has none.
func logProbsOf(choice object) []llm.TokenLogProb {
	var out []llm.TokenLogProb
	for _, token := range choice.get("logprobs").list("content") {
		p, ok := token.number("logprob")
		if !ok {
			return nil
		}
		rated := llm.TokenLogProb{LogProb: p}
		for _, top := range token.list("top_logprobs") {
			if second, ok := top.number("logprob"); ok && top.text("token") != token.text("token") && (rated.Second == 0 || second > rated.Second) {
				rated.Second = second
			}
		}
		out = append(out, rated)
	}
	return out
}

// finishOf translates an endpoint's reason for the end of a reply into the API's words.
func finishOf(reason string) string {
	switch strings.ToLower(reason) {
	case "length", "max_tokens", "max_length", "model_length", "max_output_tokens":
		return "length"
	case "stop", "eos", "eos_token", "end_turn", "stop_sequence", "completed":
		return "stop"
	case "content_filter", "safety", "recitation", "sensitive":
		return "content_filter"
	}
	return reason
}

// contentOf reads the content of a message: a string, or a list of parts, of which some may be reasoning.
func contentOf(raw json.RawMessage) (text, reasoning string) {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s, ""
	}
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) != nil {
		parts = []json.RawMessage{raw}
	}
	for _, p := range parts {
		var o object
		if json.Unmarshal(p, &o) != nil || o == nil {
			text += object{"": p}.text("")
			continue
		}
		kind := o.text("type")
		switch {
		case kind == "thinking" || kind == "reasoning" || kind == "redacted_thinking" || bytes.Equal(o["thought"], []byte("true")):
			inner, also := contentOf(o["thinking"])
			reasoning += inner + also + o.text("text") + " "
		default:
			for _, name := range []string{"text", "content", "value", "parts"} {
				if inner, also := contentOf(o[name]); inner+also != "" {
					text += inner
					reasoning += also
					break
				}
			}
		}
	}
	return text, reasoning
}

// readUsage reads the token counts. Where the total exceeds prompt and reply, the rest was reasoning, which is billed
// like the reply: Gemini counts so.
func (r *chatReply) readUsage(o object) {
	u := o.get("usage")
	if u == nil {
		u = o.get("usageMetadata")
	}
	if u == nil {
		u = o // Ollama's own form
	}
	in, out := u.count("prompt_tokens", "input_tokens", "prompt_eval_count", "promptTokenCount"), u.count("completion_tokens", "output_tokens", "eval_count", "candidatesTokenCount")
	if total := u.count("total_tokens", "totalTokenCount"); in > 0 && out >= 0 && total > in && total-in > out {
		out = total - in
	}
	if in != 0 || out != 0 {
		r.usage.in, r.usage.out = in, out
	}
}

// vector is an entry of an embedding reply.
type vector struct {
	index  int // -1: not given
	values []float32
}

type embeddingReply struct {
	data   []vector
	tokens int
	said   endpointError
}

// readEmbeddings reads the body of an embedding call's reply.
func readEmbeddings(body []byte) (embeddingReply, error) {
	if list := vectorsOf(bytes.TrimSpace(body)); list != nil {
		return embeddingReply{data: list}, nil
	}
	o, err := readObject(body)
	if err != nil {
		return embeddingReply{}, err
	}
	r := embeddingReply{tokens: o.get("usage").count("prompt_tokens", "total_tokens", "input_tokens")}
	if o.set("error") {
		r.said = errorOf(o)
		return r, nil
	}
	for _, d := range o.list("data") {
		v := vector{index: -1}
		if d.set("index") {
			v.index = d.count("index")
		}
		if v.values, err = floats(d["embedding"]); err != nil {
			return r, fmt.Errorf("vector %d: %w", len(r.data), err)
		}
		r.data = append(r.data, v)
	}
	if r.data == nil {
		r.data = vectorsOf(o["embeddings"])
	}
	return r, nil
}

// vectorsOf reads a list of nothing but vectors, the form of Ollama and of text-embeddings-inference; nil if it is none.
func vectorsOf(raw json.RawMessage) []vector {
	var list [][]float32
	if json.Unmarshal(raw, &list) != nil || len(list) == 0 {
		return nil
	}
	out := make([]vector, len(list))
	for i, values := range list {
		out[i] = vector{-1, values}
	}
	return out
}

// floats reads a vector: a list of numbers, or their float32 bits, little-endian, in base64.
func floats(raw json.RawMessage) ([]float32, error) {
	var list []float32
	err := json.Unmarshal(raw, &list)
	if err == nil {
		return list, nil
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(data)%4 != 0 {
		return nil, errors.New("neither a list of numbers nor base64 of them")
	}
	list = make([]float32, len(data)/4)
	for i := range list {
		list[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return list, nil
}

// readModels reads a list of models.
func readModels(body []byte) ([]string, error) {
	o, err := readObject(body)
	if err != nil {
		return nil, err
	}
	list := o.list("data")
	if list == nil {
		list = o.list("models")
	}
	names := make([]string, 0, len(list))
	for _, m := range list {
		for _, name := range []string{m.text("id"), m.text("name")} {
			if name != "" {
				names = append(names, name)
				break
			}
		}
	}
	return names, nil
}
