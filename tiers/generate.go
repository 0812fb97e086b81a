package tiers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/budgetmem/budgetmem/tiers/llm"
)

// generate asks the model with a template and adds what the call used to the step, whether it succeeded or not.
func (k *kit) generate(ctx context.Context, name string, d promptData, step *Step) (string, error) {
	text, err := prompt(name, d)
	if err != nil {
		return "", err
	}
	reply, err := k.Client.Chat(ctx, llm.Request{
		Messages:  []llm.Message{{Role: llm.User, Content: text}},
		MaxTokens: k.Options.ReplyTokens,
		Stop:      []string{answerEnd},
	})
	step.Usage = step.Usage.Add(reply.Usage)
	if err != nil {
		return "", fmt.Errorf("asking %s: %w", k.Client.Model(), err)
	}
	if reply.Finish == "length" {
		step.note("reply cut at %d tokens", k.Options.ReplyTokens)
	}
	if reply.Finish == "stop" && strings.Contains(reply.Text, "<answer>") && !strings.Contains(reply.Text, answerEnd) {
		return reply.Text + answerEnd, nil // the stop string itself is not part of a reply
	}
	return reply.Text, nil
}

const answerEnd = "</answer>"

// promptFor is the data of a module's prompt.
func promptFor(in Input, count int) promptData {
	return promptData{Memory: memoryBlock(in.Items), Question: oneLine(in.Query), Date: oneLine(in.QueryDate), Count: count}
}

// relationHigh returns the High tier of a relation module. A call that fails or a reply that cannot be read gives an empty
// list, served by "none", with the cause.
func (k *kit) relationHigh(m Module) work {
	return func(ctx context.Context, in Input, step *Step) (Output, error) {
		step.Method = "llm"
		reply, err := k.generate(ctx, m.String(), promptFor(in, k.Options.MaxFacts), step)
		if err == nil {
			var facts, notes []string
			facts, notes, err = parseStrings(reply)
			step.Notes = append(step.Notes, notes...)
			if err == nil {
				return Output{Facts: facts[:min(len(facts), k.Options.MaxFacts)]}, nil
			}
		}
		return Output{}, step.stepDown(ctx, None, err)
	}
}

// configurationFault reports whether an error would meet every other question too: stepping down would only hide it.
func configurationFault(err error) bool {
	return errors.Is(err, llm.ErrAuth) || errors.Is(err, llm.ErrUnpriced) || errors.Is(err, llm.ErrCache)
}
