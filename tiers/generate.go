package tiers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// request fills a template into a request with room for a payload of that many tokens beside the model's thinking.
func (tb *toolbox) request(name string, d promptData, room int) (llm.Request, error) {
	text, err := prompt(name, d)
	return llm.Request{
		Messages:  []llm.Message{{Role: llm.User, Content: text}},
		MaxTokens: room + tb.thinking(),
		Stop:      []string{answerEnd},
	}, err
}

// generate sends a request, unless writing it failed, and adds what the call used to the step, whether it succeeded or not.
func (tb *toolbox) generate(ctx context.Context, req llm.Request, failed error, step *Step) (string, error) {
	if failed != nil {
		return "", failed
	}
	reply, err := tb.Client.Chat(ctx, req)
	step.Usage = step.Usage.Add(reply.Usage)
	step.answeredBy(reply.Model, tb.Client)
	if err != nil {
		return "", fmt.Errorf("asking %s: %w", tb.Client.Model(), err)
	}
	if reply.Finish == "length" {
		step.note("reply cut at %d tokens", req.MaxTokens)
	}
	if reply.Finish == "stop" && strings.Contains(reply.Text, "<answer>") && !strings.Contains(reply.Text, answerEnd) {
		return reply.Text + answerEnd, nil // the stop string itself is not part of a reply
	}
	return reply.Text, nil
}

// answeredBy notes a model that answered in place of the one that was asked; "" is none.
func (s *Step) answeredBy(model string, asked llm.Client) {
	if model == "" {
		return
	}
	if s.Model != model {
		s.note("%s answered in place of %s", model, asked.Model())
	}
	s.Model = model
}

// thinking is the room for what a reply shows of its thinking, in tokens.
func (tb *toolbox) thinking() int {
	switch tb.style {
	case Steps:
		return tb.Options.ThinkTokens
	case Reflect:
		return 2 * tb.Options.ThinkTokens
	}
	return 0
}

const answerEnd = "</answer>"

// promptFor is the data of a module's prompt.
func (tb *toolbox) promptFor(in Input, count int) promptData {
	return promptData{Memory: memoryBlock(in.Items), Question: oneLine(in.Query), Date: oneLine(in.QueryDate), Count: count, Style: tb.style}
}

// relationPrompt is the data of a relation module's prompt: the chunks in the order in which they were said.
func (tb *toolbox) relationPrompt(in Input) promptData {
	in.Items = asSaid(in.Items)
	return tb.promptFor(in, tb.Options.MaxFacts)
}

func (tb *toolbox) relationRequest(m Module, in Input) (llm.Request, error) {
	return tb.request(m.String(), tb.relationPrompt(in), tb.Options.ReplyTokens)
}

// relationAsked lets a model write a relation module's facts, and keeps those that the memory bears out. A call that fails or a
// reply that cannot be read gives an empty list, served by "none", with the cause.
func (tb *toolbox) relationAsked(m Module) runFunc {
	return func(ctx context.Context, in Input, step *Step) (Output, error) {
		step.Method = "llm"
		req, err := tb.relationRequest(m, in)
		reply, err := tb.generate(ctx, req, err, step)
		if err == nil {
			var facts, notes []string
			facts, notes, err = parseStrings(reply)
			step.Notes = append(step.Notes, notes...)
			if err == nil {
				d := tb.relationPrompt(in)
				facts, dropped := grounded(in.Language, facts, d.Memory, d.Question, m != Topic) // a theme begins with a word of its own
				if dropped > 0 {
					step.note("%d not in the memory", dropped)
				}
				if m == Temporal {
					n := len(facts)
					if facts = slices.DeleteFunc(facts, undated); len(facts) < n {
						step.note("%d do not say what happened when", n-len(facts))
					}
				}
				return Output{Facts: facts[:min(len(facts), tb.Options.MaxFacts)]}, nil
			}
		}
		return Output{}, step.stepDown(ctx, None, err)
	}
}

// configurationFault reports whether an error would meet every other question too: stepping down would only hide it.
func configurationFault(err error) bool {
	return errors.Is(err, llm.ErrAuth) || errors.Is(err, llm.ErrUnpriced) || errors.Is(err, llm.ErrCache) || errors.Is(err, llm.ErrLedger)
}
