// Package quick asks questions of a conversation in two lines, for notebooks and scripts:
//
//	talk := quick.Open("conversation.jsonl")
//	fmt.Println(talk.Ask("When did Rita sign up for the pottery class?").Text)
//
// The models run in the server that notebooks share (see bmem/setup/served), so a cell needs no engine. What fails panics, with
// the error; a program that wants to go on after errors uses bmem/setup.
package quick

import (
	"context"
	"errors"
	"fmt"

	"github.com/budgetmem/budgetmem/bmem"
	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/conversation"
	"github.com/budgetmem/budgetmem/bmem/setup"
	"github.com/budgetmem/budgetmem/bmem/setup/served"
)

// Talk is a conversation to ask questions of.
type Talk struct {
	Turns []chunk.Turn
	// System is what answers: model, prices, statistics. Closing it is for programs that go on afterwards.
	System *setup.System

	name string
}

// Open opens the conversation in a file, one turn a line as conversation.Read takes them, with the best answering model that is
// here. What was embedded and answered before, by `bmem ask` too, is not computed again.
func Open(file string) *Talk { return OpenWith(setup.Spec{}, file) }

// OpenWith is Open with another set-up: another model, tier set or spend limit. An Engine of nil is the server's.
func OpenWith(s setup.Spec, file string) *Talk {
	if s.Engine == nil {
		s.Engine = served.New("")
	}
	t, err := open(context.Background(), s, file)
	if err != nil {
		panic(fmt.Errorf("open %s: %w", file, err))
	}
	return t
}

func open(ctx context.Context, s setup.Spec, file string) (*Talk, error) {
	talk, err := conversation.ReadFile(file)
	if err != nil {
		return nil, err
	}
	t := &Talk{Turns: talk.Turns}
	if t.System, err = setup.Open(ctx, s); err != nil {
		return nil, err
	}
	if t.name, err = t.System.Memory.Sync(ctx, talk.Turns, bmem.WithSource(file)); err != nil {
		return nil, errors.Join(err, t.System.Close())
	}
	return t, nil
}

// Ask answers a question, at the middle tiers unless an option says otherwise.
func (t *Talk) Ask(question string, opts ...bmem.Option) bmem.Answer {
	opts = append([]bmem.Option{bmem.WithMemory(t.name), bmem.WithTiers("mid")}, opts...)
	a, err := t.System.Memory.Ask(context.Background(), question, opts...)
	if err != nil {
		panic(fmt.Errorf("ask %q: %w", question, err))
	}
	return a
}
