package bmem

import (
	"context"
	"errors"

	"github.com/budgetmem/budgetmem/bmem/chunk"
	"github.com/budgetmem/budgetmem/bmem/conversation"
)

// Sync makes a memory of a conversation as it is now, in a file say, and returns the memory's name. If an earlier edition is
// there, made by Sync too, it is brought up to date: what is new is added, what has changed is replaced, and what is gone from
// the conversation is forgotten. An edition is known by its turns, of which it shares at least half, so the file may have moved.
// ErrNoTurns if there are none.
func (m *Memory) Sync(ctx context.Context, turns []chunk.Turn) (name string, err error) {
	turns = conversation.WithoutAttachments(turns)
	editions, err := m.store.Editions(ctx, conversation.NamePrefix, turns)
	if err != nil {
		return "", err
	}
	if len(editions) == 0 {
		name = conversation.Name(turns)
		_, err = m.Add(ctx, name, turns)
		return name, err
	}
	for _, old := range editions[1:] {
		if _, err := m.ForgetMemory(ctx, old); err != nil && !errors.Is(err, ErrNoMemory) {
			return "", err
		}
	}
	name = editions[0]
	return name, m.update(ctx, name, turns)
}

// update makes a memory hold exactly these turns.
func (m *Memory) update(ctx context.Context, name string, turns []chunk.Turn) error {
	now := make(map[string]bool, len(turns))
	for _, t := range turns {
		now[t.ID] = true
	}
	var gone []string
	var changed []chunk.Turn
	next, moved := 0, false // turns[next:] are not there yet
	for old, err := range m.AllTurns(ctx, name) {
		switch {
		case err != nil:
			return err
		case !moved && next < len(turns) && old.ID == turns[next].ID && old.Session == turns[next].Session:
			if old.Turn != turns[next] {
				changed = append(changed, turns[next])
			}
			next++
		default:
			gone = append(gone, old.ID)
			moved = moved || now[old.ID] // something came in before it: it is added again behind that
		}
	}
	if len(gone) > 0 {
		if _, err := m.ForgetTurns(ctx, name, gone...); err != nil {
			return err
		}
	}
	for _, t := range changed {
		if err := m.Edit(ctx, name, t); err != nil {
			return err
		}
	}
	if next == len(turns) {
		return nil
	}
	_, err := m.Add(ctx, name, turns[next:])
	return err
}
