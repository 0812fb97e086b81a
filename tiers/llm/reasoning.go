package llm

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// moreRoom is how many tokens a model gets on top of a reply's limit after it used that up on reasoning.
const moreRoom = 4096

// reasoning is the layer where reasoning leaves the program: it removes it from replies, and gives a model that used up
// its reply's limit on reasoning a second try with more room.
type reasoning struct {
	model string
	fixed bool         // the room is set by the user
	room  atomic.Int64 // tokens for reasoning, on top of a reply's limit
	// untagged is set once a reply closed a block of reasoning that it had not opened: the prompt opens it, so a cut
	// reply of this model is reasoning although nothing in it says so.
	untagged atomic.Bool
	warn     func()
}

func newReasoning(model string, s Settings, warn func(string)) *reasoning {
	r := &reasoning{model: model, fixed: s.ReasoningTokens > 0, warn: func() {}}
	if warn != nil {
		r.warn = sync.OnceFunc(func() {
			warn(fmt.Sprintf("%s used up a reply's limit on reasoning: its replies now get %d tokens more (to choose: --model-set reasoning_tokens=N; to reason less: --model-set reasoning_effort=low)", model, moreRoom))
		})
	}
	return r
}

func (r *reasoning) layer(next Handler) Handler {
	return func(ctx context.Context, call Call) (Reply, error) {
		if call.Chat == nil {
			return next(ctx, call)
		}
		room := int(r.room.Load())
		reply, err := r.try(ctx, next, call, room)
		if !errors.Is(err, ErrReasoning) || r.fixed || room >= moreRoom {
			return reply, err
		}
		r.warn()
		again, err := r.try(ctx, next, call, moreRoom)
		if err == nil {
			r.room.Store(moreRoom)
		}
		again.Usage = secondTry(reply.Usage, again.Usage)
		return again, err
	}
}

// try makes the call with room for reasoning and removes the reasoning from the reply.
func (r *reasoning) try(ctx context.Context, next Handler, call Call, room int) (Reply, error) {
	req := *call.Chat
	if room > 0 {
		req.MaxTokens = req.ReplyLimit() + room
	}
	call.Chat = &req
	reply, err := next(ctx, call)
	if err != nil {
		return reply, err
	}
	var usable []Choice
	var unusable error
	for _, choice := range reply.Choices() {
		answer, err := r.answer(choice, req.ReplyLimit())
		if err != nil {
			unusable = err
			continue
		}
		usable = append(usable, answer)
	}
	if len(usable) == 0 {
		reply.Text, reply.Others, reply.Usage.Failed = "", nil, reply.Usage.Calls
		return reply, unusable
	}
	reply.Text, reply.Finish, reply.LogProbs = usable[0].Text, usable[0].Finish, usable[0].LogProbs
	reply.Others = slices.Clip(usable[1:])
	if len(reply.Others) == 0 {
		reply.Others = nil
	}
	return reply, nil
}

// answer is a reply without its reasoning. As it is not known which tokens the reasoning had, a reply that had some loses
// its log-probabilities.
func (r *reasoning) answer(c Choice, limit int) (Choice, error) {
	text, inside := StripReasoning(c.Text)
	if !inside && c.Finish == "length" && r.untagged.Load() && text == c.Text {
		inside = true
	} else if text != c.Text && closesOnly(c.Text) {
		r.untagged.Store(true)
	}
	switch {
	case inside:
		return Choice{}, reasoningError(r.model, limit)
	case text == "" && c.Text != "":
		return Choice{}, &Error{Kind: ErrEmpty, Final: true, Message: r.model + " replied with reasoning and no answer"}
	case text != c.Text:
		c.Text, c.LogProbs = text, nil
	}
	return c, nil
}

// secondTry is the usage of a call whose first try was of no use: one call, with the tokens, dollars and times of both.
func secondTry(first, second Usage) Usage {
	u := first.Add(second)
	u.Calls, u.Failed, u.Retries = second.Calls, second.Failed, first.Retries+second.Retries+1
	return u
}

// reasoningError says that a reply ended inside its reasoning.
func reasoningError(model string, limit int) error {
	return &Error{Kind: ErrReasoning, Final: true, Message: fmt.Sprintf("%s used up its %d tokens before it came to an answer: allow more with --model-set reasoning_tokens=N, or ask for less reasoning with --model-set reasoning_effort=low", model, limit)}
}

// Marks of reasoning in the replies of open models: tags such as those of DeepSeek, Qwen, GLM, Hunyuan, Seed-OSS and LongCat,
// plain or escaped, and the marks of Magistral, Kimi, Cohere's Command, OpenThinker, MedGemma, Gemma and s1, in this order.
const (
	tagNames = `(?:[a-z]+:|longcat_|chain_of_|ant_?|internal_|deep_)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|analysis|reflection|scratchpad|inner_monologue)(?:_content|_process)?(?:[:\s][^<>&]{0,40})?`
	openTag  = `(?i:<\|?` + tagNames + `\|?>|&lt;` + tagNames + `&gt;|\[THINK\]|◁think▷|<\|START_THINKING\|>|<[|｜]?(?:begin|start)[_▁]of[_▁](?:thought|thinking)[|｜]?>|<\|inner_prefix\|>|<unused94>(?:thought)?|<\|channel>thought|<\|im_start\|>think\n)`
	closeTag = `(?i:<\|?\\?/` + tagNames + `\|?>|&lt;/` + tagNames + `&gt;|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<[|｜]?end[_▁]of[_▁](?:thought|thinking)[|｜]?>|<\|inner_suffix\|>|<unused95>|<channel\|>|<\|im_start\|>answer\n)`
)

var (
	openAtLineRE = regexp.MustCompile(`(?m)^[ \t]*` + openTag)
	openRE       = regexp.MustCompile(openTag)
	closeRE      = regexp.MustCompile(closeTag)
	openAtEndRE  = regexp.MustCompile(openTag + `\s*$`)
	// wrapperRE matches the marks that some of these models put around the answer, and the tokens that end a reply where an
	// endpoint lets them through.
	wrapperRE = regexp.MustCompile(`<\|(?:START|END)_RESPONSE\|>|<\|(?:begin|end)_of_(?:solution|box)\|>|(?:\s*(?:<\|(?:im_end|eot_id|endoftext|end_of_text)\|>|</s>|<end_of_turn>|<｜end▁of▁sentence｜>))+\s*$`)
	// answerRE matches the tags that some models put around the answer after their reasoning.
	answerRE = regexp.MustCompile(`(?i)^\s*<(?:response|output|conclusion|final_answer)>|</(?:response|output|conclusion|final_answer)>\s*$`)
	// channelRE matches the head of a message in OpenAI's harmony format. Decoders that drop special tokens leave
	// "assistantfinal" of it.
	channelRE = regexp.MustCompile(`(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>`)
	bareRE    = regexp.MustCompile(`^\s*(?:assistant)?(?:analysis|commentary)(?:[A-Z]|$|(?s:.*)\Sassistantfinal)`)
	endRE     = regexp.MustCompile(`<\|(?:end|return|call)\|>`)
)

// roleRE matches the head of the model's turn, which some endpoints leave before the reply.
var roleRE = regexp.MustCompile(`^\s*(?:<\|im_start\|>assistant\s|<\|assistant\|>|<｜Assistant｜>|<\|start_header_id\|>assistant<\|end_header_id\|>|<start_of_turn>model\s)\s*`)

// preambles are forms of reasoning whose marks mean it at the beginning of a reply only: those of Open WebUI, of fenced
// blocks, and of IBM's Granite.
var preambles = []struct{ open, end *regexp.Regexp }{
	{regexp.MustCompile(`^\s*<details\b[^>]*\btype=["']?reasoning\b[^>]*>`), regexp.MustCompile(`</details>`)},
	{regexp.MustCompile("^\\s*```(?:think(?:ing)?|thoughts?|reasoning)[ \t]*\\n"), regexp.MustCompile("(?m)^[ \t]*```[ \t]*$")},
	{regexp.MustCompile(`^\s*Here(?: is|['’]s) my thought process:`), regexp.MustCompile(`Here(?: is|['’]s) my response:`)},
}

// StripReasoning returns a reply without the reasoning in it: blocks between tags such as <think> and </think>, also
// where the opening tag is missing because the prompt holds it, and messages of other channels than "final". inside says
// that the reply ends within its reasoning, so that there is no answer; text is then "". A reply without reasoning is
// returned as it is.
func StripReasoning(reply string) (text string, inside bool) {
	if head := roleRE.FindString(reply); head != "" {
		reply = reply[len(head):]
	}
	for _, form := range preambles {
		if open := form.open.FindString(reply); open != "" {
			end := form.end.FindStringIndex(reply[len(open):])
			if end == nil {
				return "", true
			}
			return strings.TrimSpace(reply[len(open)+end[1]:]), false
		}
	}
	if !strings.ContainsAny(reply, "<[◁&") && !bareRE.MatchString(reply) {
		return reply, false
	}
	if strings.Contains(reply, "<|message|>") || strings.Contains(reply, "<|channel|>") {
		return stripChannels(reply)
	}
	if bareRE.MatchString(reply) {
		if i := strings.LastIndex(reply, "assistantfinal"); i >= 0 {
			return strings.TrimSpace(reply[i+len("assistantfinal"):]), false
		}
		return "", true
	}
	return stripTags(reply)
}

// stripChannels returns the last message of the channel "final".
func stripChannels(reply string) (string, bool) {
	heads := channelRE.FindAllStringSubmatchIndex(reply, -1)
	for i := len(heads) - 1; i >= 0; i-- {
		if reply[heads[i][2]:heads[i][3]] == "final" {
			text := reply[heads[i][1]:]
			if end := endRE.FindStringIndex(text); end != nil {
				text = text[:end[0]]
			}
			return strings.TrimSpace(text), false
		}
	}
	return "", true
}

// stripTags removes tagged blocks.
func stripTags(reply string) (string, bool) {
	text := reply
	// What closes before anything opens was opened in the prompt.
	if closesOnly(text) {
		text = text[findTag(closeRE, text)[1]:]
	}
	inside := false
	for {
		start := findTag(openRE, text)
		if start == nil {
			break
		}
		end := lastOfBlock(text, start[1])
		if end < 0 {
			// A tag in the middle of a line that nothing closes is part of the answer.
			if start = openAtLineRE.FindStringIndex(text); start == nil {
				start = openAtEndRE.FindStringIndex(text)
			}
			if start != nil {
				text = text[:start[0]]
				inside = strings.TrimSpace(text) == ""
			}
			break
		}
		text = text[:start[0]] + text[end:]
	}
	for end := findTag(closeRE, text); end != nil && text != reply; end = findTag(closeRE, text) {
		if rest := text[end[1]:]; strings.TrimSpace(rest) != "" { // reasoning that spoke of its own tags
			text = rest
		} else {
			text = text[:end[0]]
		}
	}
	if text = wrapperRE.ReplaceAllString(text, ""); text == reply {
		return reply, false
	}
	if openRE.MatchString(reply) {
		text = answerRE.ReplaceAllString(text, "")
	}
	return strings.Trim(text, "\ufeff \t\r\n"), inside
}

// findTag returns the first match of a tag that the reply does not quote; nil if there is none.
func findTag(re *regexp.Regexp, text string) []int {
	for from := 0; ; {
		m := re.FindStringIndex(text[from:])
		if m == nil {
			return nil
		}
		m[0], m[1] = m[0]+from, m[1]+from
		if m[0] == 0 || m[1] == len(text) || text[m[0]-1] != text[m[1]] || !strings.ContainsRune("`\"'", rune(text[m[1]])) {
			return m
		}
		from = m[1]
	}
}

// lastOfBlock returns where the block of reasoning ends that was opened before from, blocks inside it included; -1 if
// nothing closes it.
func lastOfBlock(text string, from int) int {
	for depth := 1; ; {
		end := findTag(closeRE, text[from:])
		if end == nil {
			return -1
		}
		depth += len(openRE.FindAllStringIndex(text[from:from+end[0]], -1)) - 1
		from += end[1]
		if depth <= 0 || findTag(closeRE, text[from:]) == nil {
			return from
		}
	}
}

// closesOnly says whether a reply closes a block of reasoning that it did not open.
func closesOnly(reply string) bool {
	end, start := findTag(closeRE, reply), findTag(openRE, reply)
	return end != nil && (start == nil || end[0] < start[0])
}
