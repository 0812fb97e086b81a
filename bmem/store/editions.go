package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/budgetmem/budgetmem/bmem/chunk"
)

// editionSample is how many turns of a memory are compared.
const editionSample = 32

// Edition is a memory that holds turns of a conversation.
type Edition struct {
	Name string
	// Kept is the share of the memory's turns, as far as a sample tells, that the conversation has unchanged.
	Kept float64
}

// Editions returns the memories whose names begin with a prefix and that share turns with a conversation, those first of which
// it has most.
func (s *Store) Editions(ctx context.Context, prefix string, turns []chunk.Turn) ([]Edition, error) {
	now := make(map[string]chunk.Turn, len(turns))
	for _, t := range turns {
		now[t.ID] = t
	}
	var found []Edition
	err := s.db.View(ctx, func(tx Tx) error {
		found = nil
		names, err := column[string](tx, "SELECT name FROM memory WHERE substr(name, 1, ?) = ?", len(prefix), prefix)
		if err != nil {
			return err
		}
		for _, name := range names {
			sample, err := sampleTurns(tx, name)
			if err != nil {
				return err
			}
			same := 0
			for _, t := range sample {
				if has, ok := now[t.ID]; ok && has == t.Turn.Turn {
					same++
				}
			}
			if same > 0 {
				found = append(found, Edition{name, float64(same) / float64(len(sample))})
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find earlier editions: %w", err)
	}
	slices.SortFunc(found, func(a, b Edition) int {
		return cmp.Or(cmp.Compare(b.Kept, a.Kept), strings.Compare(a.Name, b.Name))
	})
	return found, nil
}

// sampleTurns returns turns of a memory from all its length.
func sampleTurns(tx Tx, name string) ([]placedTurn, error) {
	var id, next int64
	if err := row(tx, []any{&id, &next}, "SELECT id, next FROM memory WHERE name = ?", name); err != nil {
		return nil, err
	}
	var sample []placedTurn
	for i := range int64(editionSample) {
		turns, err := queryTurns(tx, "WHERE memory = ? AND pos >= ? ORDER BY pos LIMIT 1", id, next*i/editionSample)
		if err != nil {
			return nil, err
		}
		if n := len(sample); len(turns) > 0 && (n == 0 || sample[n-1].pos < turns[0].pos) {
			sample = append(sample, turns[0])
		}
	}
	return sample, nil
}

// Rename gives a memory another name. ErrNoMemory if it is not there, ErrMemoryExists if the new name is taken.
func (s *Store) Rename(ctx context.Context, from, to string) error {
	err := s.db.Change(ctx, Exclusive, func(tx Tx) error {
		id, err := find(tx, from)
		if err != nil {
			return err
		}
		if _, err := find(tx, to); err == nil {
			return ErrMemoryExists
		} else if !errors.Is(err, ErrNoMemory) {
			return err
		}
		return tx.Exec("UPDATE memory SET name = ? WHERE id = ?", to, id)
	})
	if err != nil {
		return fmt.Errorf("rename memory %q to %q: %w", from, to, err)
	}
	return nil
}
