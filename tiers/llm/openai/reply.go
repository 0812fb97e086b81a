package openai

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// object is a JSON object whose fields are read only when they are used: a form that nobody needs cannot make a reply
// unreadable.
type object map[string]json.RawMessage

// errCut is a body that ends before its JSON does.
var errCut = fmt.Errorf("it ends too early: %w", io.ErrUnexpectedEOF)

func cutShort(err error) bool { return errors.Is(err, errCut) }

// readObject reads the first JSON value of a body. Bare NaN and Infinity, which Python writes, are read as null. Of a
// list the first object counts: Gemini sends errors so.
func readObject(body []byte) (object, error) {
	body = bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(body), byteOrderMark))
	if len(body) == 0 {
		return nil, fmt.Errorf("it is empty: %w", errCut)
	}
	raw, err := firstValue(body)
	if err != nil {
		if raw, err = firstValue(withoutNaN(body)); err != nil {
			return nil, err
		}
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil && len(list) > 0 {
		raw = list[0]
	}
	var o object
	if err := json.Unmarshal(raw, &o); err != nil || o == nil {
		return nil, errors.New("it is no JSON object")
	}
	return o, nil
}

func firstValue(body []byte) (raw json.RawMessage, err error) {
	err = json.NewDecoder(bytes.NewReader(body)).Decode(&raw)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return nil, errCut
	}
	return raw, err
}

// withoutNaN replaces NaN, Infinity and -Infinity outside of strings by null.
func withoutNaN(body []byte) []byte {
	var out []byte
	inString := false
	for i := 0; i < len(body); i++ {
		switch b := body[i]; {
		case inString && b == '\\':
			out = append(out, b)
			if i++; i < len(body) {
				out = append(out, body[i])
			}
			continue
		case b == '"':
			inString = !inString
		case !inString:
			for _, word := range []string{"NaN", "-Infinity", "Infinity"} {
				if bytes.HasPrefix(body[i:], []byte(word)) {
					out = append(out, "null"...)
					i += len(word)
					break
				}
			}
			if i >= len(body) {
				return out
			}
		}
		out = append(out, body[i])
	}
	return out
}

// get returns a field as an object; nil if it is none.
func (o object) get(name string) object {
	var out object
	if json.Unmarshal(o[name], &out) != nil {
		return nil
	}
	return out
}

// list returns a field as a list of objects; what is no object in it is left out.
func (o object) list(name string) []object {
	var raw []json.RawMessage
	if json.Unmarshal(o[name], &raw) != nil {
		return nil
	}
	var out []object
	for _, r := range raw {
		var item object
		if json.Unmarshal(r, &item) == nil && item != nil {
			out = append(out, item)
		}
	}
	return out
}

// text returns a field as a string: a number is one too, null and the rest are "".
func (o object) text(name string) string {
	var s string
	if json.Unmarshal(o[name], &s) == nil {
		return s
	}
	var n json.Number
	if json.Unmarshal(o[name], &n) == nil {
		return n.String()
	}
	return ""
}

// count returns the first of the fields that is a number, as a whole number; 0 if none is. Numbers too large for an int
// stop at its bounds.
func (o object) count(names ...string) int {
	for _, name := range names {
		text := o.text(name)
		if n, err := strconv.Atoi(text); err == nil {
			return n
		}
		if f, err := strconv.ParseFloat(text, 64); text != "" && (err == nil || errors.Is(err, strconv.ErrRange)) && !math.IsNaN(f) {
			return int(max(min(f, math.MaxInt32), math.MinInt32))
		}
	}
	return 0
}

// number returns a field that is a finite number.
func (o object) number(name string) (float64, bool) {
	f, err := strconv.ParseFloat(o.text(name), 64)
	return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
}

// set says whether a field is there and not null.
func (o object) set(name string) bool {
	raw, ok := o[name]
	return ok && !bytes.Equal(raw, []byte("null"))
}

// says tells whether a field holds anything but forms of nothing: null, false, "", 0 and lists and objects of these.
func (o object) says(name string) bool {
	var v any
	return json.Unmarshal(o[name], &v) == nil && !blank(v)
}

func blank(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return strings.TrimSpace(v) == ""
	case float64:
		return v == 0
	case []any:
		return !slices.ContainsFunc(v, func(x any) bool { return !blank(x) })
	case map[string]any:
		for _, x := range v {
			if !blank(x) {
				return false
			}
		}
	}
	return true
}

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
